//! Waiting for a descriptor of the kernel (a pidfd, a netlink socket) to become readable.
//!
//! Its code is unsafe because tokio asks its caller to promise what the type alone cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the runtime watches for reading.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches a descriptor. Must be called on a runtime with I/O.
    #[expect(unsafe_code, reason = "the promise below cannot be put into types")]
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor must stay open and unchanged for as long as the `AsyncFd` lives.
        // An `OwnedFd` is open, always gives one number, and is owned by the `AsyncFd` from here
        // on; nothing in this file takes it out or replaces it.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        watched.map(Self).map_err(io::Error::from)
    }

    /// Returns once there is something to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.clear_ready())
    }

    /// Returns once there is something to read, for any number of callers: the descriptor stays readable
    /// then, as a pidfd does.
    pub async fn readable_for_good(&self) -> io::Result<()> {
        self.0
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
