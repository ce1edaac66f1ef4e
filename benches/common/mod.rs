//! Shared by the measurements: a kernel of their own, the service on a fresh record, load and as much
//! HTTP as its clients need, and the table of figures.

pub mod api;
pub mod figure;
pub mod load;
pub mod place;
pub mod role;
pub mod service;
pub mod world;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The binary that is measured.
pub const PORTBOOK: &str = env!("CARGO_BIN_EXE_portbook");

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
    reading(ClockId::Monotonic)
}

/// The time on a clock of the kernel.
fn reading(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}
