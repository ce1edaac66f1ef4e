//! Deadlines: leases that expire, and leases that no program claims.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::lease::{BootTime, Lease};
use crate::engine::{engine::Engine, keeper::ending, observer, refusal::Refusal};
use crate::telemetry::span;

/// The longest sleep before deadlines are looked at again: the runtime's timers stand still
/// while the machine sleeps, the boot-time clock of the deadlines does not.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// After a deadline could not be acted upon because the record was unavailable.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Waking so much later than planned means that the service stood still: stopped, starved, or the
/// machine asleep.
const STALL: Duration = Duration::from_secs(1);

/// Time that clients have, after a stall of the service, to renew leases that fell due meanwhile.
const GRACE: Duration = Duration::from_secs(5);

/// Ends leases whose time is up, for as long as it is polled.
///
/// Deadlines that passed while the service was away or stood still wait for a grace: whoever
/// wanted to renew in time could not, and goes first.
pub(in crate::engine) async fn run(engine: &Arc<Engine>) {
    if !engine.leases.due(engine.clock.boot()).is_empty() {
        tokio::time::sleep(GRACE).await;
    }
    loop {
        let next = engine.leases.next_deadline();
        let now = engine.clock.boot();
        // A deadline of just before a stall is seen for the first time after it.
        let overdue = next.map_or(Duration::ZERO, |at| now.since(at));
        let wait = next.map_or(LONGEST_SLEEP, |at| at.since(now));
        let wait = wait.min(LONGEST_SLEEP);
        let is_time = tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = engine.leases.deadline_moved() => false,
        };
        // The first renewal after a stall wakes the loop as well, before the others are heard.
        let late = engine.clock.boot().since(now.after(wait)).max(overdue);
        let has_stalled = late > STALL;
        if has_stalled {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                late_ms,
                "event loop stalled; deadlines are extended by a grace"
            );
            tokio::time::sleep(GRACE).await;
        }
        if is_time || has_stalled {
            act(engine).await;
        }
    }
}

/// Ends or puts away every lease whose deadline has passed.
pub(in crate::engine) async fn act(engine: &Arc<Engine>) {
    let now = engine.clock.boot();
    if engine.leases.due(now).is_empty() {
        return;
    }
    // A program may have begun to listen since the last look.
    observer::observe(engine).await;
    let due = engine.leases.due(now);
    let sweeping = span::chore("expire");
    span::concerns(&sweeping, due.iter().map(AsRef::as_ref));
    end_due(engine, &due, now).instrument(sweeping).await;
}

async fn end_due(engine: &Arc<Engine>, due: &[Arc<Lease>], now: BootTime) {
    for lease in due.iter().filter(|lease| !lease.state.is_ended()) {
        let done = ending::time_is_up(engine, lease, now).await;
        if let Err(error) = done.or_else(|error| match error {
            Refusal::NotFound => Ok(()),
            error => Err(error),
        }) {
            tracing::error!(%error, lease = %lease.id, "could not end a lease whose time is up; trying again in 5 s");
            engine.leases.postpone(lease.id, now, PUT_OFF);
        }
    }
}
