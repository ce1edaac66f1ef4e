//! A count that fades with a half-life, brought up to date when it is read.

use std::time::Duration;

/// Half-life of counts, kept as its reciprocal in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HalfLife(f64);

impl HalfLife {
    /// Half-life of at least a millisecond.
    pub fn of(half_life: Duration) -> Self {
        Self(1.0 / (half_life.as_secs_f64() * 1e3).max(1.0))
    }

    /// Share of a count that is left after some milliseconds. It never exceeds 1, even if the clock
    /// went backwards.
    pub fn left_after(self, elapsed_ms: i64) -> f64 {
        if elapsed_ms <= 0 {
            return 1.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "the length of a time, not a number to count with"
        )]
        let elapsed = elapsed_ms as f64;
        (-elapsed * self.0).exp2()
    }
}

/// A count and the time it was true at.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Decayed {
    pub(super) value: f64,
    pub(super) at_ms: i64,
}

impl Decayed {
    pub(super) fn at(self, half_life: HalfLife, now_ms: i64) -> f64 {
        if self.value == 0.0 {
            return 0.0;
        }
        self.value * half_life.left_after(now_ms - self.at_ms)
    }

    pub(super) fn settle(&mut self, half_life: HalfLife, now_ms: i64) {
        self.value = self.at(half_life, now_ms);
        self.at_ms = self.at_ms.max(now_ms);
    }
}
