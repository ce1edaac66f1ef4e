//! Who is in the way. The tables and processes are read at a search's first refused bind and then
//! kept for a moment, so that sixteen busy candidates cost one walk of `/proc` and not sixteen, and
//! a host that is nearly full costs one a second and not one a request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::choice::bits::PortBits;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::attempt::{Attempt, Occupant, SocketState};
use crate::domain::lease::BootTime;
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;
use crate::host::occupancy::{Entry, Occupancy, has_socket, processes_with};
use crate::host::process::Process;

/// How long what was read says who is there. Whom it does not name is looked for anew.
const FRESH: Duration = Duration::from_secs(1);

/// The latest reading of each protocol, shared by all searches.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<ByProtocol>);

type ByProtocol = HashMap<Protocol, Arc<Tables>>;

/// What is known of others' sockets during one search.
#[derive(Debug)]
pub struct Occupants<'a> {
    shared: &'a Sightings,
    clock: &'a Clock,
    /// What was read anew for this search.
    own: ByProtocol,
}

/// The sockets of one protocol at one moment, and who has those that listen.
#[derive(Debug)]
struct Tables {
    read_at: BootTime,
    by_port: HashMap<Port, Vec<Entry>>,
    processes: HashMap<u64, Vec<Process>>,
    /// What [`Self::listed`] has found out already.
    listed: Mutex<Vec<(AddressGroup, Arc<PortBits>)>>,
}

impl Tables {
    fn read(protocol: Protocol, port: Port, clock: &Clock) -> Self {
        let read_at = clock.boot();
        let tables = Occupancy::snapshot(&[protocol]).unwrap_or_default();
        // Whoever listens, and whoever is on this very port: not portbook's own thousands of holds,
        // which are bound and do not listen.
        let inodes: HashSet<u64> = tables
            .entries
            .iter()
            .filter(|entry| entry.state == SocketState::Listening || entry.port == port)
            .map(|entry| entry.inode)
            .collect();
        let mut by_port: HashMap<Port, Vec<Entry>> = HashMap::new();
        for entry in tables.entries {
            by_port.entry(entry.port).or_default().push(entry);
        }
        Self {
            read_at,
            by_port,
            processes: processes_with(&inodes),
            listed: Mutex::default(),
        }
    }

    /// The ports on which something is in the way of a group. Found out once for each: there may be
    /// tens of thousands of sockets.
    fn listed(&self, group: &AddressGroup) -> Arc<PortBits> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ports)) = listed.iter().find(|(known, _)| known == group) {
            return Arc::clone(ports);
        }
        let addresses = group.addresses();
        let is_in_the_way = |entry: &Entry| addresses.iter().any(|address| entry.overlaps(address));
        let mut ports = PortBits::default();
        for (port, entries) in &self.by_port {
            if entries.iter().any(is_in_the_way) {
                ports.insert(*port);
            }
        }
        let ports = Arc::new(ports);
        listed.push((group.clone(), Arc::clone(&ports)));
        ports
    }

    /// The inode and the occupant of the socket that is most in the way.
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

/// Whether the process of an occupant has its socket open. One whose process is not known cannot be
/// looked at.
fn still_has(occupant: &Occupant, inode: u64) -> bool {
    occupant.pid.is_none_or(|pid| has_socket(pid, inode))
}

impl<'a> Occupants<'a> {
    /// Nothing known yet but what is shared.
    pub fn new(shared: &'a Sightings, clock: &'a Clock) -> Self {
        Self {
            shared,
            clock,
            own: ByProtocol::default(),
        }
    }

    /// The occupant that refused an attempt, as far as the kernel tells.
    pub fn of(&mut self, attempt: &Attempt) -> Option<Occupant> {
        self.on(attempt.protocol, attempt.port, &attempt.address)
    }

    /// The occupant of an address at this moment: one that was read a moment ago counts only if its
    /// process still has the socket.
    pub fn on(&mut self, protocol: Protocol, port: Port, at: &BindAddress) -> Option<Occupant> {
        if let Some(tables) = self.own.get(&protocol) {
            // Read for this very search.
            return tables.occupant(port, at).map(|(_, occupant)| occupant);
        }
        let fresh = self.tables(protocol);
        if let Some((inode, occupant)) = fresh.and_then(|tables| tables.occupant(port, at))
            && still_has(&occupant, inode)
        {
            return Some(occupant);
        }
        let tables = Arc::new(Tables::read(protocol, port, self.clock));
        self.shared().insert(protocol, Arc::clone(&tables));
        let occupant = tables.occupant(port, at).map(|(_, occupant)| occupant);
        self.own.insert(protocol, tables);
        occupant
    }

    /// The ports on which something is in the way of a group, as far as was read.
    pub fn listed(&self, protocol: Protocol, group: &AddressGroup) -> Option<Arc<PortBits>> {
        Some(self.tables(protocol)?.listed(group))
    }

    /// What was read for this search, or a moment ago for another.
    fn tables(&self, protocol: Protocol) -> Option<Arc<Tables>> {
        let own = self.own.get(&protocol).cloned();
        own.or_else(|| {
            let shared = self.shared().get(&protocol).cloned()?;
            let age = self.clock.boot().since(shared.read_at);
            (age < FRESH).then_some(shared)
        })
    }

    fn shared(&self) -> std::sync::MutexGuard<'a, ByProtocol> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
