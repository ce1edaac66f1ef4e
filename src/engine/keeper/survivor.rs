//! Survivors: processes that a program left behind when it ended, such as a daemon that put itself in
//! the background, or workers of a killed master. One of them inherits the lease, for as long as it
//! serves its port or may still come to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::container as names;
use crate::domain::lease::{Guard, Lease, LeaseId, Owner, State};
use crate::engine::heir::{Family, Heir, Search, owners_of, since};
use crate::engine::{engine::Engine, refusal::Refusal};
use crate::host::process;

/// Time that a survivor has to come to its port: daemons put themselves in the background first, and
/// bind then.
const TIME_TO_COME: Duration = Duration::from_mins(1);

/// Pause after an heir could not be recorded.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Outcome of the search for an heir.
pub(super) enum Inherited {
    /// The owner left nothing behind.
    Nothing,
    /// The lease has another owner meanwhile, with a watch of its own, or has ended.
    Elsewhere,
    /// The lease, whose owner is to be watched, and the family of that.
    Watch(Arc<Lease>, Family),
}

/// A search for the heir of a lease.
fn search(engine: &Engine, lease: Arc<Lease>, family: Family) -> Search {
    let known = engine.leases.listeners().remove(&lease.id);
    Search {
        known: known.unwrap_or_default(),
        own: engine.leases.own_sockets(lease.protocol, lease.port),
        has_come: engine.leases.has_listened(&lease),
        lease,
        family,
    }
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
    let search = search(engine, lease, family);
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
        // It is in the cgroup of the program that it descends from.
        mapped_from: lease.mapped_from(),
        all_mapped: lease.owner.as_ref().is_some_and(|owner| owner.all_mapped),
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
    } else if lease.claim_by.is_none() && !lease.is_spare() {
        lease.claim_by = Some(engine.clock.boot().after(TIME_TO_COME));
    }
}

/// Looks for the heirs of leases after a start, when the ends of owners were not seen. The processes
/// are read only if an owner is gone, and twice at most.
#[derive(Default)]
pub(super) struct AfterStart {
    marked: Option<Marked>,
}

/// Processes with a mark, by lease.
struct Marked {
    /// Earliest start of a process that was read, in clock ticks since boot.
    since: u64,
    by_lease: HashMap<String, Vec<u32>>,
}

impl Marked {
    fn read(since: u64) -> Self {
        let by_lease = process::marked(since);
        Self { since, by_lease }
    }
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
        let members = owners_of(self.marked(since(&lease)), &lease.id.to_string());
        let family = Family {
            origin: None,
            members,
        };
        let mut lease = Arc::new(lease);
        let search = search(engine, Arc::clone(&lease), family);
        if let Some(heir) = search.heir_among_members() {
            let is_in_doubt = engine.leases.receipt(lease.id).is_in_doubt(&lease);
            install(engine, Arc::make_mut(&mut lease), &heir, is_in_doubt);
        }
        Arc::unwrap_or_clone(lease)
    }

    /// Processes with a mark that started no earlier than this, and maybe others.
    fn marked(&mut self, since: u64) -> &HashMap<String, Vec<u32>> {
        let marked = self.marked.get_or_insert_with(|| Marked::read(since));
        if marked.since > since {
            // All of them, so that no further owner takes another read.
            *marked = Marked::read(0);
        }
        &marked.by_lease
    }
}
