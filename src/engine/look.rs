//! Looks at the sockets on leased ports: the owner, a process that may claim the lease, and outsiders.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::lease::{Handover, Lease, LeaseId};
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
use crate::engine::sight::{Known, OnPort, Seen, listens_on};
use crate::engine::taking;
use crate::host::occupancy::{Entry, Occupancy, processes_of};

/// Returns the listener on a lease's port that is neither its owner nor a descendant of it. The walk
/// of `/proc` blocks, so it is done on a thread for that.
pub(super) async fn outsider_on(lease: &Lease) -> Option<Outsider> {
    let found = outsiders_on(vec![Arc::new(lease.clone())]).await;
    found.into_values().next()
}

/// [`outsider_on`] for many leases, in one look.
pub(super) async fn outsiders_on(leases: Vec<Arc<Lease>>) -> HashMap<LeaseId, Outsider> {
    let look = move || {
        let seen = look(&leases, &HashMap::new()).into_iter();
        let found = seen.filter_map(|seen| {
            let mut outsiders = seen.outsiders.into_iter();
            let found = outsiders.find(|found| found.is_on_lease)?;
            Some((seen.lease.id, found.outsider))
        });
        found.collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Whether a listener of the lease's user is on its port that belongs to no process that can be named:
/// a socket of io_uring, or one in a message that is never received.
pub(super) async fn has_unnamed_listener(lease: &Lease) -> bool {
    let lease = lease.clone();
    let look = move || {
        let mut listeners = listeners_of(&lease).unwrap_or_default();
        listeners.retain(|entry| entry.uid == Some(lease.uid));
        // portbook's own listeners are found as well, as its own.
        let named = processes_of(&listeners);
        listeners
            .iter()
            .any(|entry| !named.contains_key(&entry.inode))
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(false)
}

/// Lists the sockets that listen on the port and addresses of a lease, portbook's own among them.
pub(super) fn listeners_of(lease: &Lease) -> std::io::Result<Vec<Entry>> {
    let mut entries = match lease.protocol {
        Protocol::Tcp => Occupancy::listeners_on(lease.port)?,
        Protocol::Udp => Occupancy::on_port(Protocol::Udp, lease.port)?,
    };
    entries.retain(|entry| listens_on(entry, lease));
    Ok(entries)
}

/// Looks at all of these leases: one read of the kernel's tables, and at most one walk of the processes.
pub(super) fn look<'l>(leases: &'l [Arc<Lease>], known: &'l HashMap<LeaseId, Known>) -> Vec<Seen> {
    let protocols: Vec<Protocol> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|protocol| leases.iter().any(|lease| lease.protocol == *protocol))
        .collect();
    let Ok(tables) = Occupancy::snapshot(&protocols) else {
        return Vec::new();
    };
    let by_port = by_port(&tables.entries);
    let nothing = Known::default();
    let on_port = |lease: &'l Arc<Lease>| {
        let known = known.get(&lease.id).unwrap_or(&nothing);
        let on_port = by_port.get(&(lease.protocol, lease.port));
        OnPort::of(lease, known, on_port.into_iter().flatten().copied())
    };
    let ports: Vec<OnPort<'_>> = leases.iter().map(on_port).collect();
    let looked_up = ports.iter().filter(|port| !port.is_known());
    let processes = processes_of(looked_up.flat_map(OnPort::entries));
    let is_given = |lease: &Arc<Lease>| lease.handover == Handover::Fd;
    let accepted = if leases.iter().any(is_given) {
        taking::accepted(&tables.entries)
    } else {
        HashSet::new()
    };
    ports
        .into_iter()
        .map(|port| port.seen(&processes, &accepted))
        .collect()
}

/// Listeners on each port, and for UDP connected sockets.
fn by_port(entries: &[Entry]) -> HashMap<(Protocol, Port), Vec<&Entry>> {
    let mut by_port: HashMap<_, Vec<&Entry>> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.receives()) {
        let place = (entry.protocol, entry.port);
        by_port.entry(place).or_default().push(entry);
    }
    by_port
}
