//! Leases: the only place that changes them, their holds, and the watches of their owners.
//!
//! # Order of a change
//!
//! **Record, hold, books.** A grant is committed to the record first; then its hold lets the owner in,
//! and last it enters the books ([`Leases::grant`]). An ending is committed first; then its hold
//! closes, and last its port is free in the books ([`Leases::end`]). A crash between two steps leaks
//! nothing: holds close with the process, and the books are read from the record at the next start.
//! While an ending is being committed, the books show the lease as ended but keep its port.
//!
//! A service whose record takes nothing goes on: the store keeps changes and endings in memory, and the
//! next commit that works has them all, before or with the next grant ([`Store::record`]).
//!
//! # Order of waiting
//!
//! 1. A **turn of names** ([`Leases::names_turn`]): one request at a time for each name or key.
//! 2. A **turn of leases** ([`Leases::turn`]): one transition at a time for each lease. Only a request
//!    that has its turn of names, or a task that has none, may wait for it.
//! 3. The **lock** of the state, for plain memory work only. It is reached through a closure, so it is
//!    never held across an `await`, and debug builds refuse a second lock (`engine::lock`).
//!
//! Keys share turns, so a task takes all turns of one kind in one call and never waits for a second
//! turn of that kind while it has one.

mod assists;
pub(super) mod books;
mod choosing;
mod ending;
mod gate;
mod granting;
mod holds;
mod observed;
mod stock;
#[cfg(test)]
mod tests;
mod turns;
mod watches;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

pub(super) use self::assists::Assist;
use self::assists::{Assisted, InKernel};
use self::books::{Books, NameKey};
pub(super) use self::choosing::{Admission, Keeper, Reservation};
pub(super) use self::ending::{Ended, Ending};
pub(super) use self::gate::{may_be_open, recovered_state};
pub(super) use self::granting::Fresh;
pub use self::holds::HoldNews;
use self::holds::Holds;
use self::observed::Observed;
pub(super) use self::stock::{SPARES, Shortage};
use self::turns::KeyedLocks;
pub(super) use self::turns::Turn;
use self::watches::Watches;
use super::caller::Caller;
use super::lock::Guarded;
use super::refusal::Refusal;
#[cfg(feature = "fleet")]
use crate::domain::claim::LeaseClaim;
use crate::domain::lease::{BootTime, Guard, Lease, LeaseId, Name, Scope};
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;
use crate::host::hold::{GivenSockets, Hold};
use crate::store::Store;

/// Number of leases whose transitions do not wait for each other. One in unit tests, where all collide,
/// so that a task that waits for a second turn while it has one waits for itself, and the test shows it.
const TRANSITIONS: u64 = if cfg!(test) { 1 } else { u64::MAX };

/// The owner of all leases.
#[derive(Debug)]
pub(super) struct Leases {
    clock: Clock,
    store: Store,
    state: Guarded<State>,
    /// Programs in the kernel. Their turn: one change at a time.
    kernel: tokio::sync::Mutex<InKernel>,
    names: KeyedLocks,
    transitions: KeyedLocks,
    deadlines_moved: Notify,
    folder_granted: Notify,
    freed: Notify,
}

/// The state of [`Leases`].
#[derive(Debug, Default)]
struct State {
    books: Books,
    holds: Holds,
    /// Cgroups of the programs of leases that are handed over by `bind`.
    assists: HashMap<LeaseId, Assisted>,
    /// Cgroups, within that of a program all of whose ports are mapped, of those that leases are for.
    cgroups: HashMap<LeaseId, PathBuf>,
    /// Whether no mapping of all ports is put in force yet.
    defers_maps: bool,
    /// Whether there are spares that programs may have taken from the service before this one.
    has_doubtful_spares: bool,
    watches: Watches,
    /// What looks found on the ports.
    observed: HashMap<LeaseId, Observed>,
    /// Sockets that this process was given at its start, until their leases are adopted.
    given: GivenSockets,
}

impl Leases {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self {
            clock,
            store,
            state: Guarded::default(),
            kernel: tokio::sync::Mutex::default(),
            names: KeyedLocks::default(),
            transitions: KeyedLocks::with_different(TRANSITIONS),
            deadlines_moved: Notify::new(),
            folder_granted: Notify::new(),
            freed: Notify::new(),
        }
    }

    /// Returns every lease in the books, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Lease>> {
        let mut leases = self.filtered(|_| true);
        leases.sort_unstable_by_key(|lease| lease.id);
        leases
    }

    /// Returns the number of leases in the books.
    pub(super) fn count(&self) -> usize {
        self.state.with(|state| state.books.len())
    }

    /// Returns the leases that pass a filter, in no particular order.
    pub(super) fn filtered(&self, passes: impl Fn(&Lease) -> bool) -> Vec<Arc<Lease>> {
        self.state.with(|state| {
            let leases = state.books.leases().filter(|lease| passes(lease));
            leases.cloned().collect()
        })
    }

    /// Returns a lease that is in the books, even if its ending is being committed.
    pub(super) fn get(&self, id: LeaseId) -> Option<Arc<Lease>> {
        self.state.with(|state| state.books.get(id).cloned())
    }

    /// Returns a lease that has not ended.
    pub(super) fn living(&self, id: LeaseId) -> Option<Arc<Lease>> {
        self.get(id).filter(|lease| !lease.state.is_ended())
    }

    /// Returns a living lease that the caller may change.
    pub(super) fn of_caller(&self, caller: &Caller, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
        let lease = self.living(id).ok_or(Refusal::NotFound)?;
        if caller.may_act_for(lease.uid) {
            return Ok(lease);
        }
        Err(Refusal::Forbidden(format!(
            "lease {id} belongs to uid {}: only that user or root may change it",
            lease.uid
        )))
    }

    /// Returns the leases on a port, on any address.
    pub(super) fn on_port(&self, protocol: Protocol, port: Port) -> Vec<Arc<Lease>> {
        self.state
            .with(|state| state.books.on_port(protocol, port).cloned().collect())
    }

    /// Returns the leases of a name, one a protocol.
    pub(super) fn named(&self, uid: u32, scope: &Scope, name: &Name) -> Vec<Arc<Lease>> {
        let key = |protocol| -> NameKey { (uid, scope.clone(), name.clone(), protocol) };
        let keys = [Protocol::Tcp, Protocol::Udp].map(key);
        self.state.with(|state| {
            let leases = keys.iter().filter_map(|key| state.books.named(key));
            leases.cloned().collect()
        })
    }

    /// Waits for the turn of names, given as user, scope and name. While a task has it, no other
    /// request for one of them is answered.
    pub(super) async fn names_turn<'k>(
        &self,
        names: impl Iterator<Item = (u32, &'k Scope, &'k str)>,
    ) -> Turn {
        self.names.take(names).await
    }

    /// Takes the turn of names if no request has it now.
    pub(super) fn try_names_turn<'k>(
        &self,
        names: impl Iterator<Item = (u32, &'k Scope, &'k str)>,
    ) -> Option<Turn> {
        self.names.try_take(names)
    }

    /// Waits until no other transition of this lease is under way. What is decided on the lease as it
    /// is then stays true until the turn is dropped.
    pub(super) async fn turn(&self, id: LeaseId) -> Turn {
        self.transitions.take([id]).await
    }

    /// Changes a living lease, in the books first and then on record. In the lease's turn.
    pub(super) async fn change(
        &self,
        id: LeaseId,
        change: impl FnOnce(&mut Lease),
    ) -> Result<Arc<Lease>, Refusal> {
        self.living(id).ok_or(Refusal::NotFound)?;
        let changed = self.state.with(|state| {
            state.books.change(id, |lease| {
                change(lease);
                lease.revision += 1;
            })
        });
        let changed = changed.ok_or(Refusal::NotFound)?;
        self.deadlines_moved.notify_one();
        self.store.record(&changed).await?;
        Ok(changed)
    }

    /// Notes what guards a lease, in the books alone: it is not worth a commit, since a restart finds
    /// it out anew.
    pub(super) fn set_guard(&self, lease: &Lease, guard: Guard) {
        if lease.guard != guard {
            self.note(lease.id, |lease| lease.guard = guard);
        }
    }

    /// Notes the claim on the number of a lease, in the books alone.
    #[cfg(feature = "fleet")]
    pub(super) fn set_claim(&self, id: LeaseId, claim: LeaseClaim) {
        self.note(id, |lease| lease.claim = Some(claim));
    }

    /// Puts the deadlines that have passed at `now` off by `pause`, in the books alone.
    pub(super) fn postpone(&self, id: LeaseId, now: BootTime, pause: Duration) {
        let until = now.after(pause);
        self.note(id, |lease| {
            for deadline in [&mut lease.claim_by, &mut lease.expires] {
                *deadline = deadline.map(|at| if at <= now { until } else { at });
            }
        });
    }

    fn note(&self, id: LeaseId, change: impl FnOnce(&mut Lease)) {
        self.state.with(|state| state.books.change(id, change));
    }

    /// Enters a lease that is on record already, without a hold.
    pub(super) fn enter_recorded(&self, lease: Lease) {
        let is_next = self.state.with(|state| state.books.enter(Arc::new(lease)));
        if is_next {
            self.deadlines_moved.notify_one();
        }
    }

    /// Returns the leases whose deadline has passed.
    pub(super) fn due(&self, now: BootTime) -> Vec<Arc<Lease>> {
        self.state.with(|state| state.books.due(now))
    }

    /// Returns the next deadline of any lease.
    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        self.state.with(|state| state.books.next_deadline())
    }

    /// Waits until a deadline may have moved.
    pub(super) async fn deadline_moved(&self) {
        self.deadlines_moved.notified().await;
    }

    /// Waits until a lease of a folder is granted.
    pub(super) async fn folder_granted(&self) {
        self.folder_granted.notified().await;
    }

    /// Returns a future that ends when a port may have become free.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Wakes requests that wait for a port.
    pub(super) fn notify_freed(&self) {
        self.freed.notify_waiters();
    }
}

/// Holds.
impl Leases {
    /// Returns the hold of a lease.
    pub(super) fn hold_of(&self, id: LeaseId) -> Option<Arc<Hold>> {
        self.state.with(|state| state.holds.get(id).cloned())
    }

    /// Returns all holds with their leases.
    pub(super) fn all_holds(&self) -> Vec<(LeaseId, Arc<Hold>)> {
        self.state.with(|state| {
            let holds = state.holds.all();
            holds.map(|(id, hold)| (id, Arc::clone(hold))).collect()
        })
    }

    /// Returns the living leases that `wants` a hold on every address and do not have it.
    pub(super) fn without_hold(&self, wants: impl Fn(&Lease) -> bool) -> Vec<Arc<Lease>> {
        self.state.with(|state| {
            let lacks = |lease: &&Arc<Lease>| {
                let hold = state.holds.get(lease.id);
                wants(lease) && !hold.is_some_and(|hold| hold.is_complete(&lease.addresses))
            };
            state.books.leases().filter(lacks).cloned().collect()
        })
    }

    /// Returns the number of leases that `wants` a hold and that have none, not even on some of their addresses.
    pub(super) fn unheld(&self, wants: impl Fn(&Lease) -> bool) -> usize {
        self.state.with(|state| {
            let lacks = |lease: &&Arc<Lease>| wants(lease) && state.holds.get(lease.id).is_none();
            state.books.leases().filter(lacks).count()
        })
    }

    /// Takes a hold out, to be closed or given away by the caller.
    pub(super) fn take_hold(&self, id: LeaseId) -> Option<Arc<Hold>> {
        self.state.with(|state| state.holds.remove(id))
    }

    /// Takes the hold of a lease out before the engine ends, and notes what guards the port from then
    /// on.
    pub(super) fn leave_to(&self, guard: Guard, id: LeaseId) {
        drop(self.take_hold(id));
        self.note(id, |lease| lease.guard = guard);
    }

    /// Puts a hold to its lease. The hold that it replaces closes.
    pub(super) fn put_hold(&self, id: LeaseId, hold: Arc<Hold>) {
        let replaced = self.state.with(|state| state.holds.insert(id, hold));
        drop(replaced);
    }

    /// Sends news of every hold to this channel from now on.
    pub(super) fn tell_of_holds(&self, news: mpsc::UnboundedSender<HoldNews>) {
        self.state.with(|state| state.holds.tell(news));
    }

    /// Returns the number of descriptors that holds, watches and mappings keep open at most: watches of one
    /// process share theirs.
    pub(super) fn descriptor_count(&self) -> usize {
        self.state.with(|state| {
            let mapped = state.assists.values().map(Assisted::descriptor_count);
            state.holds.descriptor_count() + state.watches.len() + mapped.sum::<usize>()
        })
    }

    /// Accepts sockets that this process was given, before the leases that they hold are adopted.
    pub(super) fn accept_given(&self, given: GivenSockets) {
        self.state.with(|state| state.given = given);
    }

    /// Closes given sockets that belong to no living lease.
    pub(super) fn drop_given(&self) {
        let left = self.state.with(|state| std::mem::take(&mut state.given));
        if !left.is_empty() {
            let sockets = left.len();
            tracing::info!(
                sockets,
                "closed given sockets that belong to no living lease"
            );
        }
        self.state.with(|state| {
            for name in left.names() {
                state.holds.tell_unknown(Arc::clone(name));
            }
        });
    }
}
