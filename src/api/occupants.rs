//! Occupants: the sockets on ports, and for each reader what may be known of the processes behind them.

use std::collections::HashSet;

use super::attempts;
use super::document::{LeaseLink, OccupantDocument, ProcessDocument};
use crate::access::Viewer;
use crate::domain::attempt::Occupant;
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::domain::relation::Relation;
use crate::engine::kin::{Kin, Related};
use crate::host::occupancy::{self, Entry, processes_with};
use crate::host::process;

/// A socket on a port, and the process behind it.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The socket.
    pub entry: Entry,
    /// Not for everybody's eyes.
    occupant: Option<Occupant>,
    related: Related,
}

impl Socket {
    /// A socket that is related to no lease.
    pub fn new(entry: Entry, occupant: Option<Occupant>) -> Self {
        Self {
            entry,
            occupant,
            related: Related::default(),
        }
    }

    /// The process behind it, as this viewer may see it. `None` if it is a hold of portbook's.
    pub fn seen_by(&self, viewer: &Viewer) -> Option<Occupant> {
        let mut occupant = self.occupant.clone()?;
        attempts::veil(&mut occupant, viewer);
        Some(occupant)
    }
}

/// Finds the processes behind these sockets and the leases that they belong to: first those that
/// listen, then bound ones, then connections. It walks `/proc`.
pub(super) fn behind(mut entries: Vec<Entry>, kin: &Kin) -> Vec<Socket> {
    entries.sort_by_key(|entry| entry.state.rank());
    let inodes: HashSet<u64> = entries.iter().map(|entry| entry.inode).collect();
    let found = processes_with(&inodes);
    let socket = |entry: Entry| {
        let processes = found.get(&entry.inode).map_or(&[][..], Vec::as_slice);
        Socket {
            occupant: Some(occupancy::occupant(&entry, &found)),
            related: kin.of(&entry, processes),
            entry,
        }
    };
    entries.into_iter().map(socket).collect()
}

/// One process on one port, with its sockets there that are alike.
pub(super) struct Group<'a> {
    pub(super) protocol: Protocol,
    pub(super) port: Port,
    first: &'a Socket,
    addresses: Vec<String>,
}

impl Group<'_> {
    fn takes(&self, socket: &Socket) -> bool {
        let lease = |related: &Related| related.lease.as_ref().map(|lease| lease.id);
        let (mine, other) = (&self.first.related, &socket.related);
        (self.protocol, self.port) == (socket.entry.protocol, socket.entry.port)
            && self.first.occupant == socket.occupant
            && mine.relation == other.relation
            && lease(mine) == lease(other)
    }

    fn add(&mut self, address: String) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// The process as a viewer may see it. Reads of it in `/proc` what else is told.
    pub(super) fn document(&self, viewer: &Viewer) -> Option<OccupantDocument> {
        let occupant = self.first.seen_by(viewer)?;
        let related = &self.first.related;
        let link = |lease: &Lease| LeaseLink::of(lease, viewer.sees(lease.uid));
        // Of a process that is not shown it is not told either which lease it holds.
        let holds = related.holds.as_deref().filter(|_| occupant.pid.is_some());
        Some(OccupantDocument {
            addresses: self.addresses.clone(),
            relation: related.relation,
            lease: related.lease.as_deref().map(link),
            holds: holds.filter(|lease| viewer.sees(lease.uid)).map(link),
            process: about(&occupant),
            occupant,
        })
    }
}

/// The processes behind sockets, in their order; holds of portbook's are left out.
pub(super) fn grouped(sockets: &[Socket]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.occupant.is_some()) {
        let place = (socket.entry.protocol, socket.entry.port);
        // Those of one port stand together.
        let known = groups.iter_mut().rev();
        let mut known = known.take_while(|group| (group.protocol, group.port) == place);
        if let Some(group) = known.find(|group| group.takes(socket)) {
            group.add(socket.entry.address());
        } else {
            groups.push(Group {
                protocol: place.0,
                port: place.1,
                first: socket,
                addresses: vec![socket.entry.address()],
            });
        }
    }
    groups
}

/// The processes on a port, each once, but for portbook itself.
pub(super) fn of_others(sockets: &[Socket], viewer: &Viewer) -> Vec<OccupantDocument> {
    let others = grouped(sockets).into_iter();
    let others = others.filter(|group| group.first.related.relation != Relation::Portbook);
    others.filter_map(|group| group.document(viewer)).collect()
}

/// More about a process, if the viewer may know which it is.
fn about(occupant: &Occupant) -> ProcessDocument {
    let details = occupant
        .pid
        .map(|pid| process::details(pid, occupant.command.as_deref()));
    ProcessDocument {
        user: occupant.uid.and_then(process::user_name),
        ..details.unwrap_or_default().into()
    }
}
