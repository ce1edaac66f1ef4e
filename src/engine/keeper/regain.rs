//! Taking holds again once the occupant has closed its socket.
//!
//! After a crash of the service an owner's listener is the guard of its lease, and while it
//! listens portbook cannot hold the port beside it. The kernel tells when sockets close; portbook
//! listens to that only while a lease waits for it, because it is told of every connection.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::address::BindAddress;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId};
use crate::domain::port::{Port, Protocol};
use crate::engine::{
    engine::Engine, keeper::conflict, leases::Leases, leases::recovered_state, refusal::Refusal,
};
use crate::host::closing::{Closed, ClosingSockets};
use crate::host::hold::Hold;
use crate::host::occupancy::{Entry, Occupancy};
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
    let leases = match closed {
        Closed::Many => not_listened_on(engine, engine.leases.without_hold(wants_hold)).await,
        Closed::Ports(ports) => without_hold_on(engine, ports),
    };
    let tasks: Vec<_> = leases
        .iter()
        .map(|lease| {
            let (engine, id) = (Arc::clone(engine), lease.id);
            tokio::spawn(async move { regain_one(&engine, id).await })
        })
        .collect();
    for task in tasks {
        // A task that failed has said why.
        drop(task.await);
    }
}

/// Those of which some address without a hold has no listener: one look at the kernel's listeners
/// in place of a refused bind for each. Where it cannot be had, all of them.
async fn not_listened_on(engine: &Arc<Engine>, mut leases: Vec<Arc<Lease>>) -> Vec<Arc<Lease>> {
    let look = tokio::task::spawn_blocking(Occupancy::listeners).await;
    let Ok(Ok(listeners)) = look else {
        return leases;
    };
    let mut by_port: HashMap<Port, Vec<Entry>> = HashMap::new();
    for entry in listeners {
        by_port.entry(entry.port).or_default().push(entry);
    }
    leases.retain(|lease| {
        let hold = engine.leases.hold_of(lease.id);
        let on_port = by_port.get(&lease.port);
        let listened_on = |address: &BindAddress| {
            on_port.is_some_and(|entries| entries.iter().any(|entry| entry.overlaps(address)))
        };
        let addresses = lease.addresses.addresses().iter();
        let mut missing =
            addresses.filter(|address| !hold.as_ref().is_some_and(|hold| hold.has(address)));
        missing.any(|address| !listened_on(address))
    });
    leases
}

/// Returns the leases on some ports that lack a hold. The kernel reports every closed connection,
/// so this must cost as little as the report.
fn without_hold_on(engine: &Arc<Engine>, ports: &[Port]) -> Vec<Arc<Lease>> {
    let ports: BTreeSet<Port> = ports.iter().copied().collect();
    let mut leases: Vec<Arc<Lease>> = Vec::new();
    for port in ports {
        leases.extend(engine.leases.on_port(Protocol::Tcp, port));
    }
    leases.retain(|lease| wants_hold(lease) && !engine.leases.is_held(lease));
    leases
}

async fn regain_one(engine: &Arc<Engine>, id: LeaseId) {
    let _turn = engine.leases.turn(id).await;
    let Some(lease) = engine
        .leases
        .living(id)
        .filter(|lease| !engine.leases.is_held(lease))
    else {
        return;
    };
    let held_before = engine.leases.hold_of(id);
    engine.leases.hold_beside_owner(&lease);
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
        && lease.protocol == Protocol::Tcp
        && lease.owner.as_ref().is_none_or(|owner| owner.pid != mine)
        && !released
}
