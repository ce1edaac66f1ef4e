//! Writing what was learned to the record, in rounds.

use std::sync::Arc;
use std::time::Duration;

use super::Learning;
use crate::domain::history::Learned;
use crate::store::StoreError;

/// Pause between two rounds of writing.
const ROUND: Duration = Duration::from_secs(10);

/// Number of rounds after which the counts of ports that each snapshot sees are written. They grow
/// without being touched; a crash loses at most this many rounds of them.
const ROUNDS_UNTIL_RUNNING: u32 = 60;

/// Maximum number of ports in one transaction, so that no allocation waits long behind it.
const PORTS_AT_ONCE: usize = 500;

/// A command that replayed this many attempts writes what it learned, so that the next one need not
/// replay them. With fewer it leaves the writing to a service.
const MANY_REPLAYED: usize = 256;

impl Learning {
    /// Writes what was learned every few seconds, for as long as it is polled.
    pub(in crate::engine) async fn run_writing(self: &Arc<Self>) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 1_u32.. {
            rounds.tick().await;
            if round.is_multiple_of(ROUNDS_UNTIL_RUNNING) {
                self.state.with(|learned| learned.history.mark_running());
            }
            match self.write().await {
                // A record that takes nothing is told once by the store.
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, "could not write learned counts; the next round tries again");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not write learned counts; the next round tries again");
                }
                Ok(()) => {}
            }
        }
    }

    /// Writes all that was learned before a service closes the record.
    pub(in crate::engine) async fn settle(self: &Arc<Self>) {
        self.state.with(|learned| learned.history.mark_running());
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "could not write learned counts; the next start replays attempts");
        }
    }

    /// Writes all that was learned before a command exits, if it is worth the time.
    pub(in crate::engine) async fn settle_if_many(self: &Arc<Self>) {
        if self.state.with(|learned| learned.replayed) >= MANY_REPLAYED {
            self.settle().await;
        }
    }

    /// Writes the snapshots that are not on record yet, if there are any.
    pub(in crate::engine) async fn write_snapshots(self: &Arc<Self>) -> Result<(), StoreError> {
        if self.state.with(|learned| learned.snapshots.is_written()) {
            return Ok(());
        }
        self.write().await
    }

    /// Writes one round, after the one under way. Rows that cannot be written stay for the next round. A
    /// caller that goes away does not stop the round: its rows would be lost, and the next round would say
    /// that the record has them.
    pub(in crate::engine) async fn write(self: &Arc<Self>) -> Result<(), StoreError> {
        let learning = Arc::clone(self);
        let round = tokio::spawn(async move {
            let _turn = learning.round.lock().await;
            learning.write_round().await
        });
        round.await.map_err(|_| StoreError::Closed)?
    }

    async fn write_round(&self) -> Result<(), StoreError> {
        // Read first: an attempt that is recorded after this may be missing from the counts.
        let covered = self.store.reader().last_attempt().await?;
        let mut is_first = true;
        loop {
            let (learned, is_last) = self.take_rows(covered, is_first);
            if learned.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.write_learned(learned.clone()).await {
                self.put_back(learned);
                return Err(error);
            }
            if is_last {
                return Ok(());
            }
            is_first = false;
        }
    }

    /// Takes the rows of one transaction, and tells whether they are the last of the round.
    fn take_rows(&self, covered: i64, is_first: bool) -> (Learned, bool) {
        let now_ms = self.now_ms();
        self.state.with(|learned| {
            let changes = learned.history.take_changes(now_ms, PORTS_AT_ONCE);
            let is_last = changes.ports.len() < PORTS_AT_ONCE;
            let mut rows = Learned {
                changes,
                covers: is_last.then_some(covered),
                ..Learned::default()
            };
            if is_first {
                rows.late = std::mem::take(&mut learned.late);
                (rows.snapshots, rows.sightings) = learned.snapshots.take();
            }
            (rows, is_last)
        })
    }

    fn put_back(&self, rows: Learned) {
        self.state.with(|learned| {
            learned.history.put_back(&rows.changes);
            learned.late.splice(0..0, rows.late);
            learned.snapshots.put_back(rows.snapshots, rows.sightings);
        });
    }
}
