//! Everything with a socket: real processes of the real binary, on a real record, through the
//! real start-up path.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says by a panic that it failed"
)]

mod api;
mod crash;
mod ephemeral;
mod fault;
mod host;
mod layers;
mod multi_nic;
mod owner;
mod probe;
mod support;
