//! Late conflicts: an outsider on a port that is leased.

use crate::domain::lease::{Lease, State};
use crate::domain::outsider::Outsider;
use crate::engine::{engine::Engine, refusal::Refusal, sight::Found};

/// Notes that an outsider has the port of a lease: the lease is lost.
pub(in crate::engine) async fn lose(
    engine: &Engine,
    lease: &Lease,
    outsider: Outsider,
) -> Result<(), Refusal> {
    let lost = engine
        .leases
        .change(lease.id, |lease| lease.state = State::Lost);
    late_conflict(engine, &*lost.await?, outsider);
    Ok(())
}

/// Tells history and the journal of an outsider on a leased port, unless the service told of it before its restart.
pub(in crate::engine) fn late_conflict(engine: &Engine, lease: &Lease, outsider: Outsider) {
    if engine.learning.was_told_before(lease.id, &outsider) {
        return;
    }
    engine.learning.late_conflict(lease, &outsider);
    engine.journal.late_conflict(lease, outsider);
}

/// Tells of the outsiders that a look found and the look before it did not, except for one that was
/// told when the lease was lost to it. Tells too when the last of them has left an owner that listens.
pub(in crate::engine) fn tell_beside(
    engine: &Engine,
    lease: &Lease,
    before: &[Found],
    found: &[Found],
    told: Option<&Outsider>,
) {
    let is_told = |new: &Found| {
        let same = |one: &Outsider| one.occupant == new.outsider.occupant;
        told.is_some_and(same) || before.iter().any(|found| same(&found.outsider))
    };
    for new in found.iter().filter(|new| !is_told(new)) {
        late_conflict(engine, lease, new.outsider.clone());
    }
    if found.is_empty() && !before.is_empty() && lease.state == State::Active {
        engine.journal.healed(lease, "the outsider has gone");
    }
}
