//! Late conflicts: an outsider on a port that is leased.

use crate::domain::attempt::Occupant;
use crate::domain::lease::{Lease, State};
use crate::domain::outsider::Outsider;
use crate::engine::{engine::Engine, refusal::Refusal};

/// Notes that an outsider has the port of a lease: the lease is lost.
pub(in crate::engine) async fn lose(
    engine: &Engine,
    lease: &Lease,
    outsider: Occupant,
) -> Result<(), Refusal> {
    let lost = engine
        .leases
        .change(lease.id, |lease| lease.state = State::Lost);
    late_conflict(engine, &*lost.await?, outsider);
    Ok(())
}

/// Tells history and the journal of an outsider on a leased port.
pub(in crate::engine) fn late_conflict(
    engine: &Engine,
    lease: &Lease,
    outsider: impl Into<Outsider>,
) {
    let outsider = outsider.into();
    engine.learning.late_conflict(lease, &outsider);
    engine.journal.late_conflict(lease, outsider);
}
