//! Undoing a release: the lease lives again, with its port, name and terms. The program that listens on
//! the port becomes, or stays, the owner.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::lease::{Lease, LeaseId, State};
use crate::engine::{
    caller::Caller, claims::ClaimTicket, engine::Engine, keeper::restart, leases::Reservation,
    look, name, observer, quota, refusal::Refusal, unique,
};
use crate::host::process;
use crate::store::{StoreError, StoredLease};
use crate::telemetry::span;

/// Time for which a release can be undone.
pub const UNDONE_WITHIN: Duration = Duration::from_mins(10);

/// Undoes a release that was asked for a short time ago. A lease that lives is returned as it is.
pub(in crate::engine) async fn undo_release(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
) -> Result<Arc<Lease>, Refusal> {
    if engine.leases.living(id).is_some() {
        return engine.leases.of_caller(caller, id);
    }
    let released = released(engine, caller, id).await?.lease;
    let undoing = span::of_lease("undo_release", &released);
    let (engine, caller) = (Arc::clone(engine), caller.clone());
    // On a task of its own: a client may hang up halfway, but no lease comes back halfway.
    let task = async move { revive(&engine, &caller, &released).await };
    let revived = tokio::spawn(task.instrument(undoing)).await;
    revived.unwrap_or(Err(Refusal::Store(StoreError::Closed)))
}

/// Whether a release of a lease can be undone at `now`, as far as the lease tells.
pub fn can_be_undone(lease: &Lease, now: jiff::Timestamp) -> bool {
    let ended = lease.ended_at.filter(|_| lease.state == State::Released);
    let is_fresh = ended.is_some_and(|at| {
        let age = now.duration_since(at);
        Duration::try_from(age).unwrap_or_default() <= UNDONE_WITHIN
    });
    // Other endings in this state keep the port for the name.
    is_fresh && lease.forgotten
}

/// The lease as it is on record, if its release can be undone.
async fn released(engine: &Engine, caller: &Caller, id: LeaseId) -> Result<StoredLease, Refusal> {
    let stored = engine.store.lease(id).await?.ok_or(Refusal::NotFound)?;
    check_may_undo(engine, caller, &stored.lease)?;
    Ok(stored)
}

fn check_may_undo(engine: &Engine, caller: &Caller, lease: &Lease) -> Result<(), Refusal> {
    if !caller.may_act_for(lease.uid) {
        return Err(Refusal::Forbidden(format!(
            "lease {} belongs to uid {}: only that user or root may take it back",
            lease.id, lease.uid
        )));
    }
    if can_be_undone(lease, engine.clock.now()) {
        return Ok(());
    }
    Err(Refusal::InvalidRequest(
        "only a release by its user within the last 10 minutes can be undone: ask for the port again"
            .to_owned(),
    ))
}

async fn revive(
    engine: &Arc<Engine>,
    caller: &Caller,
    before: &Lease,
) -> Result<Arc<Lease>, Refusal> {
    let (id, uid, scope) = (before.id, before.uid, &before.scope);
    let names = before.name.iter().map(|name| (uid, scope, name.as_str()));
    let _names = engine.leases.names_turn(names).await;
    let turn = engine.leases.turn(id).await;
    // Another request may have undone it meanwhile, and its user released it again.
    if engine.leases.living(id).is_some() {
        return engine.leases.of_caller(caller, id);
    }
    let stored = released(engine, caller, id).await?;
    check_name(engine, &stored.lease)?;
    check_rules(engine, &stored.lease)?;
    let _room = quota::admit_again(engine, &stored.lease)?;
    let lease = alive(engine, restart::rebased(engine, stored))?;
    let (group, protocols) = (&lease.addresses, lease.protocol.into());
    let reserved = Reservation::of(&engine.leases, group, protocols, lease.port);
    let reserved = reserved.ok_or_else(|| is_leased(&lease))?;
    if is_taken(&lease).await {
        return Err(name::why_in_use(engine, caller, &lease).await);
    }
    let claim = unique::claim_again(engine, &lease).await?;
    let mut lease = lease;
    lease.claim = claim.as_ref().map(ClaimTicket::of_lease);
    match &claim {
        // Without its claim on record it would not be claimed again after a restart.
        Some(claim) => {
            let batch = engine.store.batch().lease(&lease).claim(claim.claim());
            engine.store.commit(batch).await?;
        }
        None => engine.store.record(&lease).await?,
    }
    engine.leases.enter_recorded(lease.clone());
    drop((reserved, claim));
    engine.journal.taken_back(&lease);
    restart::adopt(engine, lease).await?;
    drop(turn);
    let revived = engine.leases.get(id).ok_or(Refusal::NotFound)?;
    observer::observe_these(engine, vec![revived]).await;
    engine.leases.get(id).ok_or(Refusal::NotFound)
}

/// Whether a program is in the way. One of the same user may claim a lease that waits for a listener, but
/// not one that was kept for its name.
async fn is_taken(lease: &Lease) -> bool {
    let is_kept = lease.state == State::Reserved;
    if is_kept && look::listeners_of(lease).is_ok_and(|found| !found.is_empty()) {
        return true;
    }
    look::outsider_on(lease).await.is_some()
}

/// The lease as it lives on. Its owner stays if it runs; a name that was kept without an owner is kept
/// again; else the first listener has its time to come.
fn alive(engine: &Engine, mut lease: Lease) -> Result<Lease, Refusal> {
    let now = engine.clock.boot();
    if lease.expires.is_some_and(|at| at <= now) {
        return Err(Refusal::InvalidRequest(
            "the time of this lease was up meanwhile: ask for the port again".to_owned(),
        ));
    }
    lease.ended_at = None;
    lease.forgotten = false;
    lease.revision += 1;
    lease.state = State::Handed;
    lease.claim_by = None;
    if lease.owner.as_ref().is_some_and(process::is_running) {
        return Ok(lease);
    }
    lease.owner = None;
    if lease.idle_since.is_some() {
        lease.rest(engine.clock.now());
    } else {
        let settings = engine.settings();
        let pool = settings.pools.get(&*lease.pool);
        let within = pool.map_or(UNDONE_WITHIN, |pool| pool.claim_within);
        lease.claim_by = Some(now.after(within));
    }
    Ok(lease)
}

fn check_name(engine: &Engine, lease: &Lease) -> Result<(), Refusal> {
    let Some(name) = &lease.name else {
        return Ok(());
    };
    let living = engine.leases.named(lease.uid, &lease.scope, name);
    let other = living.iter().find(|other| other.protocol == lease.protocol);
    other.map_or(Ok(()), |other| {
        Err(Refusal::NameTaken {
            name: name.clone(),
            why: format!("it has port {} meanwhile", other.port),
        })
    })
}

/// Refuses a port that was excluded since, by a user or by its pool.
fn check_rules(engine: &Engine, lease: &Lease) -> Result<(), Refusal> {
    let rules = engine.rules.now();
    let port = lease.port;
    let by_hand = rules.exclusions.get(lease.protocol, port);
    let by_pool = rules.settings.pools.get(&*lease.pool);
    let by_pool = by_pool.filter(|pool| pool.exclude.contains(port));
    let rule = by_hand.map(ToString::to_string).or_else(|| {
        by_pool.map(|pool| format!("the configuration (exclude of pool {})", pool.name))
    });
    rule.map_or(Ok(()), |rule| Err(Refusal::PortExcluded { port, rule }))
}

fn is_leased(lease: &Lease) -> Refusal {
    Refusal::PortLeased {
        port: lease.port,
        protocol: lease.protocol,
        holder: "another lease".to_owned(),
        whose: None,
    }
}
