//! Repair: books, guards, owners, the record and the kernel compared, and what disagrees mended.
//!
//! Nothing should ever be found here. What is, is logged, counted and told in the journal; a leak is
//! looked at three times before it is freed, because to leak a port for a while is better than to
//! grant it twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::lease::{Guard, Lease, LeaseId, State};
use crate::engine::{
    engine::Engine, keeper::conflict, keeper::restart, keeper::suspects::Fault, keeper::watch,
    leases::Leases, leases::may_be_open, look, refusal::Refusal,
};
use crate::host::hold::Hold;
use crate::host::process;
use crate::telemetry::span;

/// Pause between two comparisons.
const ROUND: Duration = Duration::from_secs(30);

/// Compares and mends from time to time, for as long as it is polled.
pub(in crate::engine) async fn run(engine: &Arc<Engine>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        repair(engine).await;
    }
}

/// Compares everything once, and mends what is ripe for it.
pub(in crate::engine) async fn repair(engine: &Arc<Engine>) {
    let mut seen = faults_in_memory(engine);
    match faults_on_record(engine).await {
        Ok(more) => seen.extend(more),
        Err(error) => tracing::warn!(%error, "the record could not be compared"),
    }
    let due = engine.repairs.with(|repairs| repairs.due(seen));
    if due.is_empty() {
        return;
    }
    // Looks that find nothing are no story to tell.
    let mending = span::chore("repair");
    span::counted(&mending, due.len());
    mend_all(engine, due).instrument(mending).await;
}

async fn mend_all(engine: &Arc<Engine>, due: Vec<Fault>) {
    for fault in due {
        match mend(engine, fault).await {
            Ok(true) => note_mended(engine, fault),
            Ok(false) | Err(Refusal::NotFound) => {}
            Err(error) => tracing::error!(%error, ?fault, "not mended"),
        }
    }
}

fn note_mended(engine: &Arc<Engine>, fault: Fault) {
    engine.repairs.with(|repairs| repairs.count(fault));
    engine.journal.mended(fault, fault.word());
}

fn faults_in_memory(engine: &Arc<Engine>) -> Vec<Fault> {
    let leases = engine.leases.all();
    let holds: HashMap<LeaseId, Arc<Hold>> = engine.leases.all_holds().into_iter().collect();
    let known: HashSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    let reservations = engine.leases.reservations().into_iter();
    let mut seen: Vec<Fault> = reservations
        .map(|(ticket, port)| Fault::Reservation(ticket, port))
        .collect();
    let unknown = holds.keys().filter(|id| !known.contains(id));
    seen.extend(unknown.map(|id| Fault::Hold(*id)));
    for lease in leases.iter().filter(|lease| !lease.state.is_ended()) {
        let hold = holds.get(&lease.id);
        seen.extend(faults_of(lease, hold, engine.leases.is_watched(lease.id)));
    }
    seen
}

async fn faults_on_record(engine: &Arc<Engine>) -> Result<Vec<Fault>, Refusal> {
    if engine.store.owed() > 0 {
        // The record is known to lag behind.
        return Ok(Vec::new());
    }
    let recorded = engine.store.living_revisions().await?;
    let leases = engine.leases.all();
    let leases: HashMap<LeaseId, &Lease> = leases.iter().map(|it| (it.id, &**it)).collect();
    let fault = |(id, revision): (LeaseId, u64)| match leases.get(&id) {
        None => Some(Fault::Unknown(id)),
        Some(lease) if lease.revision != revision => Some(Fault::Record(id)),
        Some(_) => None,
    };
    Ok(recorded.into_iter().filter_map(fault).collect())
}

/// Mends one fault, if it is still there; whether there was anything to mend.
async fn mend(engine: &Arc<Engine>, fault: Fault) -> Result<bool, Refusal> {
    match fault {
        Fault::Reservation(ticket, port) => Ok(engine.leases.cancel_leaked(ticket, port)),
        Fault::Hold(id) => {
            if engine.leases.get(id).is_some() {
                return Ok(false);
            }
            Ok(engine.leases.take_hold(id).is_some())
        }
        Fault::Unwatched(id) => mend_watch(engine, id).await,
        Fault::Gate(id) => mend_gate(engine, id).await,
        Fault::Unguarded(id) => mend_guard(engine, id).await,
        Fault::Record(id) => {
            let _turn = engine.leases.turn(id).await;
            // Written once more, under a newer number than either has.
            engine.leases.change(id, |_| {}).await.map(|_| true)
        }
        Fault::Unknown(id) => mend_books(engine, id).await,
    }
}

async fn mend_watch(engine: &Arc<Engine>, id: LeaseId) -> Result<bool, Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    if lease.owner.is_none() || engine.leases.is_watched(id) {
        return Ok(false);
    }
    // An owner that has gone meanwhile is found out by the watch itself.
    watch::watch(engine, &lease);
    Ok(true)
}

async fn mend_gate(engine: &Arc<Engine>, id: LeaseId) -> Result<bool, Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    let hold = engine.leases.hold_of(id).ok_or(Refusal::NotFound)?;
    if !is_gate_wrong(&lease, &hold) {
        return Ok(false);
    }
    if let Some(who) = Leases::fix_gate(&lease, &hold).await {
        conflict::lose(engine, &lease, who).await?;
    }
    Ok(true)
}

async fn mend_guard(engine: &Arc<Engine>, id: LeaseId) -> Result<bool, Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    if lease.state != State::Reserved || engine.leases.hold_of(id).is_some() {
        return Ok(false);
    }
    if engine.leases.hold_again(&lease).is_some() {
        engine
            .leases
            .change(id, |lease| lease.guard = Guard::Hold)
            .await?;
        return Ok(true);
    }
    match look::outsider_on(&lease).await {
        Some(who) => conflict::lose(engine, &lease, who).await.map(|()| true),
        // A closing connection, or an address that has gone: the next look may have more luck.
        None => Ok(false),
    }
}

/// Takes up a lease that is on record and not in the books.
pub(super) async fn mend_books(engine: &Arc<Engine>, id: LeaseId) -> Result<bool, Refusal> {
    let _turn = engine.leases.turn(id).await;
    if engine.leases.get(id).is_some() {
        return Ok(false);
    }
    let stored = engine.store.lease(id).await?;
    let Some(stored) = stored.filter(|stored| stored.lease.ended_at.is_none()) else {
        return Ok(false);
    };
    let lease = restart::rebased(engine, stored);
    let (group, protocol, port) = (&lease.addresses, lease.protocol, lease.port);
    if let Err(taken) = engine.leases.reserve(group, protocol.into(), port) {
        tracing::error!(lease = %id, %port, ?taken, "on record for a port that another has");
        return Ok(false);
    }
    engine.leases.enter_recorded(lease.clone());
    restart::adopt(engine, lease).await.map(|_| true)
}

/// Returns the faults of one lease.
fn faults_of(lease: &Lease, hold: Option<&Arc<Hold>>, watched: bool) -> Vec<Fault> {
    let me = std::process::id();
    let mut faults = Vec::new();
    let has_owner = lease.owner.as_ref().is_some_and(|owner| {
        // The last listener of an engine may be gone.
        owner.pid != me && (!owner.engine || process::is_running(owner))
    });
    if has_owner && !watched {
        faults.push(Fault::Unwatched(lease.id));
    }
    match hold {
        None if lease.state == State::Reserved => faults.push(Fault::Unguarded(lease.id)),
        Some(hold) if is_gate_wrong(lease, hold) => faults.push(Fault::Gate(lease.id)),
        _ => {}
    }
    faults
}

/// Whether a gate is open without an owner that may bind, or shut to one.
fn is_gate_wrong(lease: &Lease, hold: &Hold) -> bool {
    // No owner may bind the port of a lost lease; its gate is fixed when the port comes back.
    lease.state != State::Lost && hold.is_open().is_ok_and(|open| open != may_be_open(lease))
}
