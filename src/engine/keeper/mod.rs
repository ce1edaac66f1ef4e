//! The life of leases after they were granted: gates, owners, endings, restart.

mod address;
mod ending;
mod gate;
mod own;
mod regain;
mod restart;
mod retake;
mod watch;

pub use restart::Restored;
pub(super) use retake::retake;

use std::sync::Arc;
use std::time::Duration;

use super::refusal::Refusal;
use super::service::{Service, lock};
use super::turns::Turn;
use crate::domain::lease::{Lease, LeaseId};

/// The longest sleep before deadlines are looked at again: the runtime's timers stand still
/// while the machine sleeps, the boot-time clock of the deadlines does not.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// After a deadline could not be acted upon because the record was unavailable.
const PUT_OFF: Duration = Duration::from_secs(5);

impl Service {
    /// Waits until no other transition of this lease is under way. What is decided upon the lease
    /// as it is then, stays true until the turn is dropped.
    pub(super) async fn turn(&self, id: LeaseId) -> Turn {
        self.transitions.take([id]).await
    }

    /// A lease that has not ended.
    pub(super) fn living_lease(&self, id: LeaseId) -> Option<Arc<Lease>> {
        self.lease(id).filter(|lease| !lease.state.is_ended())
    }

    /// Changes a living lease, in the books first and then in the record. In the lease's turn.
    pub(super) async fn change(
        &self,
        id: LeaseId,
        change: impl FnOnce(&mut Lease),
    ) -> Result<Arc<Lease>, Refusal> {
        self.living_lease(id).ok_or(Refusal::NotFound)?;
        let changed = lock(&self.books).change(id, |lease| {
            change(lease);
            lease.revision += 1;
        });
        let changed = changed.ok_or(Refusal::NotFound)?;
        self.deadlines_moved.notify_one();
        self.store
            .commit(self.store.batch().lease(&changed))
            .await?;
        Ok(changed)
    }

    /// Ends leases whose time is up, for as long as it is polled.
    pub async fn keep_time(&self) {
        loop {
            let next = lock(&self.books).next_deadline();
            let wait = next.map_or(LONGEST_SLEEP, |at| at.since(self.clock.boot()));
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => self.act_on_deadlines().await,
                () = self.deadlines_moved.notified() => {}
            }
        }
    }

    /// Ends or puts away every lease whose deadline has passed.
    pub async fn act_on_deadlines(&self) {
        let now = self.clock.boot();
        if lock(&self.books).due(now).is_empty() {
            return;
        }
        // Somebody may have begun to listen since the last look.
        self.observe().await;
        let due = lock(&self.books).due(now);
        for lease in due.iter().filter(|lease| !lease.state.is_ended()) {
            let done = self.time_is_up(lease, now).await;
            // One that has ended meanwhile needs nothing more.
            if let Err(error) = done.or_else(|error| match error {
                Refusal::NotFound => Ok(()),
                error => Err(error),
            }) {
                tracing::error!(%error, lease = %lease.id, "a lease could not be ended; later");
                lock(&self.books).change(lease.id, |lease| {
                    for deadline in [&mut lease.claim_by, &mut lease.expires] {
                        *deadline = deadline.map(|at| at.max(now.after(PUT_OFF)));
                    }
                });
            }
        }
    }
}
