//! After a start: every lease on record is guarded again, ended, or said to be lost.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tracing::{Instrument, Span};

use crate::domain::lease::{Guard, Handover, Lease, Owner, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::Protocols;
use crate::engine::{
    caller::Mode, engine::Engine, exclusion, keeper::assist, keeper::conflict, keeper::container,
    keeper::ending, keeper::stock, keeper::survivor::AfterStart, keeper::watch, leases::Leases,
    look, refusal::Refusal, retake::is_given_up, tables::Tables,
};
use crate::host::hold::can_stay_beneath;
use crate::host::process;
use crate::store::StoredLease;
use crate::telemetry::span;

/// Numbers of the leases on record by what a start did with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Guarded again, or left to their owner's listener.
    pub kept: usize,
    /// Ended because their owner is gone.
    pub ended: usize,
    /// Taken by an outsider meanwhile.
    pub lost: usize,
}

/// Reads the record and takes up every lease that has not ended. Must come before the first
/// allocation, and under the data directory's lock.
pub(in crate::engine) async fn restore(engine: &Arc<Engine>) -> Result<Restored, Refusal> {
    let restoring = span::chore("restore");
    let restored = take_up_all(engine).instrument(restoring.clone()).await;
    if let Err(refusal) = &restored {
        span::failed(&restoring, refusal.code());
    }
    restored
}

async fn take_up_all(engine: &Arc<Engine>) -> Result<Restored, Refusal> {
    engine.learning.remember().await?;
    if engine.mode == Mode::Serving {
        engine.learning.remember_told().await?;
    }
    exclusion::restore(engine).await?;
    let claims = engine.store.claims().await?;
    engine.fleet.claims().restore(claims, engine.clock.boot());
    let mut restored = Restored::default();
    let mut survivors = AfterStart::default();
    let (tables, mut lost) = (Tables::default(), Vec::new());
    let on_record = engine.store.live_leases().await?;
    let leases = on_record.iter().map(|stored| &stored.lease);
    let has_assists = leases.clone().any(|lease| lease.handover == Handover::Bind);
    span::concerns(&Span::current(), leases);
    if has_assists {
        engine.leases.defer_maps();
    }
    for stored in on_record {
        let of_this_boot = stored.boot_id == engine.store.boot_id();
        let (id, state) = (stored.lease.id, end_state(&stored.lease));
        let owner_gone = stored.lease.owner.is_some() && !of_this_boot;
        let stored = rebased(engine, stored);
        let owner_before = stored.owner.clone();
        let lease = survivors.pass_on(engine, stored);
        let is_inherited = lease.owner != owner_before;
        let over = lease.name.is_none() && (owner_gone || is_over(&lease));
        engine.leases.enter_recorded(lease.clone());
        if over {
            let why = "found so at the start";
            ending::end(engine, id, state, why, |_| true).await?;
            restored.ended += 1;
            continue;
        }
        if !of_this_boot || is_inherited {
            // Its deadlines count from this boot on.
            engine.leases.change(id, |_| {}).await?;
        }
        if engine.mode == Mode::Embedded {
            put_back(engine, &lease).await?;
            restored.kept += 1;
            continue;
        }
        match guard(engine, &lease, Some(&tables)).await? {
            Found::Kept => restored.kept += 1,
            Found::Lost(intruder) => lost.push((lease, intruder)),
        }
    }
    engine.leases.drop_given();
    if has_assists {
        stock::resume(engine).await;
        assist::remove_leftovers(engine).await;
    }
    restored.lost = lost.len();
    lose_all(engine, lost).await?;
    Ok(restored)
}

/// Notes outsiders on the ports of leases whose owners are away: one look at all, and commits that reach
/// the disk together.
async fn lose_all(
    engine: &Arc<Engine>,
    lost: Vec<(Lease, Option<Outsider>)>,
) -> Result<(), Refusal> {
    let unseen = lost.iter().filter(|(_, intruder)| intruder.is_none());
    let unseen: Vec<_> = unseen.map(|(lease, _)| Arc::new(lease.clone())).collect();
    let mut found = HashMap::new();
    if !unseen.is_empty() {
        found = look::outsiders_on(unseen).await;
    }
    let noted = lost.into_iter().map(|(lease, intruder)| {
        let who = intruder.or_else(|| found.remove(&lease.id));
        lost_meanwhile(engine, lease, who)
    });
    let noted = join_all(noted).await;
    noted.into_iter().collect()
}

/// The lease as it stands in this boot: another boot's processes and deadlines are gone, and the kernel
/// may be another.
pub(in crate::engine) fn rebased(engine: &Arc<Engine>, stored: StoredLease) -> Lease {
    let StoredLease { mut lease, boot_id } = stored;
    if boot_id != engine.store.boot_id() {
        lease.claim_by = None;
        lease.expires = lease.ttl.map(|ttl| engine.clock.boot().after(ttl));
        if container::survives_reboot(&lease) {
            container::forget_process(&mut lease);
        } else {
            if lease.name.is_some() {
                lease.rest(engine.clock.now());
            }
            lease.owner = None;
        }
    }
    let gate_for_udp = can_stay_beneath(&lease.addresses);
    lease.handover = lease.handover.for_protocol(lease.protocol, gate_for_udp);
    lease.guard = Guard::None;
    lease.claim = engine.fleet.claims().of_lease(lease.id);
    lease
}

/// Notes that a name's owner is away. A command that runs for a moment can hold nothing for it.
async fn put_back(engine: &Arc<Engine>, lease: &Lease) -> Result<(), Refusal> {
    if lease
        .owner
        .as_ref()
        .is_some_and(|owner| !process::is_running(owner))
        && !outlives_owner(lease)
    {
        let now = engine.clock.now();
        engine
            .leases
            .change(lease.id, |lease| lease.rest(now))
            .await?;
    }
    Ok(())
}

/// State of the port of a lease that is guarded again.
enum Found {
    Kept,
    /// An outsider has it, perhaps the one that was seen.
    Lost(Option<Outsider>),
}

/// Guards a lease again; false if an outsider has its port.
pub(in crate::engine) async fn adopt(engine: &Arc<Engine>, lease: Lease) -> Result<bool, Refusal> {
    match guard(engine, &lease, None).await? {
        Found::Kept => Ok(true),
        Found::Lost(intruder) => {
            lose_all(engine, vec![(lease, intruder)]).await?;
            Ok(false)
        }
    }
}

/// Guards a lease again, if no outsider has its port. `tables` are those of a round over many leases.
async fn guard(
    engine: &Arc<Engine>,
    lease: &Lease,
    tables: Option<&Tables>,
) -> Result<Found, Refusal> {
    let owner_lives = lease.owner.as_ref().is_some_and(process::is_running);
    let resumed;
    let mut lease = lease;
    if lease.handover == Handover::Bind && owner_lives {
        resumed = assist::resume(engine, lease).await?;
        lease = &resumed;
    }
    let away = !owner_lives && lease.claim_by.is_none() && !outlives_owner(lease);
    let held = match lease.handover {
        Handover::Release if !away => None,
        _ => engine.leases.hold_by(lease, tables),
    };
    let intruder = match &held {
        Some(again) => Leases::fix_gate(lease, again).await,
        None => None,
    };
    watch::watch(engine, lease);
    if intruder.is_some() || (away && held.is_none()) {
        return Ok(Found::Lost(intruder));
    }
    // Its owner's listener, or the descriptors it inherited, may be the guard; of the addresses
    // that these leave alone portbook is.
    if held.is_none() && (owner_lives || lease.is_engines()) {
        if lease.handover != Handover::Release {
            engine.leases.hold_beside_owner(lease, tables);
        }
        let is_held = engine.leases.is_held(lease);
        let guard = if is_held { Guard::Hold } else { Guard::Owner };
        engine.leases.set_guard(lease, guard);
    }
    if away && lease.state != State::Reserved {
        let now = engine.clock.now();
        engine
            .leases
            .change(lease.id, |lease| lease.rest(now))
            .await?;
    }
    Ok(Found::Kept)
}

/// An outsider has the port of a lease whose owner is away. `None` if it is not known.
async fn lost_meanwhile(
    engine: &Arc<Engine>,
    lease: Lease,
    who: Option<Outsider>,
) -> Result<(), Refusal> {
    let lost = engine.leases.change(lease.id, |lease| {
        lease.state = State::Lost;
        lease.owner = None;
    });
    let lost = lost.await?;
    let outsider = Outsider {
        // Without a listener the kernel refused the bind and does not name the cause.
        while_away: true,
        ..who.unwrap_or_default()
    };
    conflict::late_conflict(engine, &lost, outsider);
    Ok(())
}

fn is_over(lease: &Lease) -> bool {
    match &lease.owner {
        Some(owner) if owner.until_reaped => {
            !process::is_running(owner) && is_given_up(lease, Protocols::Both.each())
        }
        Some(owner) => !owner.engine && !process::is_running(owner),
        // Neither owner nor time to claim it: left from another boot.
        None => lease.claim_by.is_none() && lease.expires.is_none(),
    }
}

/// Whether a lease lasts beyond its owner: until its port is free, or for the next listener of an engine.
fn outlives_owner(lease: &Lease) -> bool {
    let outlives = |owner: &Owner| owner.until_reaped || owner.engine;
    lease.owner.as_ref().is_some_and(outlives)
}

const fn end_state(lease: &Lease) -> State {
    if lease.owner.is_some() {
        State::OwnerGone
    } else {
        State::Unclaimed
    }
}
