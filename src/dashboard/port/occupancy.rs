//! The occupants of a port: on each address of the host, and socket by socket.

use std::sync::Arc;

use crate::access::Viewer;
use crate::answers::document::OccupantDocument;
use crate::answers::ports::Socket;
use crate::api::AppState;
use crate::dashboard::part::badge::{Badge, Tone};
use crate::dashboard::part::user;
use crate::domain::address::BindAddress;
use crate::domain::attempt::{SocketState, printable};
use crate::domain::lease::{Lease, State};
use crate::domain::relation::Relation;
use crate::host::interface::Snapshot;

/// Addresses of the host on which the port is in one state.
#[derive(Debug)]
pub(super) struct AddressRow {
    pub(super) addresses: Vec<BindAddress>,
    pub(super) state: Badge,
    pub(super) who: String,
}

/// Every address of the host, with the occupant of the port there.
pub(super) fn addresses(
    face: &AppState,
    viewer: &Viewer,
    leases: &[Arc<Lease>],
    sockets: &[Socket],
) -> Vec<AddressRow> {
    let Ok(host) = face.service.interfaces().current() else {
        return Vec::new();
    };
    let told = bind_addresses(&host).map(|address| {
        let told = state_on(&address, leases, sockets, viewer);
        (address, told)
    });
    rows(told)
}

/// One row for all addresses of which the same is true, in the order of their first ones.
pub(super) fn rows(told: impl Iterator<Item = (BindAddress, (Badge, String))>) -> Vec<AddressRow> {
    let mut rows: Vec<AddressRow> = Vec::new();
    for (address, (state, who)) in told {
        let mut alike = rows.iter_mut();
        match alike.find(|row| row.state == state && row.who == who) {
            Some(row) => row.addresses.push(address),
            None => rows.push(AddressRow {
                addresses: vec![address],
                state,
                who,
            }),
        }
    }
    rows
}

/// The wildcards, then every address.
fn bind_addresses(host: &Snapshot) -> impl Iterator<Item = BindAddress> {
    let wildcards = host.families.iter().copied().map(BindAddress::wildcard);
    let single = host.interfaces.iter().flat_map(|interface| {
        let addresses = interface.addresses.iter();
        addresses.map(|address| BindAddress {
            interface: Arc::clone(&interface.name),
            ip: address.ip,
            scope: address.scope,
        })
    });
    wildcards.chain(single)
}

/// The state of the port on an address. A lease comes before sockets, since it has sockets itself.
pub(super) fn state_on(
    address: &BindAddress,
    leases: &[Arc<Lease>],
    sockets: &[Socket],
    viewer: &Viewer,
) -> (Badge, String) {
    let on_it = |lease: &&Arc<Lease>| {
        let mut addresses = lease.addresses.addresses().iter();
        addresses.any(|leased| leased.overlaps(address))
    };
    if let Some(lease) = leases.iter().find(on_it) {
        let who = match &lease.name {
            Some(name) if viewer.sees(lease.uid) => format!("lease {name}"),
            _ => format!("a lease of uid {}", lease.uid),
        };
        if lease.state != State::Lost {
            return (Badge::lease(lease.state), who);
        }
        let mut sockets = sockets.iter();
        return match sockets.find(|socket| listens_on(socket, address)) {
            Some(socket) => (Badge::lease(lease.state), whose(socket, viewer)),
            None => (
                Badge::new(Tone::Waiting, "not taken"),
                format!("{who}; the other program does not listen here"),
            ),
        };
    }
    let free = Badge::new(Tone::Good, "free");
    let mut sockets = sockets.iter();
    // Listening sockets come first.
    match sockets.find(|socket| socket.entry.overlaps(address)) {
        Some(socket) if socket.entry.state == SocketState::Lingering => {
            (free, "closing connections only".to_owned())
        }
        Some(socket) => (Badge::new(Tone::Bad, "taken"), whose(socket, viewer)),
        None => (free, "no occupant".to_owned()),
    }
}

fn listens_on(socket: &Socket, address: &BindAddress) -> bool {
    socket.entry.state == SocketState::Listening && socket.entry.overlaps(address)
}

/// The process of a socket, or its user if the viewer may not see the process.
fn whose(socket: &Socket, viewer: &Viewer) -> String {
    let entry = &socket.entry;
    let process = socket.seen_by(viewer).filter(|seen| seen.pid.is_some());
    let who = process.map_or_else(|| "a socket".to_owned(), |process| process.to_string());
    let user = entry.uid.map(|uid| format!(", {}", user::called(uid)));
    format!(
        "{who}, {}{}",
        entry.state.as_str(),
        user.unwrap_or_default()
    )
}

/// Known facts about an occupant that the viewer may see, with their labels.
pub(super) fn facts(found: &OccupantDocument) -> Vec<(&'static str, String)> {
    let is = match (found.relation, &found.holds) {
        (Relation::Owner, _) => "the lease's own".to_owned(),
        (Relation::Portbook, _) => "portbook's own".to_owned(),
        (Relation::Stranger, None) => "an outsider".to_owned(),
        (Relation::Stranger, Some(lease)) => {
            let name = lease.name.as_ref().map(ToString::to_string);
            let name = name.unwrap_or_else(|| "a lease".to_owned());
            let port = lease.port;
            format!("an outsider here; its program owns {name} on {port}")
        }
    };
    let process = found.process.clone();
    let executable = process.executable;
    let facts = [
        ("is", Some(is)),
        ("on", Some(found.addresses.join(" "))),
        ("user", process.user),
        (
            "program",
            executable.map(|file| file.to_string_lossy().into_owned()),
        ),
        ("container", process.container_name),
        ("container", process.container),
        ("unit", process.unit),
    ];
    let known = facts.into_iter();
    known
        .filter_map(|(word, text)| Some((word, printable(&text?))))
        .collect()
}
