//! Looks at the sockets on leased ports: the owner, a process that may claim the lease, or an outsider.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::lease::{Lease, LeaseId, Owner, State};
use crate::domain::port::{Port, Protocol};
use crate::host::occupancy::{self, Entry, Occupancy, processes_with};
use crate::host::process::{self, Process};

/// Programs that listen on behalf of a user's container.
const PROXIES: [&str; 3] = ["docker-proxy", "dockerd", "rootlesskit"];

/// Returns the listener on a lease's port that is neither its owner nor a descendant of it. The walk
/// of `/proc` blocks, so it is done on a thread for that.
pub(super) async fn outsider_on(lease: &Lease) -> Option<Occupant> {
    // An active lease may be taken at its word; a handed one is looked at anew.
    let lease = Arc::new(Lease {
        state: State::Handed,
        ..lease.clone()
    });
    let look = move || {
        let found = look(std::slice::from_ref(&lease), &HashMap::new());
        match found.into_iter().next().map(|seen| seen.sight) {
            Some(Sight::Outsider(occupant)) => Some(occupant),
            _ => None,
        }
    };
    tokio::task::spawn_blocking(look).await.ok().flatten()
}

/// The listening sockets on one lease's port, by inode.
pub(super) type Inodes = HashSet<u64>;

/// One lease, and the sight of its port.
pub(super) struct Seen {
    pub(super) lease: Arc<Lease>,
    pub(super) sight: Sight,
    pub(super) inodes: Inodes,
}

/// The listeners on a lease's port.
pub(super) enum Sight {
    /// There is none.
    Free,
    /// The owner, or a process that listens for it.
    Owner,
    /// A process that may claim the lease, which has no owner yet.
    Claimant(Owner),
    /// Another program.
    Outsider(Occupant),
}

fn listens_on(entry: &Entry, lease: &Lease) -> bool {
    entry.state == SocketState::Listening
        && (entry.protocol, entry.port) == (lease.protocol, lease.port)
        && lease
            .addresses
            .addresses()
            .iter()
            .any(|address| entry.overlaps(address))
}

/// Looks at all of these leases: one read of the kernel's tables, and one walk of the processes.
pub(super) fn look(leases: &[Arc<Lease>], known: &HashMap<LeaseId, Inodes>) -> Vec<Seen> {
    let protocols: Vec<Protocol> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|protocol| leases.iter().any(|lease| lease.protocol == *protocol))
        .collect();
    let Ok(tables) = Occupancy::snapshot(&protocols) else {
        return Vec::new();
    };
    let mut by_port: HashMap<(Protocol, Port), Vec<&Entry>> = HashMap::new();
    for entry in tables
        .entries
        .iter()
        .filter(|entry| entry.state == SocketState::Listening)
    {
        by_port
            .entry((entry.protocol, entry.port))
            .or_default()
            .push(entry);
    }
    let listeners = |lease: &Lease| -> Vec<&Entry> {
        let on_port = by_port.get(&(lease.protocol, lease.port));
        let on_port = on_port.into_iter().flatten().copied();
        on_port.filter(|entry| listens_on(entry, lease)).collect()
    };
    let inodes: HashSet<u64> = leases
        .iter()
        .map(|lease| (lease, listeners(lease)))
        .filter(|(lease, entries)| !goes_on(lease, entries, known))
        .flat_map(|(_, entries)| entries)
        .map(|entry| entry.inode)
        .collect();
    let processes = if inodes.is_empty() {
        HashMap::new()
    } else {
        processes_with(&inodes)
    };
    let seen = leases.iter().map(|lease| {
        let entries = listeners(lease);
        let sight = if goes_on(lease, &entries, known) {
            Sight::Owner
        } else {
            sight(lease, &entries, &processes)
        };
        Seen {
            lease: Arc::clone(lease),
            sight,
            inodes: entries.iter().map(|entry| entry.inode).collect(),
        }
    });
    seen.collect()
}

fn sight(lease: &Lease, entries: &[&Entry], processes: &HashMap<u64, Vec<Process>>) -> Sight {
    if entries.is_empty() {
        return Sight::Free;
    }
    let me = std::process::id();
    let known: Vec<&Process> = entries
        .iter()
        .filter_map(|entry| processes.get(&entry.inode))
        .flatten()
        .collect();
    if !known.is_empty() && known.iter().all(|process| process.pid == me) {
        // portbook's own listeners, which wait to be given to the owner.
        return Sight::Free;
    }
    let same_user = entries.iter().all(|entry| entry.uid == Some(lease.uid));
    // Any process can call itself docker-proxy, so only root's or the lease user's is accepted.
    let of_trust = |uid: Option<u32>| uid == Some(0) || uid == Some(lease.uid);
    let proxy = entries.iter().all(|entry| of_trust(entry.uid))
        && known
            .iter()
            .any(|process| process.command.as_deref().is_some_and(is_proxy));
    match &lease.owner {
        Some(owner)
            if known
                .iter()
                .any(|p| process::is_descendant(p.pid, owner.pid)) =>
        {
            Sight::Owner
        }
        // A port-server owner may leave its port to a child that portbook cannot identify, so any
        // listener of its user counts.
        Some(owner) if owner.until_reaped && same_user && !process::is_running(owner) => {
            Sight::Owner
        }
        // If /proc hides the process, the socket's user decides.
        Some(_) if proxy || (same_user && known.is_empty()) => Sight::Owner,
        None if same_user || proxy => match eldest(&known).map(process::owner) {
            Some(Ok(owner)) => Sight::Claimant(owner),
            // It has gone again, or /proc hides it: the next round looks again.
            _ => Sight::Free,
        },
        _ => Sight::Outsider(outsider(entries, processes)),
    }
}

/// Whether an active lease's listeners are all sockets that were found to be its owner's. The process
/// of a socket is looked up once, not in every round.
fn goes_on(lease: &Lease, entries: &[&Entry], known: &HashMap<LeaseId, Inodes>) -> bool {
    let own = known.get(&lease.id);
    let all_own = |own: &Inodes| entries.iter().all(|entry| own.contains(&entry.inode));
    lease.state == State::Active && !entries.is_empty() && own.is_some_and(all_own)
}

fn is_proxy(command: &str) -> bool {
    PROXIES.contains(&command)
}

/// Returns the process from which the others descend, of several that share a listener.
fn eldest(processes: &[&Process]) -> Option<u32> {
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    let top = pids.iter().find(|pid| {
        let others = pids.iter().filter(|other| other != pid);
        !others
            .into_iter()
            .any(|other| process::is_descendant(**pid, *other))
    });
    top.or(pids.first()).copied()
}

/// Describes one of several listeners, preferably one whose process is known.
fn outsider(entries: &[&Entry], processes: &HashMap<u64, Vec<Process>>) -> Occupant {
    let occupants = entries
        .iter()
        .map(|entry| occupancy::occupant(entry, processes));
    occupants
        .min_by_key(|occupant| occupant.pid.is_none())
        .unwrap_or_default()
}
