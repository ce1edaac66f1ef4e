//! Occupants: sockets on ports and the processes behind them, as each viewer may see them.

use super::document::{LeaseLink, OccupantDocument, ProcessDocument};
use super::veil::veil;
use super::viewer::Viewer;
use crate::domain::attempt::Occupant;
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::domain::relation::Relation;
use crate::engine::kin::{Kin, Related};
use crate::host::occupancy::{self, Entry, processes_of};
use crate::host::process;

/// A socket on a port, and the process behind it.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The socket.
    pub entry: Entry,
    /// `None` for a hold. Show it only veiled.
    occupant: Option<Occupant>,
    related: Related,
}

impl Socket {
    /// A socket without a lease.
    pub fn new(entry: Entry, occupant: Option<Occupant>) -> Self {
        Self {
            entry,
            occupant,
            related: Related::default(),
        }
    }

    /// The process as this viewer may see it. `None` for a hold.
    pub fn seen_by(&self, viewer: &Viewer) -> Option<Occupant> {
        let mut occupant = self.occupant.clone()?;
        veil(&mut occupant, viewer);
        Some(occupant)
    }
}

/// Finds the processes and the leases of these sockets: listening ones first, then bound ones, then
/// connections. Walks `/proc`, which blocks.
pub(super) fn behind(mut entries: Vec<Entry>, kin: &Kin) -> Vec<Socket> {
    entries.sort_by_key(|entry| entry.state.rank());
    let found = processes_of(&entries);
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

/// One process on one port, with its sockets there.
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

    /// The document of the process as this viewer may see it. Reads its details from `/proc`.
    pub(super) fn document(&self, viewer: &Viewer) -> Option<OccupantDocument> {
        let occupant = self.first.seen_by(viewer)?;
        let related = &self.first.related;
        let link = |lease: &Lease| LeaseLink::of(lease, viewer.sees(lease.uid));
        // A process that stays unnamed must not be named by its lease.
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

/// Groups sockets by process and port, in their order, without holds.
pub(super) fn grouped(sockets: &[Socket]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.occupant.is_some()) {
        let place = (socket.entry.protocol, socket.entry.port);
        // Sockets of one port stand together.
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

/// The occupants of a port, without portbook itself.
pub(super) fn of_others(sockets: &[Socket], viewer: &Viewer) -> Vec<OccupantDocument> {
    let others = grouped(sockets).into_iter();
    let others = others.filter(|group| group.first.related.relation != Relation::Portbook);
    others.filter_map(|group| group.document(viewer)).collect()
}

/// Details of a process; only its user's name if the process is veiled.
fn about(occupant: &Occupant) -> ProcessDocument {
    let details = occupant
        .pid
        .map(|pid| process::details(pid, occupant.command.as_deref()));
    ProcessDocument {
        user: occupant.uid.and_then(process::user_name),
        ..details.unwrap_or_default().into()
    }
}
