//! Whose a socket on the port of a lease is.

use std::collections::HashSet;

use crate::domain::container;
use crate::domain::lease::{Lease, Owner};
use crate::host::occupancy::Entry;
use crate::host::process::{self, Process};

/// Side that a socket on the port of a lease belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// portbook, which made it and has not given it away.
    Portbook,
    /// The owner, or a process that listens for it.
    Owner,
    /// A container engine, which may listen for the owner.
    Proxy,
    /// A process that may claim the lease, which has no owner yet, or an engine's next listener.
    Claimant,
    /// Another program.
    Outsider,
}

/// Sockets that portbook made, by inode: they are never an outsider's.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    /// Those that it has itself.
    pub(super) kept: HashSet<u64>,
    /// Those that it handed over.
    pub(super) given: HashSet<u64>,
}

/// Tells whose a socket is, of which these processes have a descriptor. Reads `/proc`.
pub(super) fn whose(entry: &Entry, processes: &[Process], lease: &Lease, made: &Made) -> Whose {
    let me = std::process::id();
    let is_mine = !processes.is_empty() && processes.iter().all(|process| process.pid == me);
    if is_mine || made.kept.contains(&entry.inode) {
        return Whose::Portbook;
    }
    let is_given = made.given.contains(&entry.inode);
    let same_user = entry.uid == Some(lease.uid);
    let Some(owner) = &lease.owner else {
        let claims = is_given
            || is_proxy(entry, processes, lease)
            || (same_user && may_claim(processes, lease));
        return if claims {
            Whose::Claimant
        } else {
            Whose::Outsider
        };
    };
    if is_given || is_owners(entry, processes, lease, owner) {
        return Whose::Owner;
    }
    let may_claim = || lease.claim_by.is_some() && same_user && may_claim(processes, lease);
    match is_proxy(entry, processes, lease) {
        true if owner.engine && !process::is_running(owner) => Whose::Claimant,
        true if owner.engine || starts_containers(owner) => Whose::Proxy,
        false if owner.engine && may_claim() => Whose::Claimant,
        _ => Whose::Outsider,
    }
}

/// Whether the owner of a lease, or a process that it left its port to, has a socket.
fn is_owners(entry: &Entry, processes: &[Process], lease: &Lease, owner: &Owner) -> bool {
    let same_user = entry.uid == Some(lease.uid);
    // A port-server owner may leave its port to a child that portbook cannot identify, so any
    // listener of its user counts.
    let is_left_behind = || owner.until_reaped && same_user && !process::is_running(owner);
    // If /proc hides the process, the socket's user decides.
    let is_hidden = same_user && processes.is_empty();
    let mut pids = processes.iter().map(|process| process.pid);
    is_hidden || pids.any(|pid| is_of_program(pid, lease)) || is_left_behind()
}

/// Whether an owner starts containers: it is a command of an engine, has one among its descendants, or
/// names one in its arguments, as a shell does.
fn starts_containers(owner: &Owner) -> bool {
    let command = process::command_of(owner);
    let command = command.as_deref().unwrap_or(&owner.command);
    if container::is_command(command) || process::names_word(owner.pid, container::is_command) {
        return true;
    }
    process::all().into_iter().any(|pid| {
        let is_command = process::command(pid).is_ok_and(|name| container::is_command(&name));
        is_command && process::is_descendant(pid, owner.pid)
    })
}

/// Whether a process belongs to the program of a lease: it has the mark of the lease, or is the owner
/// or descends from it.
pub(super) fn is_of_program(pid: u32, lease: &Lease) -> bool {
    let owner = lease.owner.as_ref();
    let descends = |owner: &Owner| process::is_descendant(pid, owner.pid);
    owner.is_some_and(|owner| descends(owner) && (!owner.engine || process::is_running(owner)))
        || process::mark_of(pid).names(&lease.id.to_string())
}

/// Whether one of these processes of the lease's user may become its owner. A lease of a folder is
/// not claimed by a program that belongs to another one.
fn may_claim(processes: &[Process], lease: &Lease) -> bool {
    let Some(folder) = lease.scope.folder() else {
        return true;
    };
    let id = lease.id.to_string();
    let may = |pid| !process::is_of_another_folder(pid, folder, &id);
    // Where the processes are not ours to see, the socket's user has to do.
    processes.is_empty() || processes.iter().any(|process| may(process.pid))
}

/// Whether a container engine has the socket. Any process can call itself docker-proxy, so only
/// root's or the lease user's is accepted.
pub(super) fn is_proxy(entry: &Entry, processes: &[Process], lease: &Lease) -> bool {
    let is_of_trust = entry.uid == Some(0) || entry.uid == Some(lease.uid);
    let mut commands = processes.iter().filter_map(|one| one.command.as_deref());
    is_of_trust && commands.any(container::is_proxy)
}
