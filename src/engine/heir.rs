//! The search for the heir of a lease: a process that the ended owner left behind, and that serves the port
//! or may still come to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use super::lock::Guarded;
use super::look::listeners_of;
use super::sight::Inodes;
use super::whose::is_proxy;
use crate::domain::container;
use crate::domain::lease::{Lease, Owner, State};
use crate::host::occupancy::{Entry, has_socket, processes_of, processes_with};
use crate::host::process::{self, Origin, Orphaned};

/// The processes of one program.
#[derive(Debug, Clone, Default)]
pub(super) struct Family {
    /// `None` if the program was gone before it could be noted.
    pub(super) origin: Option<Origin>,
    /// Survivors that are known. One that writes its title over its environment cannot be found a
    /// second time.
    pub(super) members: Vec<Owner>,
}

impl Family {
    /// The family of a program that has left nothing behind yet.
    pub(super) fn of(owner: &Owner) -> Self {
        Self {
            origin: Origin::of(owner),
            members: Vec::new(),
        }
    }
}

/// The heir of a lease.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) owner: Owner,
    /// Whether it has a socket on the port.
    pub(super) listens: bool,
    pub(super) family: Family,
}

/// A look for the heir of a lease whose owner has ended.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) lease: Arc<Lease>,
    pub(super) family: Family,
    /// Sockets of the lease's owner, as far as they were seen.
    pub(super) known: Inodes,
    /// Sockets of portbook.
    pub(super) own: HashSet<u64>,
    /// Whether the owner was seen to listen. It leaves its port to listeners alone.
    pub(super) has_come: bool,
}

impl Search {
    /// Picks the survivor that has the port, else the oldest, if the program had not come to the port
    /// yet.
    pub(super) fn heir_among_members(mut self) -> Option<Heir> {
        let mut listeners = self.listeners();
        if self.lease.is_engines() {
            // The next listener of its engine. What runs in the containers does not serve their ports.
            self.family.members.clear();
            return Some(Heir {
                owner: proxy_on(&self.lease, &listeners)?,
                listens: true,
                family: self.family,
            });
        }
        let mut holder = holder_of(&self.family.members, &listeners);
        if holder.is_none() && still_listen(&mut listeners, || self.listeners()) {
            let others = self.others_with(&inodes_of(&listeners));
            holder = others.first().cloned();
            self.family.members.extend(others);
        }
        let holder = holder.or_else(|| proxy_on(&self.lease, &listeners));
        let listens = holder.is_some();
        let may_come = self.lease.state == State::Handed && !self.has_come;
        let eldest = || self.family.members.first().filter(|_| may_come).cloned();
        Some(Heir {
            owner: holder.or_else(eldest)?,
            listens,
            family: self.family,
        })
    }

    /// Sockets that listen on the port, without portbook's own.
    fn listeners(&self) -> Vec<Entry> {
        let mut listeners = listeners_of(&self.lease).unwrap_or_default();
        listeners.retain(|entry| !self.own.contains(&entry.inode));
        listeners
    }

    /// The program, if its origin is known. `lease`: id of its lease.
    fn orphaned<'s>(&'s self, lease: &'s str) -> Option<Orphaned<'s>> {
        Some(Orphaned {
            origin: self.family.origin.as_ref()?,
            lease,
            pid: self.lease.owner.as_ref()?.pid,
        })
    }

    fn add_members(&mut self, found: Vec<Owner>) {
        self.family.members.retain(process::is_running);
        for member in found {
            if !self.family.members.iter().any(|known| known.is(&member)) {
                self.family.members.push(member);
            }
        }
    }

    /// Processes that have the program's own socket without its mark, and those whose socket closes
    /// in a moment because they are dying: of these it cannot be told any more from which program
    /// they come.
    fn others_with(&self, inodes: &Inodes) -> Vec<Owner> {
        let by_inode = processes_with(inodes).into_iter();
        let all = by_inode.flat_map(|(inode, processes)| {
            let is_known = self.known.contains(&inode);
            let pids = processes.into_iter().map(|process| process.pid);
            pids.filter(move |pid| is_known || process::is_dying(*pid))
        });
        let me = std::process::id();
        let owners = all.filter(|pid| *pid != me).map(process::owner);
        owners.filter_map(Result::ok).collect()
    }
}

fn holder_of(members: &[Owner], listeners: &[Entry]) -> Option<Owner> {
    let has = |member: &&Owner| {
        let mut inodes = listeners.iter().map(|entry| entry.inode);
        inodes.any(|inode| has_socket(member.pid, inode))
    };
    members.iter().find(has).cloned()
}

fn inodes_of(listeners: &[Entry]) -> Inodes {
    listeners.iter().map(|entry| entry.inode).collect()
}

/// Drops the listeners that have closed since they were listed, by one more look. Returns whether any is
/// left. A member that ended between the list and the look at its descriptors took its socket along, and a
/// walk through all processes of the host would find no other.
fn still_listen(listeners: &mut Vec<Entry>, look: impl FnOnce() -> Vec<Entry>) -> bool {
    if listeners.is_empty() {
        return false;
    }
    let open = inodes_of(&look());
    listeners.retain(|entry| open.contains(&entry.inode));
    !listeners.is_empty()
}

/// Looks for heirs that are asked for at the same time: when many owners end at once the processes are
/// read once for all of them.
#[derive(Debug, Default)]
pub(super) struct Searches {
    queue: Guarded<Vec<Queued>>,
    settled: Notify,
}

#[derive(Debug)]
struct Queued {
    search: Search,
    heir: oneshot::Sender<Option<Heir>>,
}

impl Searches {
    /// Waits until the watch of some owner that ended has done with the search.
    pub(super) fn settled(&self) -> Notified<'_> {
        self.settled.notified()
    }

    /// Notes that a watch has done with its search.
    pub(super) fn settle(&self) {
        self.settled.notify_waiters();
    }

    /// Finds the survivors, and among them the heir.
    pub(super) async fn heir(&self, search: Search) -> Option<Heir> {
        let (heir, found) = oneshot::channel();
        self.queue.with(|queue| queue.push(Queued { search, heir }));
        // Owners that ended at the same time ask first.
        tokio::task::yield_now().await;
        let queue = self.queue.with(std::mem::take);
        // Empty if another task has served this search too.
        if !queue.is_empty() {
            // On this thread, which watches owners and nothing else: another one would have to wait for a
            // processor. A panic there closes the channels.
            drop(tokio::spawn(async move { look(queue) }).await);
        }
        found.await.ok().flatten()
    }
}

/// Looks for the heirs of leases whose owners have ended.
fn look(queue: Vec<Queued>) {
    let ids: Vec<String> = queue
        .iter()
        .map(|queued| queued.search.lease.id.to_string())
        .collect();
    let searches = queue.iter().map(|queued| &queued.search).zip(&ids);
    let programs: Vec<Orphaned<'_>> = searches
        .filter_map(|(search, lease)| search.orphaned(lease))
        .collect();
    let mut left_behind = process::left_behind(&programs).into_iter();
    let earliest = queue.iter().map(|queued| since(&queued.search.lease)).min();
    let mut marked = None;
    for (mut queued, id) in queue.into_iter().zip(&ids) {
        let found = if queued.search.orphaned(id).is_some() {
            left_behind.next().unwrap_or_default()
        } else {
            let all = || process::marked(earliest.unwrap_or_default());
            owners_of(marked.get_or_insert_with(all), id)
        };
        queued.search.add_members(found);
        // The asker may be gone, at the end of the service.
        drop(queued.heir.send(queued.search.heir_among_members()));
    }
}

/// Earliest start of a process that the owner may have left behind, in clock ticks since boot: its own, and 0
/// where the lease has had owners before, whose processes may live on.
pub(super) fn since(lease: &Lease) -> u64 {
    let first = |owner: &&Owner| lease.name.is_none() && !owner.inherited && !owner.engine;
    let owner = lease.owner.as_ref().filter(first);
    owner.map_or(0, |owner| owner.start_ticks)
}

/// Living processes with the mark of a lease.
pub(super) fn owners_of(marked: &HashMap<String, Vec<u32>>, lease: &str) -> Vec<Owner> {
    let pids = marked.get(lease).into_iter().flatten();
    pids.filter_map(|pid| process::owner(*pid).ok()).collect()
}

/// The proxy of an engine on the port of a lease whose owner has ended, if that may have started it, as
/// `docker run -d` does.
fn proxy_on(lease: &Lease, listeners: &[Entry]) -> Option<Owner> {
    let owner = lease.owner.as_ref()?;
    // A program that was not seen before it ended has the name of the command that asked for it.
    let may_be_its =
        owner.engine || owner.command == "portbook" || container::is_command(&owner.command);
    if lease.state == State::Lost || !may_be_its {
        return None;
    }
    let processes = processes_of(listeners);
    let proxies = listeners.iter().filter_map(|entry| {
        let processes = processes.get(&entry.inode)?;
        let is_its = is_proxy(entry, processes, lease);
        is_its.then_some(processes)
    });
    let mut pids = proxies.flatten().map(|process| process.pid);
    let pid = pids.find(|pid| *pid != std::process::id())?;
    process::owner(pid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::occupancy::tests_support::listening;

    #[test]
    fn listener_that_closed_meanwhile_is_looked_for_in_no_process() {
        let mut listeners = vec![listening(1), listening(2)];
        assert!(still_listen(&mut listeners, || vec![
            listening(2),
            listening(3)
        ]));
        assert_eq!(inodes_of(&listeners), Inodes::from([2]));
        assert!(!still_listen(&mut listeners, Vec::new));
        let unasked = || panic!("there is nothing to look for");
        assert!(!still_listen(&mut Vec::new(), unasked));
    }
}
