//! Retention: old rows are deleted in steps so small that requests are not delayed, and their
//! totals stay. The file gives the space back.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::engine::{caller::Caller, caller::Mode, engine::Engine, refusal::Refusal};
use crate::store::{Bounds, Cursor, Kind, Removed, StoreError};
use std::sync::Arc;

/// Pause between two counts of attempts.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// After so many counts what is old is deleted: once an hour.
const COUNTS_A_PRUNE: u32 = 360;

/// Durations above which a step shrinks and below which it grows, including the wait for the
/// writer.
const LONG_STEP: Duration = Duration::from_millis(2);
const SHORT_STEP: Duration = Duration::from_micros(700);

/// Number of rows of a step.
const FEWEST_ROWS: u32 = 16;
const FIRST_ROWS: u32 = 64;
const MOST_ROWS: u32 = 512;

/// Number of rows of a step in a command, where no request waits.
const HASTY_ROWS: u32 = 4096;

/// Limits of what is kept. `None` is the limit of the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Attempts, allocations and ended leases for so long.
    pub older_than: Option<Duration>,
    /// At most so many attempts.
    pub keep: Option<u64>,
}

/// Counts attempts and deletes what is old, for as long as it is polled.
pub(super) async fn run(engine: &Arc<Engine>) {
    let mut rounds = interval(COUNT_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        rounds.tick().await;
        let done = if round % COUNTS_A_PRUNE == 0 {
            prune_to(engine, Limits::default(), false)
                .await
                .map(|removed| {
                    tracing::debug!(?removed, "what was old is deleted");
                })
        } else {
            count_attempts(engine).await
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the record could not be kept short; trying again");
        }
    }
}

/// Brings the totals up to date.
pub(super) async fn count_attempts(engine: &Arc<Engine>) -> Result<(), StoreError> {
    engine
        .store
        .count_attempts(engine.mode == Mode::Serving)
        .await
}

/// Deletes rows beyond the limits, for the service's user and root only. A dry run only counts
/// them.
pub(super) async fn prune(
    engine: &Arc<Engine>,
    caller: &Caller,
    limits: Limits,
    dry_run: bool,
) -> Result<Removed, Refusal> {
    let owner = rustix::process::geteuid().as_raw();
    if !caller.may_act_for(owner) {
        return Err(Refusal::Forbidden(format!(
            "the record belongs to uid {owner}: only that user or root may delete from it"
        )));
    }
    Ok(prune_to(engine, limits, dry_run).await?)
}

async fn prune_to(
    engine: &Arc<Engine>,
    limits: Limits,
    dry_run: bool,
) -> Result<Removed, StoreError> {
    count_attempts(engine).await?;
    // What goes must have been learned from.
    engine.learning.write().await?;
    let bounds = bounds(engine, limits).await?;
    if dry_run {
        return engine.store.reader().removable(bounds).await;
    }
    let mut removed = Removed::default();
    for kind in Kind::ALL {
        *removed.of(kind) = prune_kind(engine, kind, bounds).await?;
    }
    Ok(removed)
}

async fn bounds(engine: &Arc<Engine>, limits: Limits) -> Result<Bounds, StoreError> {
    let history = engine.settings().history.clone();
    let now = engine.clock.now();
    let ago = |length: Duration| now.saturating_sub(length).unwrap_or(Timestamp::MIN);
    let older_than = limits.older_than.unwrap_or(history.attempts_for);
    // An explicit age disables the count limit, and the other way round.
    let keep = match limits {
        Limits {
            older_than: Some(_),
            keep: None,
        } => u64::MAX,
        _ => limits.keep.unwrap_or(history.attempts_max.get().into()),
    };
    let before = match limits {
        Limits {
            older_than: None,
            keep: Some(_),
        } => Timestamp::MIN,
        _ => ago(older_than),
    };
    let totals_before = ago(history.totals_for);
    engine
        .store
        .reader()
        .bounds(before, keep, totals_before)
        .await
}

/// Step by step, with as much time for others in between as each step took.
async fn prune_kind(engine: &Arc<Engine>, kind: Kind, bounds: Bounds) -> Result<u64, StoreError> {
    let gently = engine.mode == Mode::Serving;
    let mut rows = if gently { FIRST_ROWS } else { HASTY_ROWS };
    let mut deleted = 0;
    let mut next = Some(Cursor::default());
    while let Some(after) = next {
        let begin = engine.clock.boot();
        let step = engine.store.prune(kind, after, rows, bounds).await?;
        let took = engine.clock.boot().since(begin);
        deleted += step.deleted;
        next = step.next;
        if gently {
            rows = adapted(rows, took);
            sleep(took.max(Duration::from_millis(1))).await;
        }
    }
    Ok(deleted)
}

fn adapted(rows: u32, took: Duration) -> u32 {
    match took {
        long if long > LONG_STEP => (rows / 2).max(FEWEST_ROWS),
        short if short < SHORT_STEP => (rows + rows / 4).min(MOST_ROWS),
        _ => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_are_short_and_shrink_when_they_are_long() {
        let ms = Duration::from_millis;
        assert_eq!(adapted(64, Duration::ZERO), 80);
        assert_eq!(adapted(64, ms(1)), 64);
        assert_eq!(adapted(64, ms(5)), 32);
        assert_eq!(adapted(FEWEST_ROWS, ms(5)), FEWEST_ROWS);
        assert_eq!(adapted(MOST_ROWS, Duration::ZERO), MOST_ROWS);
    }
}
