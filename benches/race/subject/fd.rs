//! portbook, hand-over `fd`: the client is given sockets that listen already.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use portbook::internals;
use socket2::Socket;

use super::service::Service;
use super::{Booked, Subject};

/// A client.
pub struct Fd {
    service: Service,
    api_socket: PathBuf,
    /// Second listener, on the other family.
    others: Vec<OwnedFd>,
}

impl Fd {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        Ok(Self {
            service: Service::connect(socket)?,
            api_socket: socket.to_owned(),
            others: Vec::new(),
        })
    }
}

impl Subject for Fd {
    fn book(&mut self) -> Result<Booked> {
        self.service.book("fd")
    }

    fn listen(&mut self, booked: &Booked) -> io::Result<Socket> {
        let lease = booked.lease.as_deref().and_then(|id| id.parse().ok());
        let lease = lease.ok_or_else(|| io::Error::other("no lease"))?;
        let sockets = internals::fetch(&self.api_socket, lease).map_err(io::Error::other)?;
        let mut sockets = sockets.into_iter();
        let first = sockets.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.others = sockets.collect();
        let first = Socket::from(first);
        let port = first.local_addr()?.as_socket().map(|at| at.port());
        if !first.is_listener()? || port != Some(booked.port) {
            return Err(io::Error::other("not what was booked"));
        }
        Ok(first)
    }

    fn give_back(&mut self, booked: Booked) -> Result<()> {
        self.others.clear();
        self.service.give_back(booked)
    }
}
