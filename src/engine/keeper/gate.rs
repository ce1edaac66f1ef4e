//! Hand-overs: letting an owner in, and keeping a name's port while its owner is away.

use std::sync::Arc;

use crate::domain::attempt::{Attempt, Occupant};
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::engine::{
    caller::Caller, caller::Mode, engine::Engine, keeper::assist, keeper::conflict, leases::Leases,
    look, refusal::Refusal,
};
use crate::host::hold::{Hold, Shape};

/// Lets the owner in: opens the gate, closes the hold, or makes the sockets that the owner will be
/// given, depending on the lease's hand-over. Returns a note if that is not the one it was to be; a `strict`
/// request is refused then.
pub(in crate::engine) async fn hand_over(
    engine: &Arc<Engine>,
    lease: &Lease,
    strict: bool,
) -> Result<Option<String>, Refusal> {
    let leases = &engine.leases;
    if lease.handover != Handover::Bind {
        // It may have been another one for the last program.
        leases.drop_assist(lease.id).await;
    }
    if lease.handover == Handover::Release {
        leases.let_go(lease).await;
        return Ok(None);
    }
    if engine.mode == Mode::Embedded && lease.owner.is_none() {
        // This command becomes no program, so no hold outlives it.
        return Ok(None);
    }
    let hold = leases.hold_of(lease.id);
    let Some(hold) = hold.or_else(|| leases.hold_again(lease)) else {
        return without_hold(lease);
    };
    let done = match lease.handover {
        Handover::Bind => return assist::let_in_again(engine, lease, &hold, strict).await,
        Handover::Fd => prepare(engine, lease, &hold, Shape::default()).await,
        _ => hold.open_gate().map_err(|source| Refusal::BindFailed {
            address: format!("port {}", lease.port),
            source,
        }),
    };
    done.map(|()| None)
}

/// Lets the owner come to a port that is in use, perhaps by a socket of its own. One with a mapping is refused: it
/// would be given a port that it cannot have.
fn without_hold(lease: &Lease) -> Result<Option<String>, Refusal> {
    match lease.mapped_from() {
        None => Ok(None),
        Some(_) => Err(Refusal::PortInUse {
            port: lease.port,
            attempts: Vec::new(),
        }),
    }
}

/// Makes the listeners that the owner of a lease will be given, unless they wait already, or it will be
/// given the hold itself.
pub(super) async fn prepare(
    engine: &Arc<Engine>,
    lease: &Lease,
    hold: &Hold,
    shape: Shape,
) -> Result<(), Refusal> {
    if !hold.stays_beneath() || hold.has_listeners(shape) {
        return Ok(());
    }
    let Err(mut attempt) = hold.prepare_listeners(&engine.clock, shape) else {
        return Ok(());
    };
    attempt.occupant = occupant_of(engine, &attempt).await;
    if let Some(occupant) = &mut attempt.occupant {
        occupant.veil(|uid| Caller::user(lease.uid).may_act_for(uid));
    }
    Err(Refusal::PortInUse {
        port: lease.port,
        attempts: vec![*attempt],
    })
}

/// Looks up the occupant that refused an attempt.
pub(in crate::engine) async fn occupant_of(
    engine: &Arc<Engine>,
    attempt: &Attempt,
) -> Option<Occupant> {
    engine.learning.occupants().of(attempt).await
}

/// Keeps a name's port while its owner is away: held, with its gate shut. Does nothing if `still`
/// denies it of the lease as it is in its turn.
pub(super) async fn park(
    engine: &Engine,
    id: LeaseId,
    why: &str,
    still: impl FnOnce(&Lease) -> bool,
) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    if still(&lease) {
        park_in_turn(engine, &lease, why).await
    } else {
        Ok(())
    }
}

async fn park_in_turn(engine: &Engine, lease: &Lease, why: &str) -> Result<(), Refusal> {
    let leases = &engine.leases;
    leases.unwatch(lease.id);
    let hold = leases.hold_of(lease.id);
    let hold = hold.or_else(|| leases.hold_again(lease));
    let outsider = match &hold {
        Some(hold) => Leases::shut(lease, hold).await,
        None => look::outsider_on(lease).await,
    };
    // To shut the gate opens it for a moment, in which the guard keeps others out.
    leases.drop_assist(lease.id).await;
    let now = engine.clock.now();
    let changed = leases.change(lease.id, |lease| {
        lease.rest(now);
        if outsider.is_some() {
            lease.state = State::Lost;
        }
        lease.guard = if hold.is_some() {
            Guard::Hold
        } else {
            Guard::None
        };
        lease.claim_by = None;
    });
    let changed: Arc<Lease> = changed.await?;
    match outsider {
        Some(outsider) => conflict::late_conflict(engine, &changed, outsider),
        None => engine.journal.parked(&changed, why),
    }
    Ok(())
}
