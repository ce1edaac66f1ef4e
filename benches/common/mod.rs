//! Shared by the measurements with many processes: a kernel of their own, the service on a fresh
//! record, and as much HTTP as its clients need.

pub mod api;
pub mod place;
pub mod role;
pub mod world;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The binary that is measured.
const PORTBOOK: &str = env!("CARGO_BIN_EXE_portbook");

/// The time on the clock that no administrator sets.
#[expect(
    clippy::disallowed_methods,
    reason = "the passing of time is what is measured"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The time on a clock that all processes share.
pub fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}
