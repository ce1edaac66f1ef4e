//! Kinship: which lease a socket belongs to, and which lease its process holds elsewhere.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::container;
use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::domain::port::{Port, Protocol};
use crate::domain::relation::Relation;
use crate::engine::engine::Engine;
use crate::engine::sight::{Inodes, shares_localhost};
use crate::engine::whose::{Made, Whose, whose};
use crate::host::occupancy::Entry;
use crate::host::process::{self, Process};

/// Relation of a socket to the leases.
#[derive(Debug, Clone, Default)]
pub struct Related {
    /// Relation to the lease on its port.
    pub relation: Relation,
    /// The lease on its port and address.
    pub lease: Option<Arc<Lease>>,
    /// For an outsider, a lease on another port that its process, or one that it descends from, owns.
    pub holds: Option<Arc<Lease>>,
}

/// The living leases at one moment, to tell sockets apart by.
#[derive(Debug, Default)]
pub struct Kin {
    by_port: HashMap<(Protocol, Port), Vec<Arc<Lease>>>,
    by_owner: HashMap<u32, Arc<Lease>>,
    /// Sockets that the observer found to be an owner's.
    listeners: HashMap<LeaseId, Inodes>,
    /// Inodes of portbook's holds for UDP, which the kernel lists as if they received.
    holds: HashSet<u64>,
    me: u32,
}

/// The leases as they are now, to tell sockets apart by: those on one port, or on all.
pub(super) fn kin(engine: &Arc<Engine>, only: Option<(Protocol, Port)>) -> Kin {
    let mut kin = Kin {
        me: std::process::id(),
        ..Kin::default()
    };
    for lease in &engine.leases.all() {
        let place = (lease.protocol, lease.port);
        // What an engine listens on is for many containers, and tells nothing of the program of a lease.
        let is_engine = |owner: &&Owner| owner.engine || container::is_proxy(&owner.command);
        if let Some(owner) = lease.owner.as_ref().filter(|owner| !is_engine(owner)) {
            let first = kin.by_owner.entry(owner.pid);
            let first = first.or_insert_with(|| Arc::clone(lease));
            if lease.id < first.id {
                *first = Arc::clone(lease);
            }
        }
        if only.is_none_or(|only| only == place) {
            kin.by_port
                .entry(place)
                .or_default()
                .push(Arc::clone(lease));
        }
    }
    let listeners = engine.leases.listeners();
    let on_ports = kin.by_port.values().flatten();
    let known = on_ports.filter_map(|lease| Some((lease.id, listeners.get(&lease.id)?.clone())));
    kin.listeners = known.collect();
    let udp = kin
        .by_port
        .keys()
        .filter(|(protocol, _)| *protocol == Protocol::Udp);
    let held = udp.flat_map(|(protocol, port)| engine.leases.own_sockets(*protocol, *port));
    kin.holds = held.collect();
    kin
}

impl Kin {
    /// Whether a socket is one of portbook's holds, which occupies the port for no other program.
    pub fn is_hold(&self, entry: &Entry) -> bool {
        self.holds.contains(&entry.inode)
    }

    /// Relates a socket of which these processes have a descriptor. Reads `/proc`.
    pub fn of(&self, entry: &Entry, processes: &[Process]) -> Related {
        let leases = self.leases_of(entry);
        if !processes.is_empty() && processes.iter().all(|process| process.pid == self.me) {
            return Related::of(Relation::Portbook, leases.first().copied());
        }
        if let Some(lease) = leases
            .iter()
            .find(|lease| self.owns(lease, entry, processes))
        {
            return Related::of(Relation::Owner, Some(lease));
        }
        Related {
            holds: processes
                .iter()
                .find_map(|process| self.held_by(process.pid)),
            ..Related::of(Relation::Stranger, leases.first().copied())
        }
    }

    /// The leases on the address of a socket, else those for which a client of "localhost" may take it.
    fn leases_of(&self, entry: &Entry) -> Vec<&Arc<Lease>> {
        let on_port = self.by_port.get(&(entry.protocol, entry.port));
        let on_port = on_port.into_iter().flatten();
        let here = on_port.clone().filter(|lease| {
            let mut addresses = lease.addresses.addresses().iter();
            addresses.any(|address| entry.overlaps(address))
        });
        let here: Vec<&Arc<Lease>> = here.collect();
        if here.is_empty() {
            return on_port
                .filter(|lease| shares_localhost(entry, &lease.addresses))
                .collect();
        }
        here
    }

    fn owns(&self, lease: &Lease, entry: &Entry, processes: &[Process]) -> bool {
        let known = self.listeners.get(&lease.id);
        if known.is_some_and(|inodes| inodes.contains(&entry.inode)) {
            return true;
        }
        match whose(entry, processes, lease, &Made::default()) {
            Whose::Owner => true,
            // The first listener of its user is about to claim it.
            Whose::Claimant => lease.claim_by.is_some() || lease.is_engines(),
            Whose::Portbook | Whose::Proxy | Whose::Outsider => false,
        }
    }

    /// The lease that a process owns, or the nearest one that it descends from.
    fn held_by(&self, pid: u32) -> Option<Arc<Lease>> {
        let mut lineage = process::lineage(pid);
        lineage.find_map(|pid| {
            let lease = self.by_owner.get(&pid).filter(|_| pid != self.me)?;
            let owner = lease.owner.as_ref()?;
            process::is_running(owner).then(|| Arc::clone(lease))
        })
    }
}

impl Related {
    fn of(relation: Relation, lease: Option<&Arc<Lease>>) -> Self {
        Self {
            relation,
            lease: lease.cloned(),
            holds: None,
        }
    }
}
