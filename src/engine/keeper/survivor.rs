//! Survivors: processes that a program left behind when it ended, such as a daemon that put itself in
//! the background, or workers of a killed master. One of them inherits the lease, for as long as it
//! serves its port or may still come to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::container as names;
use crate::domain::lease::{Guard, Lease, LeaseId, Owner, State};
use crate::engine::{
    engine::Engine, keeper::container, lock::Guarded, look::listeners_of, refusal::Refusal,
    sight::Inodes,
};
use crate::host::occupancy::{has_socket, processes_with};
use crate::host::process::{self, Origin};

/// Time that a survivor has to come to its port: daemons put themselves in the background first, and
/// bind then.
const TIME_TO_COME: Duration = Duration::from_mins(1);

/// Pause after an heir could not be recorded.
const PUT_OFF: Duration = Duration::from_secs(5);

/// The processes of one program.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Family {
    /// `None` if the program was gone before it could be noted.
    origin: Option<Origin>,
    /// Survivors that are known. One that writes its title over its environment cannot be found a
    /// second time.
    members: Vec<Owner>,
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
struct Heir {
    owner: Owner,
    /// Whether it has a socket on the port.
    listens: bool,
    family: Family,
}

/// A look for the heir of a lease whose owner has ended.
#[derive(Debug)]
struct Search {
    lease: Arc<Lease>,
    family: Family,
    /// Sockets of the lease's owner, as far as they were seen.
    known: Inodes,
    /// Sockets of portbook.
    own: HashSet<u64>,
}

impl Search {
    fn new(engine: &Engine, lease: Arc<Lease>, family: Family) -> Self {
        let known = engine.leases.listeners().remove(&lease.id);
        Self {
            known: known.unwrap_or_default(),
            own: engine.leases.own_sockets(lease.protocol, lease.port),
            lease,
            family,
        }
    }

    /// Picks the survivor that has the port, else the oldest, if the program had not come to the port
    /// yet.
    fn heir_among_members(mut self) -> Option<Heir> {
        let listeners = listeners_of(&self.lease).unwrap_or_default();
        let inodes = listeners.iter().map(|entry| entry.inode);
        let inodes: Inodes = inodes.filter(|inode| !self.own.contains(inode)).collect();
        let mut holder = holder_of(&self.family.members, &inodes);
        if holder.is_none() && !inodes.is_empty() {
            let others = self.others_with(&inodes);
            holder = others.first().cloned();
            self.family.members.extend(others);
        }
        let holder = holder.or_else(|| container::proxy_on(&self.lease, &listeners));
        let listens = holder.is_some();
        let may_come = self.lease.state == State::Handed;
        let eldest = || self.family.members.first().filter(|_| may_come).cloned();
        Some(Heir {
            owner: holder.or_else(eldest)?,
            listens,
            family: self.family,
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

fn holder_of(members: &[Owner], inodes: &Inodes) -> Option<Owner> {
    let has = |member: &&Owner| inodes.iter().any(|inode| has_socket(member.pid, *inode));
    members.iter().find(has).cloned()
}

/// Looks for heirs that are asked for at the same time: when many owners end at once the processes are
/// read once for all of them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Searches {
    queue: Guarded<Vec<Queued>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Queued {
    search: Search,
    heir: oneshot::Sender<Option<Heir>>,
}

impl Searches {
    /// Finds the survivors, and among them the heir.
    async fn heir(&self, search: Search) -> Option<Heir> {
        let (heir, found) = oneshot::channel();
        self.queue.with(|queue| queue.push(Queued { search, heir }));
        let turn = self.turn.lock().await;
        let queue = self.queue.with(std::mem::take);
        // Empty if another one's turn has served this search too.
        if !queue.is_empty() {
            // A panic there closes the channels.
            drop(tokio::task::spawn_blocking(move || look(queue)).await);
        }
        drop(turn);
        found.await.ok().flatten()
    }
}

/// Looks for the heirs of leases whose owners have ended.
fn look(queue: Vec<Queued>) {
    let ids: Vec<String> = queue
        .iter()
        .map(|queued| queued.search.lease.id.to_string())
        .collect();
    let of_origin = queue.iter().zip(&ids);
    let programs: Vec<(&Origin, &str)> = of_origin
        .filter_map(|(queued, id)| Some((queued.search.family.origin.as_ref()?, id.as_str())))
        .collect();
    let mut left_behind = process::left_behind(&programs).into_iter();
    let mut marked = None;
    for (mut queued, id) in queue.into_iter().zip(&ids) {
        let found = match queued.search.family.origin {
            Some(_) => left_behind.next().unwrap_or_default(),
            None => owners_of(marked.get_or_insert_with(process::marked), id),
        };
        queued.search.add_members(found);
        // The asker may be gone, at the end of the service.
        drop(queued.heir.send(queued.search.heir_among_members()));
    }
}

/// Living processes with the mark of a lease.
fn owners_of(marked: &HashMap<String, Vec<u32>>, lease: &str) -> Vec<Owner> {
    let pids = marked.get(lease).into_iter().flatten();
    pids.filter_map(|pid| process::owner(*pid).ok()).collect()
}

/// Outcome of the search for an heir.
pub(super) enum Inherited {
    /// The owner left nothing behind.
    Nothing,
    /// The lease has another owner meanwhile, with a watch of its own, or has ended.
    Elsewhere,
    /// The lease, whose owner is to be watched, and the family of that.
    Watch(Arc<Lease>, Family),
}

/// Passes a lease whose owner has ended on to a process that the owner left behind.
pub(super) async fn inherit(
    engine: &Arc<Engine>,
    id: LeaseId,
    owner: &Owner,
    family: Family,
) -> Inherited {
    let Some(lease) = engine.leases.living(id) else {
        return Inherited::Nothing;
    };
    let search = Search::new(engine, lease, family);
    let Some(heir) = engine.searches.heir(search).await else {
        return Inherited::Nothing;
    };
    let family = heir.family.clone();
    let lease = match pass_on(engine, id, owner, heir).await {
        Ok(lease) => lease,
        Err(Refusal::NotFound) => None,
        Err(error) => {
            tracing::error!(%error, lease = %id, "could not record an heir; trying again in 5 s");
            tokio::time::sleep(PUT_OFF).await;
            engine.leases.living(id)
        }
    };
    lease.map_or(Inherited::Elsewhere, |lease| {
        Inherited::Watch(lease, family)
    })
}

/// Notes the heir as the owner, if the owner that ended still is.
async fn pass_on(
    engine: &Arc<Engine>,
    id: LeaseId,
    ended: &Owner,
    heir: Heir,
) -> Result<Option<Arc<Lease>>, Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    if !lease.owner.as_ref().is_some_and(|owner| owner.is(ended)) {
        return Ok(None);
    }
    let is_in_doubt = engine.leases.receipt(id).is_in_doubt(&lease);
    let changed = engine
        .leases
        .change(id, |lease| install(engine, lease, &heir, is_in_doubt));
    let changed = changed.await?;
    engine.leases.note_heir(id, ended, &heir.owner);
    engine.journal.inherited(&changed, ended, &heir.owner);
    Ok(Some(changed))
}

/// Makes the heir the owner. One that has not come to the port has the time of a first listener. A given
/// socket is in every descendant that did not close it, so `is_in_doubt` leaves it to the observer whether
/// the heir serves.
fn install(engine: &Engine, lease: &mut Lease, heir: &Heir, is_in_doubt: bool) {
    let engines = names::is_proxy(&heir.owner.command);
    lease.owner = Some(Owner {
        inherited: !engines,
        engine: engines,
        ..heir.owner.clone()
    });
    if heir.listens {
        lease.claim_by = None;
        if lease.state == State::Handed && !is_in_doubt {
            lease.state = State::Active;
        }
        if lease.guard == Guard::None {
            lease.guard = Guard::Owner;
        }
    } else if lease.claim_by.is_none() {
        lease.claim_by = Some(engine.clock.boot().after(TIME_TO_COME));
    }
}

/// Looks for the heirs of leases after a start, when the ends of owners were not seen. The processes
/// are read once, and only if an owner is gone.
#[derive(Default)]
pub(super) struct AfterStart {
    marked: Option<HashMap<String, Vec<u32>>>,
}

impl AfterStart {
    /// Gives a lease whose owner ended to a process that the owner left behind.
    pub(super) fn pass_on(&mut self, engine: &Engine, lease: Lease) -> Lease {
        let Some(owner) = lease.owner.clone().filter(|owner| !owner.until_reaped) else {
            return lease;
        };
        if process::is_running(&owner) {
            return lease;
        }
        let marked = self.marked.get_or_insert_with(process::marked);
        let members = owners_of(marked, &lease.id.to_string());
        let family = Family {
            origin: None,
            members,
        };
        let mut lease = Arc::new(lease);
        let search = Search::new(engine, Arc::clone(&lease), family);
        if let Some(heir) = search.heir_among_members() {
            let is_in_doubt = engine.leases.receipt(lease.id).is_in_doubt(&lease);
            install(engine, Arc::make_mut(&mut lease), &heir, is_in_doubt);
        }
        Arc::unwrap_or_clone(lease)
    }
}
