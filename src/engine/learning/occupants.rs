//! Occupants: the sockets in the way, and their processes.
//!
//! A search reads the socket tables and `/proc` at its first refused bind, on a thread for blocking
//! work, so that no HTTP worker waits for it. All searches share the reading for a moment: sixteen busy
//! candidates cost one walk of `/proc`, and a host that is nearly full costs one walk a second.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::choice::bits::PortBits;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::attempt::{Attempt, Occupant, SocketState};
use crate::domain::lease::BootTime;
use crate::domain::port::{Port, Protocol};
use crate::engine::lock::Guarded;
use crate::host::clock::Clock;
use crate::host::occupancy::{Entry, Occupancy, has_socket, processes_of};
use crate::host::process::Process;

/// Maximum age of a reading that still names occupants. A socket that it does not list causes another
/// reading.
const FRESH: Duration = Duration::from_secs(1);

/// Longest wait of one search for a reading. A name for the socket in the way is worth less than the
/// time that the search has left; the reading goes on and serves later searches.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The latest reading of each protocol, shared by all searches.
#[derive(Debug, Default)]
pub(super) struct SocketTables(Guarded<ByProtocol>);

impl SocketTables {
    /// Returns the latest reading of a protocol if it is fresh.
    fn fresh(&self, protocol: Protocol, clock: &Clock) -> Option<Arc<Tables>> {
        let tables = self.0.with(|shared| shared.get(&protocol).cloned())?;
        let age = clock.boot().since(tables.read_at);
        (age < FRESH).then_some(tables)
    }

    /// Looks up the occupant of an address, and returns the reading that it made for that, if any. It
    /// blocks for milliseconds.
    fn look(
        &self,
        protocol: Protocol,
        port: Port,
        at: &BindAddress,
        clock: &Clock,
    ) -> (Option<Arc<Tables>>, Option<Occupant>) {
        let fresh = self.fresh(protocol, clock);
        if let Some((inode, occupant)) = fresh.and_then(|tables| tables.occupant(port, at))
            && still_has(&occupant, inode)
        {
            return (None, Some(occupant));
        }
        let tables = Arc::new(Tables::read(protocol, port, clock));
        self.0
            .with(|shared| shared.insert(protocol, Arc::clone(&tables)));
        let occupant = tables.occupant(port, at).map(|(_, occupant)| occupant);
        (Some(tables), occupant)
    }
}

type ByProtocol = HashMap<Protocol, Arc<Tables>>;

/// The occupants that one search knows.
#[derive(Debug)]
pub(in crate::engine) struct Occupants {
    shared: Arc<SocketTables>,
    clock: Clock,
    /// Readings made for this search.
    own: ByProtocol,
    /// Protocols of which a reading took too long: this search names their occupants no more.
    given_up: HashSet<Protocol>,
}

/// The sockets of one protocol at one moment, and the processes of those that listen.
#[derive(Debug)]
struct Tables {
    read_at: BootTime,
    by_port: HashMap<Port, Vec<Entry>>,
    processes: HashMap<u64, Vec<Process>>,
    /// Results of [`Self::listed`].
    listed: Guarded<Vec<(AddressGroup, Arc<PortBits>)>>,
}

impl Tables {
    fn read(protocol: Protocol, port: Port, clock: &Clock) -> Self {
        let read_at = clock.boot();
        let tables = Occupancy::snapshot(&[protocol]).unwrap_or_default();
        // Listeners, and all sockets of this very port. portbook's own holds, of which there may be
        // thousands, are bound and do not listen.
        let counts = |entry: &&Entry| entry.state == SocketState::Listening || entry.port == port;
        let processes = processes_of(tables.entries.iter().filter(counts));
        let mut by_port: HashMap<Port, Vec<Entry>> = HashMap::new();
        for entry in tables.entries {
            by_port.entry(entry.port).or_default().push(entry);
        }
        Self {
            read_at,
            by_port,
            processes,
            listed: Guarded::default(),
        }
    }

    /// Returns the ports with a socket that overlaps a group. Computed once for each group: there may
    /// be tens of thousands of sockets.
    fn listed(&self, group: &AddressGroup) -> Arc<PortBits> {
        self.listed.with(|listed| {
            if let Some((_, ports)) = listed.iter().find(|(known, _)| known == group) {
                return Arc::clone(ports);
            }
            let ports = Arc::new(self.overlapping(group));
            listed.push((group.clone(), Arc::clone(&ports)));
            ports
        })
    }

    fn overlapping(&self, group: &AddressGroup) -> PortBits {
        let addresses = group.addresses();
        let overlaps = |entry: &Entry| addresses.iter().any(|address| entry.overlaps(address));
        let mut ports = PortBits::default();
        for (port, entries) in &self.by_port {
            if entries.iter().any(overlaps) {
                ports.insert(*port);
            }
        }
        ports
    }

    /// Returns the occupant of an address, with the inode of its socket: a listener before others.
    fn occupant(&self, port: Port, address: &BindAddress) -> Option<(u64, Occupant)> {
        let on_port = self.by_port.get(&port)?;
        let in_the_way = on_port
            .iter()
            .filter(|entry| entry.overlaps(address))
            .min_by_key(|entry| entry.state.rank())?;
        let processes = self.processes.get(&in_the_way.inode);
        let process = processes.and_then(|all| all.first());
        let occupant = Occupant {
            pid: process.map(|process| process.pid),
            uid: in_the_way.uid,
            command: process.and_then(|process| process.command.clone()),
            state: in_the_way.state,
        };
        Some((in_the_way.inode, occupant))
    }
}

/// Whether the process of an occupant still has the socket open. True if its process is unknown.
fn still_has(occupant: &Occupant, inode: u64) -> bool {
    occupant.pid.is_none_or(|pid| has_socket(pid, inode))
}

impl Occupants {
    pub(super) fn new(shared: Arc<SocketTables>, clock: Clock) -> Self {
        Self {
            shared,
            clock,
            own: ByProtocol::default(),
            given_up: HashSet::new(),
        }
    }

    /// Returns the occupant that refused an attempt. `None` if the kernel does not list it.
    pub(in crate::engine) async fn of(&mut self, attempt: &Attempt) -> Option<Occupant> {
        self.on(attempt.protocol, attempt.port, &attempt.address)
            .await
    }

    /// Returns the occupant of an address. An occupant of an earlier reading counts only if its process
    /// still has the socket. `None` as well if a reading takes longer than [`LONGEST_LOOK`].
    pub(in crate::engine) async fn on(
        &mut self,
        protocol: Protocol,
        port: Port,
        at: &BindAddress,
    ) -> Option<Occupant> {
        if let Some(tables) = self.own.get(&protocol) {
            return tables.occupant(port, at).map(|(_, occupant)| occupant);
        }
        if self.given_up.contains(&protocol) {
            return None;
        }
        let (shared, clock, at) = (Arc::clone(&self.shared), self.clock.clone(), at.clone());
        let look = move || shared.look(protocol, port, &at, &clock);
        let look = tokio::task::spawn_blocking(look);
        let Ok(seen) = tokio::time::timeout(LONGEST_LOOK, look).await else {
            self.given_up.insert(protocol);
            return None;
        };
        // A look that panicked names no occupant.
        let (read, occupant) = seen.unwrap_or_default();
        self.own.extend(read.map(|tables| (protocol, tables)));
        occupant
    }

    /// Returns the ports with a socket that overlaps a group. `None` if there is no fresh reading.
    pub(in crate::engine) fn listed(
        &self,
        protocol: Protocol,
        group: &AddressGroup,
    ) -> Option<Arc<PortBits>> {
        Some(self.tables(protocol)?.listed(group))
    }

    /// Returns the reading of this search, or a fresh one of another search.
    fn tables(&self, protocol: Protocol) -> Option<Arc<Tables>> {
        let own = self.own.get(&protocol).cloned();
        own.or_else(|| self.shared.fresh(protocol, &self.clock))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn search_goes_on_without_a_look_that_does_not_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
        let at = BindAddress {
            interface: "lo".into(),
            ip: Ipv4Addr::LOCALHOST.into(),
            scope: 0,
        };
        let shared = Arc::new(SocketTables::default());
        let mut slow = Occupants::new(Arc::clone(&shared), Clock::system());
        // A lock that is kept stands for a host whose processes answer slowly.
        let (is_locked, was_locked) = tokio::sync::oneshot::channel();
        let (unlock, unlocked) = std::sync::mpsc::channel::<()>();
        let locked = Arc::clone(&shared);
        let keeper = tokio::task::spawn_blocking(move || {
            locked.0.with(|_| {
                is_locked.send(()).unwrap();
                unlocked.recv().unwrap_err();
            });
        });
        was_locked.await.unwrap();
        assert!(slow.on(Protocol::Tcp, port, &at).await.is_none());
        // The same search does not wait for the next one either.
        assert!(slow.given_up.contains(&Protocol::Tcp));
        assert!(slow.on(Protocol::Tcp, port, &at).await.is_none());
        drop(unlock);
        keeper.await.unwrap();
        let mut next = Occupants::new(shared, Clock::system());
        let seen = next.on(Protocol::Tcp, port, &at).await;
        assert_eq!(seen.expect("it listens").pid, Some(std::process::id()));
    }
}
