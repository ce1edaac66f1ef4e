//! Bound sockets that a process is given, some of which may be holds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{Socket, Type};

use crate::domain::port::Protocol;
use crate::host::bpf::is_link;

/// A socket, and the name under which a supervisor keeps it.
pub(super) type Stored = (Option<Arc<str>>, Socket);

/// Bound sockets that this process was given, by a supervisor that kept them or by the service that
/// it takes over from. Their addresses tell the leases that they belong to.
#[derive(Debug, Default)]
pub struct GivenSockets {
    bound: HashMap<(Protocol, SocketAddr), Stored>,
    /// Names of sockets that cannot be holds, and of links.
    others: Vec<Arc<str>>,
    /// Links of the last guard in the kernel (`host::bpf`), in force until there is a new one.
    links: Vec<OwnedFd>,
}

impl GivenSockets {
    /// Adds a socket, and the name under which a supervisor keeps it. A socket that listens, or is
    /// no bound internet socket, is closed: it is no hold.
    pub fn add(&mut self, name: Option<Arc<str>>, descriptor: OwnedFd) {
        let socket = Socket::from(descriptor);
        match bound_to(&socket) {
            Some(bound) => drop(self.bound.insert(bound, (name, socket))),
            None => self.others.extend(name),
        }
    }

    /// Adds a link of the guard in the kernel, and the name under which a supervisor keeps it.
    pub fn add_link(&mut self, name: Arc<str>, link: OwnedFd) {
        if !self.others.contains(&name) {
            self.others.push(name);
        }
        if is_link(&link) {
            self.links.push(link);
        }
    }

    pub(super) fn has(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.bound.contains_key(&(protocol, address))
    }

    pub(super) fn take(&mut self, protocol: Protocol, address: SocketAddr) -> Option<Stored> {
        self.bound.remove(&(protocol, address))
    }

    pub fn len(&self) -> usize {
        self.bound.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bound.is_empty()
    }

    /// Names of the sockets that a supervisor keeps.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let names = self.bound.values().filter_map(|(name, _)| name.as_ref());
        names.chain(&self.others)
    }
}

/// Protocol and address of a socket that can be part of a hold.
fn bound_to(socket: &Socket) -> Option<(Protocol, SocketAddr)> {
    let protocol = match socket.r#type() {
        Ok(Type::STREAM) => Protocol::Tcp,
        Ok(Type::DGRAM) => Protocol::Udp,
        _ => return None,
    };
    let address = socket.local_addr().ok()?.as_socket()?;
    let holds = address.port() != 0 && !socket.is_listener().unwrap_or(true);
    holds.then_some((protocol, address))
}
