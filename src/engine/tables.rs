//! The kernel's tables of sockets, read once for a round over many leases.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::domain::address::BindAddress;
use crate::domain::attempt::SocketState;
use crate::domain::port::{Port, Protocol, Protocols};
use crate::host::occupancy::{Entry, Occupancy};

/// The sockets on each port.
type ByPort = HashMap<(Protocol, Port), Vec<Entry>>;

/// The tables as they were when they were first asked for. `None` inside if they could not be read.
///
/// They tell which binds are in vain. A bind is tried all the same before a port is taken.
#[derive(Debug, Default)]
pub(super) struct Tables(OnceLock<Option<ByPort>>);

impl Tables {
    /// States of the sockets that refuse a strict bind of any of these addresses. `None` if the tables
    /// could not be read.
    pub(super) fn states_on(
        &self,
        addresses: &[BindAddress],
        protocol: Protocol,
        port: Port,
    ) -> Option<Vec<SocketState>> {
        let by_port = self.0.get_or_init(read).as_ref()?;
        let on_port = by_port.get(&(protocol, port)).into_iter().flatten();
        let overlapping =
            on_port.filter(|entry| addresses.iter().any(|address| entry.overlaps(address)));
        Some(overlapping.map(|entry| entry.state).collect())
    }
}

fn read() -> Option<ByPort> {
    let sockets = Occupancy::snapshot(Protocols::Both.each()).ok()?;
    let mut by_port = ByPort::new();
    for entry in sockets.entries {
        let place = (entry.protocol, entry.port);
        by_port.entry(place).or_default().push(entry);
    }
    Some(by_port)
}

/// Whether a socket is a connection of TCP, closing or still open, that a listener left behind. The kernel lets
/// SO_REUSEADDR past those of a listener that had it set, and refuses the others (a client that uses the
/// port as its own, say).
pub(super) const fn is_leftover(state: SocketState) -> bool {
    matches!(state, SocketState::Lingering | SocketState::Connected)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn table_is_read_once_for_all_ports() {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = [BindAddress {
            interface: "any".into(),
            ip: Ipv4Addr::UNSPECIFIED.into(),
            scope: 0,
        }];
        let port = |listener: &TcpListener| Port::new(listener.local_addr().unwrap().port());
        let (before, tables) = (listen(), Tables::default());
        let states = |port| tables.states_on(&address, Protocol::Tcp, port).unwrap();
        assert_eq!(states(port(&before).unwrap()), [SocketState::Listening]);
        let after = listen();
        assert_eq!(states(port(&after).unwrap()), []);
    }
}
