//! Watches: which task waits for the end of the owner of each lease.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::Leases;
use crate::domain::lease::{Lease, LeaseId, Owner};

/// The task that waits for the end of an owner.
#[derive(Debug)]
enum Watch {
    /// It waits for one lease.
    Alone(AbortHandle),
    /// It waits for all leases of its owner.
    Shared,
}

impl Watch {
    const fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}

/// The watches of all leases.
#[derive(Debug, Default)]
pub(super) struct Watches {
    of_leases: HashMap<LeaseId, Watch>,
    /// Number of watches of one lease alone.
    alone: usize,
    /// Leases of each owner with a shared watch, by pid and start. Some may have ended.
    shared: HashMap<(u32, u64), Vec<LeaseId>>,
}

impl Watches {
    /// Number of tasks.
    pub(super) fn len(&self) -> usize {
        self.alone + self.shared.len()
    }

    fn put(&mut self, id: LeaseId, watch: Watch) -> Option<Watch> {
        let earlier = self.take(id);
        self.alone += usize::from(watch.is_alone());
        self.of_leases.insert(id, watch);
        earlier
    }

    fn take(&mut self, id: LeaseId) -> Option<Watch> {
        let watch = self.of_leases.remove(&id)?;
        self.alone -= usize::from(watch.is_alone());
        Some(watch)
    }

    fn is_shared(&self, id: LeaseId) -> bool {
        matches!(self.of_leases.get(&id), Some(Watch::Shared))
    }

    /// Adds a lease to those of its owner. Returns whether it is the first.
    fn share(&mut self, id: LeaseId, owner: &Owner) -> bool {
        let key = key(owner);
        let full = |ids: &Vec<LeaseId>| ids.len() == ids.capacity();
        if let Some(mut ids) = self.shared.remove(&key) {
            // Before the list grows: those that have ended are forgotten.
            if full(&ids) {
                ids.retain(|id| self.is_shared(*id));
            }
            ids.push(id);
            self.shared.insert(key, ids);
            return false;
        }
        self.shared.insert(key, vec![id]);
        true
    }
}

const fn key(owner: &Owner) -> (u32, u64) {
    (owner.pid, owner.start_ticks)
}

fn stop(watch: Option<Watch>) {
    if let Some(Watch::Alone(task)) = watch {
        task.abort();
    }
}

impl Leases {
    /// Puts a watch of the owner to a lease; an earlier one stops. The task is spawned under the lock,
    /// so that one that ends at once finds itself here.
    pub(in crate::engine) fn watch(&self, id: LeaseId, spawn: impl FnOnce() -> AbortHandle) {
        stop(
            self.state
                .with(|state| state.watches.put(id, Watch::Alone(spawn()))),
        );
    }

    /// Puts the shared watch of its owner to a lease; an earlier one stops. Returns whether the owner had
    /// none: the caller starts it.
    pub(in crate::engine) fn share_watch(&self, id: LeaseId, owner: &Owner) -> bool {
        let (earlier, is_first) = self.state.with(|state| {
            let earlier = state.watches.put(id, Watch::Shared);
            (earlier, state.watches.share(id, owner))
        });
        stop(earlier);
        is_first
    }

    /// Returns the living leases of an owner with a shared watch, those of one allocation side by side. If
    /// there is none, the watch is forgotten.
    pub(in crate::engine) fn sharing(&self, owner: &Owner) -> Vec<Arc<Lease>> {
        let mut leases: Vec<Arc<Lease>> = self.state.with(|state| {
            let key = key(owner);
            let mut ids = state.watches.shared.remove(&key).unwrap_or_default();
            let living = |id: &LeaseId| {
                let lease = state.books.get(*id).filter(|lease| {
                    let is_its = lease.owner.as_ref().is_some_and(|now| now.is(owner));
                    is_its && !lease.state.is_ended()
                });
                lease.filter(|_| state.watches.is_shared(*id)).cloned()
            };
            ids.retain(|id| living(id).is_some());
            let leases = ids.iter().filter_map(living).collect();
            if !ids.is_empty() {
                state.watches.shared.insert(key, ids);
            }
            leases
        });
        leases.sort_by_key(|lease| lease.allocation);
        leases
    }

    /// Forgets a watch whose task goes on to end the lease.
    pub(in crate::engine) fn forget_watch(&self, id: LeaseId) {
        self.state.with(|state| state.watches.take(id));
    }

    /// Stops a watch.
    pub(in crate::engine) fn unwatch(&self, id: LeaseId) {
        stop(self.state.with(|state| state.watches.take(id)));
    }

    pub(in crate::engine) fn is_watched(&self, id: LeaseId) -> bool {
        self.state
            .with(|state| state.watches.of_leases.contains_key(&id))
    }
}
