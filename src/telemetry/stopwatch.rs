//! How long something took, for metrics and spans. Nothing is decided by it, so unlike deadlines it
//! takes no clock that a test could move.

use std::time::{Duration, Instant};

/// A running measurement.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to measure.
    #[expect(clippy::disallowed_methods, reason = "it measures and decides nothing")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it has run (`CLOCK_MONOTONIC`: the machine's sleep does not count).
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
