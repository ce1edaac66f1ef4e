//! The sight of one leased port: its sockets, told apart.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::address::{AddressGroup, reaches_localhost};
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::container;
use crate::domain::lease::{Lease, Owner, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::Port;
use crate::engine::taking::{self, Receipt, Taking};
use crate::engine::whose::{Made, Whose, whose};
use crate::host::occupancy::{self, Entry};
use crate::host::process::{self, Process};

/// Sockets by inode.
pub(super) type Inodes = HashSet<u64>;

/// What is known of the sockets on a lease's port before a look.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Sockets that were found to be the owner's.
    pub(super) own: Inodes,
    /// Sockets that portbook made.
    pub(super) made: Made,
    /// Outsiders that the last look found.
    pub(super) outsiders: Vec<Found>,
    /// Revision of the lease at the last look. `None` before the first one.
    pub(super) revision: Option<u64>,
    /// Addresses of other leases on the port.
    pub(super) neighbours: Vec<AddressGroup>,
    /// What is known of the sockets that were given for the lease.
    pub(super) receipt: Receipt,
}

/// One lease, and the sight of its port.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) lease: Arc<Lease>,
    pub(super) sight: Sight,
    /// The owner's sockets.
    pub(super) own: Inodes,
    pub(super) outsiders: Vec<Found>,
    /// Sight of the sockets that the owner was given. `None` unless it is in doubt that it takes them.
    pub(super) taking: Option<Taking>,
}

/// The listeners on the addresses of a lease.
#[derive(Debug)]
pub(super) enum Sight {
    /// There is none.
    Free,
    /// The owner, or a process that listens for it.
    Owner,
    /// A process that may claim the lease, which has no owner yet.
    Claimant(Owner),
    /// Another program, and not the owner.
    Outsider(Outsider),
}

/// An outsider with its sockets on the port of a lease.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) outsider: Outsider,
    pub(super) inodes: Inodes,
    /// Whether a socket of it is on an address of the lease, not on the other half of "localhost" alone.
    pub(super) is_on_lease: bool,
}

/// The sockets on the port of one lease.
pub(super) struct OnPort<'a> {
    lease: &'a Arc<Lease>,
    known: &'a Known,
    entries: Vec<&'a Entry>,
}

impl<'a> OnPort<'a> {
    /// The sockets among the listeners on a port that concern a lease on it.
    pub(super) fn of(
        lease: &'a Arc<Lease>,
        known: &'a Known,
        on_port: impl Iterator<Item = &'a Entry>,
    ) -> Self {
        let entries = on_port.filter(|entry| concerns(entry, lease, known));
        Self {
            lease,
            known,
            entries: entries.collect(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().copied()
    }

    /// Whether an earlier look told all of these sockets apart: the process of a socket is looked up
    /// once, not in every round.
    pub(super) fn is_known(&self) -> bool {
        let is_same = self.known.revision == Some(self.lease.revision);
        let is_known = |entry: &&Entry| match self.known_side(entry) {
            Some(Whose::Owner) => is_same || self.lease.state == State::Active,
            Some(Whose::Portbook) => true,
            Some(_) => is_same,
            None => false,
        };
        self.entries.iter().all(is_known)
    }

    fn outsider_of(&self, entry: &Entry) -> Option<&'a Found> {
        let mut outsiders = self.known.outsiders.iter();
        outsiders.find(|found| found.inodes.contains(&entry.inode))
    }

    /// Tells the sockets apart. `processes` are those of the sockets that are not known, `accepted` the
    /// ports with accepted connections.
    pub(super) fn seen(
        self,
        processes: &HashMap<u64, Vec<Process>>,
        accepted: &HashSet<Port>,
    ) -> Seen {
        let told = self.told_apart(processes);
        let of = |side: Whose| told.iter().filter(move |(_, whose)| *whose == side);
        let own = of(Whose::Owner).map(|(entry, _)| entry.inode).collect();
        let outsiders = self.outsiders(of(Whose::Outsider).map(|(entry, _)| *entry), processes);
        let claimants = of(Whose::Claimant).map(|(entry, _)| *entry);
        let is_on_lease = |entry: &&Entry| listens_on(entry, self.lease);
        let sight = if of(Whose::Owner).any(|(entry, _)| is_on_lease(entry)) {
            Sight::Owner
        } else if let Some(claimants) = pids(claimants.filter(is_on_lease), processes) {
            // It has gone again, or /proc hides it: the next round looks again.
            owner_among(&claimants).map_or(Sight::Free, Sight::Claimant)
        } else {
            let mut outsiders = outsiders.iter().filter(|found| found.is_on_lease);
            let first = outsiders.next().map(|found| found.outsider.clone());
            first.map_or(Sight::Free, Sight::Outsider)
        };
        Seen {
            lease: Arc::clone(self.lease),
            taking: self.taking(of(Whose::Owner).map(|(entry, _)| *entry), accepted),
            sight,
            own,
            outsiders,
        }
    }

    fn taking<'e>(
        &self,
        own: impl Iterator<Item = &'e Entry> + Clone,
        accepted: &HashSet<Port>,
    ) -> Option<Taking> {
        let (lease, receipt) = (self.lease, self.known.receipt);
        let is_in_doubt = receipt.is_in_doubt(lease);
        is_in_doubt
            .then(|| taking::look(lease, receipt, own, accepted))
            .flatten()
    }

    fn told_apart(&self, processes: &HashMap<u64, Vec<Process>>) -> Vec<(&'a Entry, Whose)> {
        let is_known = self.is_known();
        let one = |entry: &'a Entry| {
            let known = self.known_side(entry).filter(|_| is_known);
            let side = known.unwrap_or_else(|| {
                let processes = processes.get(&entry.inode).map_or(&[][..], Vec::as_slice);
                whose(entry, processes, self.lease, &self.known.made)
            });
            (entry, side)
        };
        let mut told: Vec<(&Entry, Whose)> = self.entries().map(one).collect();
        // A container's proxy listens for an owner that does not listen itself.
        let owner = self.lease.owner.as_ref();
        let listens_itself = told.iter().any(|(_, side)| *side == Whose::Owner)
            && !owner.is_some_and(|owner| container::is_proxy(&owner.command));
        for (_, side) in told.iter_mut().filter(|(_, side)| *side == Whose::Proxy) {
            *side = if listens_itself {
                Whose::Outsider
            } else {
                Whose::Owner
            };
        }
        told
    }

    /// The side that a socket was on at the last look.
    fn known_side(&self, entry: &Entry) -> Option<Whose> {
        let known = self.known;
        if known.made.kept.contains(&entry.inode) {
            Some(Whose::Portbook)
        } else if known.own.contains(&entry.inode) {
            Some(Whose::Owner)
        } else {
            self.outsider_of(entry).map(|_| Whose::Outsider)
        }
    }

    /// The outsiders that have these sockets, each with all of its sockets.
    fn outsiders(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        processes: &HashMap<u64, Vec<Process>>,
    ) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        for entry in entries {
            let is_on_lease = listens_on(entry, self.lease);
            if !is_on_lease && self.may_be_claimants(entry) {
                continue;
            }
            let occupant = match self.outsider_of(entry) {
                Some(known) if self.is_known() => known.outsider.occupant.clone(),
                _ => occupancy::occupant(entry, processes),
            };
            add(&mut all, entry, occupant, is_on_lease);
        }
        // One that can be named comes first.
        all.sort_by_key(|found| found.outsider.occupant.pid.is_none());
        all
    }

    /// Whether a socket beside the addresses of a lease may be of the program that is to claim it, which
    /// has come to the wrong address.
    fn may_be_claimants(&self, entry: &Entry) -> bool {
        self.lease.owner.is_none() && entry.uid == Some(self.lease.uid)
    }
}

fn add(all: &mut Vec<Found>, entry: &Entry, occupant: Occupant, is_on_lease: bool) {
    let known = all
        .iter_mut()
        .find(|found| found.outsider.occupant == occupant);
    if let Some(found) = known {
        found.outsider.addresses.push(entry.address());
        found.inodes.insert(entry.inode);
        found.is_on_lease |= is_on_lease;
    } else {
        all.push(Found {
            outsider: Outsider {
                occupant,
                addresses: vec![entry.address()],
                while_away: false,
            },
            inodes: HashSet::from([entry.inode]),
            is_on_lease,
        });
    }
}

/// Processes of these sockets. `None` without a socket.
fn pids<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    processes: &HashMap<u64, Vec<Process>>,
) -> Option<Vec<u32>> {
    let mut entries = entries.peekable();
    entries.peek()?;
    let found = entries.filter_map(|entry| processes.get(&entry.inode));
    Some(found.flatten().map(|process| process.pid).collect())
}

/// Returns the process that first listened for a lease, of several claimants. One of another network
/// namespace has inherited the socket from a proxy.
fn owner_among(claimants: &[u32]) -> Option<Owner> {
    let here = claimants.iter().copied();
    let here: Vec<u32> = here.filter(|pid| !process::is_elsewhere(*pid)).collect();
    let claimants = if here.is_empty() { claimants } else { &here };
    let descends = |pid: &u32| {
        let mut others = claimants.iter().filter(|other| *other != pid);
        others.any(|other| process::is_descendant(*pid, *other))
    };
    let eldest = claimants.iter().find(|pid| !descends(pid));
    let eldest = eldest.or(claimants.first())?;
    let mut owner = process::owner(*eldest).ok()?;
    owner.engine = container::is_proxy(&owner.command);
    Some(owner)
}

/// Whether a listener on the port concerns a lease: it is on an address of it, or a client of
/// "localhost" may take it for the program of the lease, and it is not for another lease.
fn concerns(entry: &Entry, lease: &Lease, known: &Known) -> bool {
    let is_for_another = || known.neighbours.iter().any(|group| overlaps(entry, group));
    // A connected socket has its one client already.
    let is_open = entry.state == SocketState::Listening;
    listens_on(entry, lease)
        || (is_open && shares_localhost(entry, &lease.addresses) && !is_for_another())
}

/// Whether a socket listens, or for UDP receives, on the port and on an address of a lease.
pub(super) fn listens_on(entry: &Entry, lease: &Lease) -> bool {
    entry.receives()
        && (entry.protocol, entry.port) == (lease.protocol, lease.port)
        && overlaps(entry, &lease.addresses)
}

/// Whether a client of "localhost" that looks for the program of a lease may reach this socket: one
/// of them is on 127.0.0.1 and the other on ::1.
pub(super) fn shares_localhost(entry: &Entry, group: &AddressGroup) -> bool {
    reaches_localhost(entry.local) && group.has_localhost()
}

fn overlaps(entry: &Entry, group: &AddressGroup) -> bool {
    let mut addresses = group.addresses().iter();
    addresses.any(|address| entry.overlaps(address))
}
