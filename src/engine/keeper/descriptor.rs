//! Giving an owner its sockets: the hand-over that leaves no window at all, and the only way below
//! `ip_unprivileged_port_start` for an owner without the capability.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::engine::{caller::Caller, engine::Engine, keeper::gate, refusal::Refusal};
use crate::host::hold::Hold;

/// A lease with the sockets of its addresses, in their order.
pub type Given = (Arc<Lease>, Vec<OwnedFd>);

/// Gives the sockets of a lease to its user: listeners for TCP, with the hold shut beneath; for
/// UDP the held sockets themselves. Portbook keeps no copy. An owner that has closed its
/// sockets can ask again.
pub(in crate::engine) async fn give_sockets(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
) -> Result<Given, Refusal> {
    engine.leases.of_caller(caller, id)?;
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    if lease.handover != Handover::Fd {
        let how = lease.handover.as_str();
        return Err(Refusal::InvalidRequest(format!(
            "port {} is handed over by {how}: ask for it with handover fd to be given sockets",
            lease.port
        )));
    }
    let hold = engine
        .leases
        .hold_of(id)
        .or_else(|| engine.leases.hold_again(&lease));
    let hold = hold.ok_or_else(|| Refusal::PortInUse {
        port: lease.port,
        attempts: Vec::new(),
    })?;
    let (sockets, guard) = if lease.protocol.has_no_listeners() {
        (give_hold_away(engine, id, hold)?, Guard::Owner)
    } else {
        gate::prepare(engine, &lease, &hold).await?;
        (hold.take_listeners(), Guard::Hold)
    };
    let lease = note_given(engine, &lease, guard).await?;
    Ok((lease, sockets))
}

fn give_hold_away(
    engine: &Arc<Engine>,
    id: LeaseId,
    hold: Arc<Hold>,
) -> Result<Vec<OwnedFd>, Refusal> {
    let copies = hold.descriptors().map(|socket| socket.try_clone_to_owned());
    let copies: Result<Vec<OwnedFd>, _> = copies.collect();
    let copies = copies.map_err(|source| Refusal::BindFailed {
        address: format!("port {}", hold.port()),
        source,
    })?;
    drop(engine.leases.take_hold(id));
    drop(hold);
    Ok(copies)
}

/// An owner that is known has what it listens with from now on; one that is not will be seen.
async fn note_given(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    guard: Guard,
) -> Result<Arc<Lease>, Refusal> {
    if lease.owner.is_none() {
        engine.leases.set_guard(lease, guard);
        return Ok(Arc::clone(lease));
    }
    let active = engine.leases.change(lease.id, |lease| {
        lease.state = State::Active;
        lease.guard = guard;
    });
    let active = active.await?;
    engine
        .journal
        .active(&active, "the owner was given its sockets");
    Ok(active)
}
