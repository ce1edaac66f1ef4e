//! What the engine tells history, and how it gets to the record: counts at once and in memory,
//! rows behind, in batches, never on the way of an allocation.

use std::time::Duration;

use super::caller::Mode;
use super::service::{Service, lock};
use super::snapshots::SnapshotLog;
use crate::domain::attempt::Attempt;
use crate::domain::history::{LateRow, Learned};
use crate::domain::lease::Lease;
use crate::domain::outsider::Outsider;
use crate::store::StoreError;

/// How often what was learned is written.
const ROUND: Duration = Duration::from_secs(10);

/// Every so many rounds the counts of ports that are seen again and again are written, which grow
/// without being touched: after a crash so many minutes of them are missing at most.
const ROUNDS_UNTIL_RUNNING: u32 = 60;

/// So many ports are written in one transaction, so that no allocation waits long behind it.
const PORTS_AT_ONCE: usize = 500;

/// A command that had to replay so many attempts writes what it learned, so that the next one need
/// not. Otherwise it leaves that to a service.
const MANY: usize = 256;

/// What waits to be written beside the counts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) looks: SnapshotLog,
    late: Vec<LateRow>,
    replayed: usize,
}

impl Service {
    /// Takes up what is on record, and replays the attempts that it may lack.
    pub(super) async fn remember(&self) -> Result<(), StoreError> {
        let remembered = self.store.remembered().await?;
        let mut history = lock(&self.history);
        history.load(remembered.pages, remembered.ports);
        history.replay(&remembered.attempts);
        drop(history);
        let mut pending = lock(&self.pending);
        pending.replayed = remembered.attempts.len();
        pending.looks.begin_after(remembered.last_snapshot);
        Ok(())
    }

    /// Learns from the attempts of one request. Before they are committed: what is on record before
    /// the counts are taken to be written is then in them.
    pub(super) fn learn(&self, attempts: &[Attempt]) {
        lock(&self.history).learn(attempts);
    }

    /// A lease has ended.
    pub(super) fn learn_release(&self, lease: &Lease) {
        let now_ms = self.clock.now().as_millisecond();
        lock(&self.history).released(&lease.addresses, lease.protocol, lease.port, now_ms);
    }

    /// An outsider was found on a leased port.
    pub(super) fn learn_late_conflict(&self, lease: &Lease, outsider: &Outsider) {
        let now_ms = self.clock.now().as_millisecond();
        lock(&self.history).late(&lease.addresses, lease.protocol, lease.port, now_ms);
        lock(&self.pending).late.push(LateRow {
            at_ms: now_ms,
            lease: lease.id,
            protocol: lease.protocol,
            port: lease.port,
            addresses: lease.addresses.clone(),
            occupant: outsider.to_string(),
            occupant_uid: outsider.occupant.uid,
        });
    }

    /// Writes what was learned every few seconds, for as long as it is polled.
    pub async fn keep_history(&self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 1_u32.. {
            rounds.tick().await;
            if round.is_multiple_of(ROUNDS_UNTIL_RUNNING) {
                lock(&self.history).mark_running();
            }
            if let Err(error) = self.write_history().await {
                tracing::warn!(%error, "what was learned is not on record yet");
            }
        }
    }

    /// Writes all that was learned, before the record is closed.
    pub async fn settle_history(&self) {
        if self.mode == Mode::Embedded && lock(&self.pending).replayed < MANY {
            return;
        }
        lock(&self.history).mark_running();
        if let Err(error) = self.write_history().await {
            tracing::warn!(%error, "what was learned last is not on record");
        }
    }

    /// One round of writing. What cannot be written waits for the next.
    pub async fn write_history(&self) -> Result<(), StoreError> {
        // Asked for first: what is recorded once the counts are taken is not in them.
        let covered = self.store.reader().last_attempt().await?;
        let mut is_first = true;
        loop {
            let now_ms = self.clock.now().as_millisecond();
            let changes = lock(&self.history).take_changes(now_ms, PORTS_AT_ONCE);
            let is_last = changes.ports.len() < PORTS_AT_ONCE;
            let mut learned = Learned {
                changes,
                covers: is_last.then_some(covered),
                ..Learned::default()
            };
            if is_first {
                let mut pending = lock(&self.pending);
                learned.late = std::mem::take(&mut pending.late);
                (learned.snapshots, learned.sightings) = pending.looks.take();
            }
            if learned.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.write_learned(learned.clone()).await {
                lock(&self.history).put_back(&learned.changes);
                let mut pending = lock(&self.pending);
                pending.late.splice(0..0, learned.late);
                pending.looks.put_back(learned.snapshots, learned.sightings);
                return Err(error);
            }
            if is_last {
                return Ok(());
            }
            is_first = false;
        }
    }
}
