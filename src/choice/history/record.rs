//! Counts of single ports and of blocks of ports.

use std::sync::Arc;

use super::decayed::{Decayed, HalfLife};
use crate::domain::candidate::Totals;
use crate::domain::port::Port;

/// Number of neighbouring ports in a block.
const BLOCK: u16 = 64;

/// Evidence of one port. All counts were true at `at_ms`.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) at_ms: i64,
    pub(super) good: f64,
    pub(super) failed: f64,
    /// Snapshots that saw an occupant, without those of the current run.
    pub(super) busy: f64,
    pub(super) late: f64,
    /// Run of snapshots that all saw an occupant, up to the latest.
    pub(super) run: Option<Run>,
    /// Time of the latest attempt that was learned. Snapshots and ended leases leave it alone.
    pub(super) tried_ms: Option<i64>,
    pub(super) released_at_ms: Option<i64>,
    pub(super) totals: Totals,
    pub(super) occupant: Option<Arc<str>>,
}

/// Snapshot counts of the page just before the first of a run. The run's own count is the difference,
/// so that a snapshot need not touch the ports that it sees again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) checks: Decayed,
    pub(super) checks_total: u64,
}

/// Evidence of a block of ports: refusals that are rare for one port add up for its neighbours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    pub(super) at_ms: i64,
    pub(super) good: f64,
    pub(super) failed: f64,
}

impl Block {
    pub(super) fn settle(&mut self, half_life: HalfLife, now_ms: i64) {
        let left = half_life.left_after(now_ms - self.at_ms);
        self.good *= left;
        self.failed *= left;
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Adds counts that were true at `now_ms`, which may lie before the last news.
    pub(super) fn add(&mut self, good: f64, failed: f64, half_life: HalfLife, now_ms: i64) {
        self.settle(half_life, now_ms);
        let left = half_life.left_after(self.at_ms - now_ms);
        self.good += good * left;
        self.failed += failed * left;
    }
}

impl Record {
    pub(super) fn settle(&mut self, half_life: HalfLife, now_ms: i64) {
        let left = half_life.left_after(now_ms - self.at_ms);
        for count in [
            &mut self.good,
            &mut self.failed,
            &mut self.busy,
            &mut self.late,
        ] {
            *count *= left;
        }
        self.at_ms = self.at_ms.max(now_ms);
    }
}

pub(super) const fn block_of(port: Port) -> u16 {
    port.get() / BLOCK
}
