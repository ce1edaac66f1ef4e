//! Sockets that accept, of both kinds, and their connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::net::{SocketFlags, accept_with, listen};

use crate::host::hold::BACKLOG;
use crate::host::readiness::Readiness;

/// A socket that listens.
#[derive(Debug)]
pub(in crate::daemon) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A connection that was accepted, and that no runtime watches.
#[derive(Debug)]
pub(in crate::daemon) enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A listener that a runtime watches.
#[derive(Debug)]
pub(super) struct Watched {
    readiness: Readiness,
    made: fn(OwnedFd) -> Stream,
}

impl Listener {
    /// Has the runtime watch it. Must be called on that runtime.
    pub(super) fn watched(&self) -> io::Result<Watched> {
        let copy = fcntl_dupfd_cloexec(self, 0)?;
        ioctl_fionbio(&copy, true)?;
        Ok(Watched {
            readiness: Readiness::of(copy)?,
            made: match self {
                Self::Tcp(_) => |connection| Stream::Tcp(connection.into()),
                Self::Unix(_) => |connection| Stream::Unix(connection.into()),
            },
        })
    }

    /// Listens again, which leaves waiting connections alone.
    pub(super) fn listen(&self) -> io::Result<()> {
        Ok(listen(self, BACKLOG)?)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Watched {
    /// Accepts a connection, which does not block. No connection is lost if the wait is given up. Another
    /// runtime may answer it, so this one does not watch it.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        // A client after the other leaves the other doors their turn.
        tokio::task::coop::consume_budget().await;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match accept_with(&self.readiness, flags) {
                Ok(connection) => return Ok((self.made)(connection)),
                Err(Errno::AGAIN) => self.readiness.readable().await?,
                // The client has hung up (`accept(2)`).
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Stream {
    /// Returns the connection of a Unix socket, watched by this runtime. `None` for TCP.
    pub(in crate::daemon) fn unix(self) -> Option<tokio::net::UnixStream> {
        let Self::Unix(stream) = self else {
            return None;
        };
        tokio::net::UnixStream::from_std(stream)
            .inspect_err(
                |error| tracing::warn!(%error, "could not watch a connection; it is closed"),
            )
            .ok()
    }
}
