//! What the measurements with many processes share: a kernel of their own, the service on a fresh
//! record, and as much HTTP as its clients need.

pub mod api;
pub mod place;
pub mod role;
pub mod world;

use std::time::Instant;

/// The binary that is measured.
const PORTBOOK: &str = env!("CARGO_BIN_EXE_portbook");

/// What time it is, by the clock that no administrator sets.
#[expect(
    clippy::disallowed_methods,
    reason = "the passing of time is what is measured"
)]
pub fn now() -> Instant {
    Instant::now()
}
