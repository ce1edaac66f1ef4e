//! Durations for metrics and spans. They decide nothing, so unlike deadlines they need no clock
//! that a test can move.

use std::time::{Duration, Instant};

/// A running measurement.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "it measures and decides nothing")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start (`CLOCK_MONOTONIC`: the machine's sleep does not count).
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
