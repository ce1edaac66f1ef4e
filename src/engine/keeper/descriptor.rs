//! Giving an owner its sockets: the hand-over that leaves no window at all, and the only way below
//! `ip_unprivileged_port_start` for an owner without the capability.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::engine::{caller::Caller, engine::Engine, keeper::gate, refusal::Refusal};
use crate::host::hold::{Hold, Shape, inodes};

/// A lease with the sockets of its addresses, in their order.
pub type Given = (Arc<Lease>, Vec<OwnedFd>);

/// Terms on which the sockets of a lease are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Whether the caller passes them to a program that may not know of them, as `run` does.
    pub is_for_program: bool,
    /// Listeners for the addresses of a lease.
    pub shape: Shape,
}

/// Gives the sockets of a lease to its user, with the hold shut beneath. For UDP it is the hold itself
/// where that cannot stay. Portbook keeps no copy. An owner that has closed its sockets can ask again.
pub(in crate::engine) async fn give_sockets(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
    terms: Terms,
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
    if lease.has_lost_claim() {
        return Err(Refusal::PortLeased {
            port: lease.port,
            protocol: lease.protocol,
            holder: "another host of the fleet".to_owned(),
            whose: None,
        });
    }
    let hold = engine
        .leases
        .hold_of(id)
        .or_else(|| engine.leases.hold_again(&lease));
    let hold = hold.ok_or_else(|| Refusal::PortInUse {
        port: lease.port,
        attempts: Vec::new(),
    })?;
    let (sockets, guard) = if hold.stays_beneath() {
        gate::prepare(engine, &lease, &hold, terms.shape).await?;
        (hold.take_listeners(), Guard::Hold)
    } else {
        (give_hold_away(engine, id, hold)?, Guard::Owner)
    };
    let given = inodes(sockets.iter());
    engine.leases.note_given(id, given, terms.is_for_program);
    let lease = note_given(engine, &lease, guard, terms).await?;
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

/// An owner that asked for its sockets listens with them from now on. One that is not known, and a
/// program that may not take them, will be seen.
async fn note_given(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    guard: Guard,
    terms: Terms,
) -> Result<Arc<Lease>, Refusal> {
    if lease.owner.is_none() || terms.is_for_program {
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
