//! Taking holds again once the occupant has closed its socket.
//!
//! After a crash of the service an owner's listener is the guard of its lease, and while it
//! listens portbook cannot hold the port beside it. The kernel tells when sockets close; portbook
//! listens to that only while a lease waits for it, because it is told of every connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::address::BindAddress;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId};
use crate::domain::port::{Port, Protocol, Protocols};
use crate::engine::{
    engine::Engine, keeper::conflict, leases::Leases, leases::may_be_open, leases::recovered_state,
    refusal::Refusal, tables::Tables, tables::is_leftover,
};
use crate::host::closing::{Closed, ClosingSockets};
use crate::host::hold::Hold;
use crate::host::readiness::Readiness;

/// Pause between two looks at leases without a hold even if the kernel reports no closed socket: an
/// address may have come back, or an outsider's connection may have ended.
const ROUND: Duration = Duration::from_secs(10);

/// Takes holds again wherever that becomes possible, for as long as it is polled.
pub(in crate::engine) async fn run(engine: &Arc<Engine>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if !engine.leases.without_hold(wants_hold).is_empty() {
            listen_for_closings(engine).await;
        }
    }
}

/// Listens to the kernel until every lease has its hold.
async fn listen_for_closings(engine: &Arc<Engine>) {
    let news = ClosingSockets::open().and_then(|news| {
        let readiness = Readiness::of(news.descriptor()?)?;
        Ok((news, readiness))
    });
    let (news, readiness) = match news {
        Ok(news) => news,
        Err(error) => {
            tracing::debug!(%error, "no news of closing sockets: looking from time to time");
            regain(engine, &Closed::Many).await;
            return;
        }
    };
    // What closed before the socket was there is seen by looking once.
    regain(engine, &Closed::Many).await;
    while !engine.leases.without_hold(wants_hold).is_empty() {
        let heard = tokio::time::timeout(ROUND, readiness.readable()).await;
        let closed = match heard {
            Ok(_) => news.drain(),
            Err(_) => Closed::Many,
        };
        regain(engine, &closed).await;
    }
}

/// Takes the holds again that have become possible: each on a task of its own, so that they are
/// taken at once and go to the record together.
async fn regain(engine: &Arc<Engine>, closed: &Closed) {
    let (leases, tables) = match closed {
        Closed::Many => possible(engine, engine.leases.without_hold(wants_hold)).await,
        Closed::Ports(ports) => (without_hold_on(engine, ports), None),
    };
    let tasks: Vec<_> = leases
        .iter()
        .map(|lease| {
            let (engine, id, tables) = (Arc::clone(engine), lease.id, tables.clone());
            tokio::spawn(async move { regain_one(&engine, id, tables.as_deref()).await })
        })
        .collect();
    for task in tasks {
        // A task that failed has said why.
        drop(task.await);
    }
}

/// Those of which some address without a hold has no socket in the way: one look at the kernel's table in
/// place of a refused bind for each. Where it cannot be had, all of them.
async fn possible(
    engine: &Arc<Engine>,
    leases: Vec<Arc<Lease>>,
) -> (Vec<Arc<Lease>>, Option<Arc<Tables>>) {
    let tables = Arc::new(Tables::default());
    if leases.is_empty() {
        return (leases, None);
    }
    let (leases_of_round, looks, engine) =
        (leases.clone(), Arc::clone(&tables), Arc::clone(engine));
    let look = move || {
        let mut leases = leases_of_round;
        leases.retain(|lease| is_possible(&engine, lease, &looks));
        leases
    };
    // The first look reads the table, which takes long on a busy host.
    let possible = tokio::task::spawn_blocking(look).await;
    (possible.unwrap_or(leases), Some(tables))
}

fn is_possible(engine: &Engine, lease: &Lease, tables: &Tables) -> bool {
    let hold = engine.leases.hold_of(lease.id);
    let is_missing = |address: &&BindAddress| !hold.as_ref().is_some_and(|hold| hold.has(address));
    let mut missing = lease.addresses.addresses().iter().filter(is_missing);
    missing.any(|address| {
        let states = tables.states_on(std::slice::from_ref(address), lease.protocol, lease.port);
        // An owner for UDP may share its port.
        let may_share = lease.protocol == Protocol::Udp && may_be_open(lease);
        may_share || states.is_none_or(|states| states.into_iter().all(is_leftover))
    })
}

/// Returns the leases on some ports that lack a hold. The kernel reports every closed connection,
/// so this must cost as little as the report.
fn without_hold_on(engine: &Arc<Engine>, ports: &[Port]) -> Vec<Arc<Lease>> {
    let ports: BTreeSet<Port> = ports.iter().copied().collect();
    let mut leases: Vec<Arc<Lease>> = Vec::new();
    for port in ports {
        for protocol in Protocols::Both.each() {
            leases.extend(engine.leases.on_port(*protocol, port));
        }
    }
    leases.retain(|lease| wants_hold(lease) && !engine.leases.is_held(lease));
    leases
}

async fn regain_one(engine: &Arc<Engine>, id: LeaseId, tables: Option<&Tables>) {
    let _turn = engine.leases.turn(id).await;
    let Some(lease) = engine
        .leases
        .living(id)
        .filter(|lease| !engine.leases.is_held(lease))
    else {
        return;
    };
    let held_before = engine.leases.hold_of(id);
    engine.leases.hold_beside_owner(&lease, tables);
    let Some(hold) = engine.leases.hold_of(id) else {
        return;
    };
    let whole = hold.is_complete(&lease.addresses);
    if !whole || held_before.is_some_and(|before| Arc::ptr_eq(&before, &hold)) {
        return;
    }
    if let Err(error) = note_hold(engine, &lease, &hold).await {
        tracing::warn!(%error, lease = %lease.id, "held again, not recorded");
    }
}

/// Notes that a hold is back: the port is the lease's again, unless an outsider came in through its
/// gate.
async fn note_hold(engine: &Arc<Engine>, lease: &Lease, hold: &Hold) -> Result<(), Refusal> {
    if let Some(who) = Leases::fix_gate(lease, hold).await {
        return conflict::lose(engine, lease, who).await;
    }
    let guarded = engine.leases.change(lease.id, |lease| {
        lease.state = recovered_state(lease);
        lease.guard = Guard::Hold;
    });
    engine.journal.held_again(&*guarded.await?);
    Ok(())
}

/// Whether portbook itself is to guard a lease. Not its own listener, and not what is released to an
/// owner who may bind: a hold would be in its way.
fn wants_hold(lease: &Lease) -> bool {
    let mine = std::process::id();
    let in_hand = lease.owner.is_some() || lease.claim_by.is_some();
    let released = lease.handover == Handover::Release && in_hand;
    !lease.state.is_ended()
        && lease.owner.as_ref().is_none_or(|owner| owner.pid != mine)
        && !released
}
