//! Sockets that accept, of both kinds, and their connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::listen;

use crate::host::hold::BACKLOG;

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
pub(super) enum Watched {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    /// Has the runtime watch it. Must be called on that runtime.
    pub(super) fn watched(&self) -> io::Result<Watched> {
        match self {
            Self::Tcp(listener) => {
                let copy = listener.try_clone()?;
                copy.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(copy).map(Watched::Tcp)
            }
            Self::Unix(listener) => {
                let copy = listener.try_clone()?;
                copy.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(copy).map(Watched::Unix)
            }
        }
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
    /// Accepts a connection. No connection is lost if the wait is given up.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await?.0.into_std().map(Stream::Tcp),
            Self::Unix(listener) => listener.accept().await?.0.into_std().map(Stream::Unix),
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
