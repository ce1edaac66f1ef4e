//! Deadlines: leases whose time is up, and those that nobody came to claim.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::lease::{BootTime, Lease};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Service, lock};
use crate::telemetry::span;

/// The longest sleep before deadlines are looked at again: the runtime's timers stand still
/// while the machine sleeps, the boot-time clock of the deadlines does not.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// After a deadline could not be acted upon because the record was unavailable.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Waking so much later than planned means that the service stood still: stopped, starved, or the
/// machine asleep.
const STALL: Duration = Duration::from_secs(1);

/// How long clients have, after the service stood still, to renew what fell due meanwhile.
const GRACE: Duration = Duration::from_secs(5);

impl Service {
    /// Ends leases whose time is up, for as long as it is polled.
    ///
    /// Deadlines that passed while the service was away or stood still wait for a grace: whoever
    /// wanted to renew in time could not, and goes first.
    pub async fn run_deadlines(&self) {
        if !lock(&self.books).due(self.clock.boot()).is_empty() {
            tokio::time::sleep(GRACE).await;
        }
        loop {
            let next = lock(&self.books).next_deadline();
            let now = self.clock.boot();
            let wait = next.map_or(LONGEST_SLEEP, |at| at.since(now));
            let wait = wait.min(LONGEST_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let late = self.clock.boot().since(now.after(wait));
                    if late > STALL {
                        tracing::warn!(?late, "the service stood still: deadlines wait for a grace");
                        tokio::time::sleep(GRACE).await;
                    }
                    self.act_on_deadlines().await;
                }
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
        let sweeping = span::chore("expire");
        span::concerns(&sweeping, due.iter().map(AsRef::as_ref));
        self.end_due(&due, now).instrument(sweeping).await;
    }

    async fn end_due(&self, due: &[Arc<Lease>], now: BootTime) {
        for lease in due.iter().filter(|lease| !lease.state.is_ended()) {
            let done = self.time_is_up(lease, now).await;
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
