//! Sockets that outlive a service: those given to it at its start, and those that it passes on.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream as BlockingStream};
use std::path::Path;

use rustix::net::{AddressFamily, sockopt};

use super::fdstore;
use crate::host::hold::GivenSockets;
use crate::protocol::succession::Inheritance;

/// Sockets that were kept for this start: holds, and listeners.
#[derive(Debug, Default)]
pub struct Given {
    /// From a supervisor, with its names for them.
    pub by_supervisor: Vec<(String, OwnedFd)>,
    /// From the service that this one takes over from: sockets, and the lock of the data directory.
    pub by_predecessor: Vec<OwnedFd>,
    /// Connection to that service. `None` if it has ended.
    pub link: Option<BlockingStream>,
}

impl Given {
    /// Adds what a predecessor passed on.
    pub fn inherit(&mut self, inheritance: Inheritance) {
        self.by_predecessor = inheritance.sockets;
        self.link = inheritance.link;
    }

    pub(super) fn into_sockets(self) -> GivenSockets {
        let mut given = fdstore::holds_among(self.by_supervisor);
        for socket in self.by_predecessor {
            given.add(None, socket);
        }
        given
    }
}

/// Takes the listener of the console out of the sockets of a predecessor.
pub(super) fn console_among(sockets: &mut Vec<OwnedFd>) -> Option<TcpListener> {
    const INET: [AddressFamily; 2] = [AddressFamily::INET, AddressFamily::INET6];
    let listens = |socket: &OwnedFd| {
        let is_inet = sockopt::socket_domain(socket).is_ok_and(|family| INET.contains(&family));
        is_inet && sockopt::socket_acceptconn(socket).unwrap_or(false)
    };
    let index = sockets.iter().position(listens)?;
    Some(sockets.swap_remove(index).into())
}

/// Unix sockets of a predecessor that listen.
#[derive(Debug)]
pub(super) struct PassedOn(Vec<UnixListener>);

impl PassedOn {
    /// Takes them out of all sockets that were passed on.
    pub(super) fn among(sockets: &mut Vec<OwnedFd>) -> Self {
        let is_unix = |socket: &mut OwnedFd| {
            sockopt::socket_domain(&*socket).is_ok_and(|family| family == AddressFamily::UNIX)
        };
        let found = sockets.extract_if(.., is_unix);
        Self(found.map(UnixListener::from).collect())
    }

    /// Takes the one with an abstract name.
    pub(super) fn named(&mut self, name: &[u8]) -> Option<UnixListener> {
        self.take(|address| address.as_abstract_name() == Some(name))
    }

    /// Takes the one that its service put at a path. The kernel remembers the name that it was bound under
    /// before it was put in place.
    pub(super) fn at_path(&mut self, path: &Path) -> Option<UnixListener> {
        let first = path.with_extension("new");
        self.take(|address| address.as_pathname() == Some(&first))
    }

    /// Takes the one that a supervisor bound at a path.
    pub(super) fn activated(&mut self, path: &Path) -> Option<UnixListener> {
        self.take(|address| address.as_pathname() == Some(path))
    }

    fn take(&mut self, is_meant: impl Fn(&SocketAddr) -> bool) -> Option<UnixListener> {
        let listens = |it: &UnixListener| it.local_addr().is_ok_and(|at| is_meant(&at));
        let index = self.0.iter().position(listens)?;
        Some(self.0.swap_remove(index))
    }
}
