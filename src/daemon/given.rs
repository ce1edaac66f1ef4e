//! Sockets that outlive a service: those given to it at its start, and those that it passes on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::net::UnixStream;

use super::fdstore;
use crate::engine::service::Service;
use crate::host::hold::GivenSockets;
use crate::protocol::descriptor;

/// Sockets that were kept for this start: holds, and listeners.
#[derive(Debug, Default)]
pub struct Given {
    /// From a supervisor, with its names for them.
    pub by_supervisor: Vec<(String, OwnedFd)>,
    /// From the service that this one takes over from.
    pub by_predecessor: Vec<OwnedFd>,
}

impl Given {
    pub(super) fn into_sockets(self) -> GivenSockets {
        let mut given = fdstore::holds_among(self.by_supervisor);
        for socket in self.by_predecessor {
            given.add(None, socket);
        }
        given
    }
}

/// Passes every hold and the sockets of `others` on to the service that takes over.
pub(super) async fn pass_on(successor: &UnixStream, service: &Service, others: &[OwnedFd]) {
    let holds = service.all_holds();
    let others = others.iter().map(AsFd::as_fd);
    let sockets = holds.iter().flat_map(|hold| hold.descriptors());
    let sockets: Vec<BorrowedFd<'_>> = sockets.chain(others).collect();
    match descriptor::pass_on(successor, &sockets).await {
        Ok(()) => tracing::info!(
            holds = holds.len(),
            "passed the holds on to the service that takes over"
        ),
        Err(error) => {
            tracing::error!(%error, "could not pass all holds on to the service that takes over; it binds the others anew");
        }
    }
}
