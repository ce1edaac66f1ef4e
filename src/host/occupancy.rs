//! Occupants of ports, by the kernel's socket tables.
//!
//! The tables are hints, `bind(2)` is the truth: a kernel before 6.8 does not list sockets that are
//! bound and do not listen, and no table shows other network namespaces.

mod diag;
mod polled;
mod proc_net;
mod processes;
mod proxies;
mod uses;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::domain::address::BindAddress;
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::port::{Port, Protocol};
use crate::domain::sighting::Sighting;
use crate::host::hold::NO_INTERFACE;
use crate::host::process::Process;

pub use processes::{has_socket, processes_of, processes_with};
pub use uses::{may_wait_for_clients, shows_use};

/// One socket of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub protocol: Protocol,
    /// Local address. An IPv4 address in an IPv6 socket (`::ffff:0:0/96`) is given as IPv4.
    pub local: IpAddr,
    /// Index of the interface that it is bound to, as for link-local IPv6; 0 for none or unknown.
    pub scope: u32,
    /// Whether it is on `[::]` and covers IPv4 too (no IPV6_V6ONLY, `ipv6(7)`).
    pub dual: bool,
    pub port: Port,
    pub state: SocketState,
    /// User that it belongs to. `None` in TIME_WAIT, which has forgotten it.
    pub uid: Option<u32>,
    /// Inode by which `/proc/PID/fd` names it; 0 once no process has it.
    pub inode: u64,
    /// For a TCP listener, number of connections that wait to be accepted; else 0.
    pub queue: u32,
}

impl Entry {
    /// Whether this socket makes the kernel refuse a strict bind of an address (portbook's are
    /// IPv6-only): `inet_rcv_saddr_equal` in Linux.
    pub fn overlaps(&self, address: &BindAddress) -> bool {
        self.sighting().overlaps(address)
    }

    /// Whether it takes what clients send to its port: it listens or, for UDP, is bound. A connected socket
    /// for UDP is one too, though it has one client alone.
    pub fn receives(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => self.state == SocketState::Listening,
            Protocol::Udp => matches!(self.state, SocketState::Listening | SocketState::Connected),
        }
    }

    /// Local address with port: `127.0.0.1:80`, `[fe80::1%2]:80`.
    pub fn address(&self) -> String {
        match self.local {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.port.get())).to_string(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port.get(), 0, self.scope).to_string(),
        }
    }

    /// The entry for history.
    pub const fn sighting(&self) -> Sighting {
        Sighting {
            protocol: self.protocol,
            port: self.port,
            local: self.local,
            scope: self.scope,
            dual: self.dual,
        }
    }
}

/// The sockets of the host at one moment.
#[derive(Debug, Clone, Default)]
pub struct Occupancy {
    /// Every socket with a port.
    pub entries: Vec<Entry>,
}

impl Occupancy {
    /// Reads the tables of these protocols, both families.
    pub fn snapshot(protocols: &[Protocol]) -> io::Result<Self> {
        let mut entries = Vec::new();
        for &protocol in protocols {
            entries.append(&mut read(protocol, None)?);
        }
        Ok(Self { entries })
    }

    /// Lists the sockets on one port, filtered by the kernel.
    pub fn on_port(protocol: Protocol, port: Port) -> io::Result<Vec<Entry>> {
        read(protocol, Some(port))
    }

    /// Lists every socket that listens; for UDP, every one that is not connected.
    pub fn listening(protocol: Protocol) -> io::Result<Vec<Entry>> {
        match protocol {
            Protocol::Tcp => Self::listeners(),
            Protocol::Udp => {
                let mut entries = read(Protocol::Udp, None)?;
                entries.retain(|entry| entry.state == SocketState::Listening);
                Ok(entries)
            }
        }
    }

    /// Lists every TCP socket that listens.
    pub fn listeners() -> io::Result<Vec<Entry>> {
        tcp_listeners(None)
    }

    /// Lists the TCP sockets that listen on one port. Far cheaper than [`Self::on_port`] on a busy
    /// host: the kernel walks its listeners alone, not every connection.
    pub fn listeners_on(port: Port) -> io::Result<Vec<Entry>> {
        tcp_listeners(Some(port))
    }
}

fn tcp_listeners(port: Option<Port>) -> io::Result<Vec<Entry>> {
    let listed = diag::read(Protocol::Tcp, port, diag::LISTENING);
    let mut entries = listed.or_else(|_| read(Protocol::Tcp, port))?;
    entries.retain(|entry| entry.state == SocketState::Listening);
    Ok(entries)
}

/// User at the client's end of a TCP connection within this host. `None` if the client is
/// elsewhere, or its process has closed the socket, for which the kernel would name root.
pub fn user_of_client(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let found = diag::client_end(client, server).ok();
    found.filter(|(_, inode)| *inode != 0).map(|(user, _)| user)
}

/// Reads by netlink or, if that is refused (old kernels, seccomp filters), from `/proc/net`.
fn read(protocol: Protocol, port: Option<Port>) -> io::Result<Vec<Entry>> {
    diag::read(protocol, port, diag::EVERY_STATE).or_else(|error| {
        tracing::debug!(%protocol, %error, "could not read the socket tables by sock_diag; reading /proc/net");
        proc_net::read(protocol, port)
    })
}

/// Occupants behind these sockets: listeners first, then bound sockets, then connections.
///
/// It walks all of `/proc`. A process that cannot be read is left out.
pub fn behind(mut entries: Vec<Entry>) -> Vec<(Entry, Occupant)> {
    entries.sort_by_key(|entry| entry.state.rank());
    let occupants = identify(&entries);
    entries.into_iter().zip(occupants).collect()
}

/// Occupant behind each entry, in one walk of `/proc`. For a socket that several processes share,
/// the lowest pid.
pub fn identify(entries: &[Entry]) -> Vec<Occupant> {
    let processes = processes_of(entries);
    entries
        .iter()
        .map(|entry| occupant(entry, &processes))
        .collect()
}

/// Occupant behind one entry, among the processes that [`processes_of`] found.
pub fn occupant(entry: &Entry, processes: &HashMap<u64, Vec<Process>>) -> Occupant {
    let process = processes.get(&entry.inode).and_then(|all| all.first());
    Occupant {
        pid: process.map(|process| process.pid),
        uid: entry.uid,
        command: process.and_then(|process| process.command.clone()),
        state: entry.state,
    }
}

/// LISTEN in the kernel's numbers (`include/net/tcp_states.h`).
const LISTEN: u8 = 10;

/// TIME_WAIT in the kernel's numbers (`include/net/tcp_states.h`).
const TIME_WAIT: u8 = 6;

/// A state in the kernel's numbers (`include/net/tcp_states.h`). UDP borrows two of them: 1 for
/// connected and 7 for bound, which for UDP is all that it takes to receive.
const fn state_of(protocol: Protocol, number: u8) -> SocketState {
    match (protocol, number) {
        (Protocol::Udp, 1) => SocketState::Connected,
        (Protocol::Udp, _) => SocketState::Listening,
        (Protocol::Tcp, number) => tcp_state(number),
    }
}

const fn tcp_state(number: u8) -> SocketState {
    match number {
        LISTEN => SocketState::Listening,
        // CLOSE with a port, and BOUND_INACTIVE.
        7 | 13 => SocketState::Bound,
        // ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE_WAIT, NEW_SYN_RECV.
        1 | 2 | 3 | 8 | 12 => SocketState::Connected,
        // FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING.
        4 | 5 | TIME_WAIT | 9 | 11 => SocketState::Lingering,
        _ => SocketState::Unknown,
    }
}

/// One line of a table, as read.
struct Raw {
    protocol: Protocol,
    local: IpAddr,
    scope: u32,
    /// `None` if the table does not tell it.
    v6_only: Option<bool>,
    port: u16,
    state: u8,
    uid: u32,
    inode: u64,
    /// Length of the receive queue: bytes, or connections for a TCP listener.
    queue: u32,
}

impl Raw {
    /// Converts it to an entry, unless it has no port.
    fn entry(self) -> Option<Entry> {
        let port = Port::new(self.port)?;
        // By default a socket on [::] takes IPv4 too.
        let dual = self.local.is_ipv6() && self.local.is_unspecified();
        // A hold of some portbook, which receives nothing.
        let is_tied = self.scope == NO_INTERFACE;
        Some(Entry {
            protocol: self.protocol,
            local: self.local.to_canonical(),
            scope: if is_tied { 0 } else { self.scope },
            dual: dual && self.v6_only != Some(true),
            port,
            state: match state_of(self.protocol, self.state) {
                SocketState::Listening if is_tied => SocketState::Bound,
                state => state,
            },
            uid: (self.state != TIME_WAIT).then_some(self.uid),
            inode: self.inode,
            queue: if self.protocol == Protocol::Tcp && self.state == LISTEN {
                self.queue
            } else {
                0
            },
        })
    }
}

#[cfg(test)]
pub mod tests_support {
    use super::*;

    /// A socket of this user that listens on port 8000 of 127.0.0.1.
    pub fn listening(inode: u64) -> Entry {
        Entry {
            protocol: Protocol::Tcp,
            local: std::net::Ipv4Addr::LOCALHOST.into(),
            scope: 0,
            dual: false,
            port: Port::new(8000).unwrap(),
            state: SocketState::Listening,
            uid: Some(rustix::process::geteuid().as_raw()),
            inode,
            queue: 0,
        }
    }
}

#[cfg(test)]
mod tests;
