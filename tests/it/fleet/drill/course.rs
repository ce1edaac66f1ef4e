//! The time of a drill.

use std::time::{Duration, Instant};

/// A time that began and has an end.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    start: Instant,
    length: Duration,
}

impl Course {
    #[expect(
        clippy::disallowed_methods,
        reason = "faults and clients share the time that passes"
    )]
    pub fn begin(length: Duration) -> Self {
        let start = Instant::now();
        Self { start, length }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time until the end.
    pub fn left(&self) -> Duration {
        self.length.saturating_sub(self.elapsed())
    }
}
