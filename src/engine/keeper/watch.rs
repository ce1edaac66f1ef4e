//! Watching owners: a pidfd becomes readable when its process is gone (`pidfd_open(2)`).

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::engine::service::{Mode, Service, lock};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// How often an owner is looked for that cannot be watched.
const ROUND: Duration = Duration::from_secs(1);

impl Service {
    /// Waits on a task of its own for the owner of a lease to go.
    pub(in crate::engine) fn watch(&self, lease: &Lease) {
        let Some(owner) = lease.owner.clone() else {
            return;
        };
        if self.mode == Mode::Embedded || owner.pid == std::process::id() {
            return;
        }
        let (service, id) = (self.clone(), lease.id);
        let pidfd = process::pidfd(&owner);
        // Under the lock, so that a task that ends at once finds itself on the list.
        let mut watches = lock(&self.watches);
        let task = self.runtime.spawn(async move {
            match pidfd {
                Ok(pidfd) => wait_for_end(pidfd, &owner).await,
                Err(ProcessError::Gone(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "an owner cannot be watched; it is looked for instead");
                    look_until_gone(&owner).await;
                }
            }
            service.done_watching(id, owner).await;
        });
        let earlier = watches.insert(id, task.abort_handle());
        drop(watches);
        if let Some(earlier) = earlier {
            earlier.abort();
        }
    }

    async fn done_watching(&self, id: LeaseId, owner: Owner) {
        // Off the list first: `owner_gone` stops watches, and this task must live to finish it.
        lock(&self.watches).remove(&id);
        self.owner_gone(id, owner).await;
    }

    /// Stops waiting.
    pub(in crate::engine) fn unwatch(&self, id: LeaseId) {
        let watch = lock(&self.watches).remove(&id);
        if let Some(watch) = watch {
            watch.abort();
        }
    }
}

async fn wait_for_end(pidfd: OwnedFd, owner: &Owner) {
    let heard = match Readiness::of(pidfd) {
        Ok(pidfd) => pidfd.readable().await,
        Err(error) => Err(error),
    };
    if let Err(error) = heard {
        tracing::warn!(%error, "an owner cannot be watched; it is looked for instead");
        look_until_gone(owner).await;
    }
}

/// Where descriptors ran out there is no event to wait for; an owner is not gone for all that.
async fn look_until_gone(owner: &Owner) {
    let mut rounds = tokio::time::interval(ROUND);
    while process::is_running(owner) {
        rounds.tick().await;
    }
}
