//! Leases of container engines. Their listeners come and go: a container that restarts has a new proxy
//! each time, and asks no one before. So the gate stays open while the name lives.

use crate::domain::lease::{Lease, LeaseId, Owner, State};
use crate::engine::{engine::Engine, refusal::Refusal};
use crate::store::StoreError;

/// Whether an engine comes back to the lease after a reboot.
pub(super) fn survives_reboot(lease: &Lease) -> bool {
    lease.name.is_some() && lease.is_engines()
}

/// Notes that the last listener of an engine was of another boot, in which pids and times began anew.
pub(super) fn forget_process(lease: &mut Lease) {
    lease.state = State::Handed;
    if let Some(owner) = &mut lease.owner {
        // No process but the kernel's own starts at tick 0.
        owner.start_ticks = 0;
    }
}

/// Notes that a listener of an engine is gone. The observer finds the next one.
pub(super) async fn listener_gone(engine: &Engine, id: LeaseId, owner: Owner) {
    match note_gone(engine, id, &owner).await {
        Ok(()) | Err(Refusal::NotFound | Refusal::Store(StoreError::Closed)) => {}
        Err(error) => {
            tracing::error!(%error, lease = %id, "could not record that a container's listener is gone");
        }
    }
}

async fn note_gone(engine: &Engine, id: LeaseId, gone: &Owner) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).ok_or(Refusal::NotFound)?;
    let is_its = lease.owner.as_ref().is_some_and(|owner| owner.is(gone));
    let is_waited_for = lease.name.is_some() || lease.claim_by.is_some();
    if !is_its || (lease.state == State::Handed && is_waited_for) {
        return Ok(());
    }
    let now = engine.clock.boot();
    let changed = engine.leases.change(id, |lease| {
        if lease.state == State::Active {
            lease.state = State::Handed;
            lease.listener_closed();
        }
        lease.wait_for_engine(now);
    });
    changed.await.map(drop)
}

/// Notes that no listener came for a name within the time to claim it: its engine may still come.
pub(super) async fn wait_on(engine: &Engine, id: LeaseId) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(id).await;
    let waiting = engine.leases.change(id, |lease| lease.claim_by = None);
    waiting.await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::ENGINE_RETURNS;
    use crate::domain::request::Request;
    use crate::engine::caller::Caller;
    use crate::engine::keeper::deadline;
    use crate::engine::keeper::tests::{Place, named, place};
    use crate::host::process;

    /// A lease whose engine listened, and does not any more.
    async fn left_by_engine(place: &Place, request: &Request) -> LeaseId {
        let granted = place.service.allocate(&Caller::user(1000), request).await;
        let id = granted.unwrap().leases[0].id;
        let mut owner = process::owner(std::process::id()).unwrap();
        // Another process has the pid by now.
        (owner.engine, owner.start_ticks) = (true, 0);
        let now = place.clock.boot();
        let left = place.service.0.leases.change(id, |lease| {
            (lease.owner, lease.state, lease.claim_by) = (Some(owner), State::Handed, None);
            lease.wait_for_engine(now);
        });
        left.await.unwrap();
        id
    }

    #[tokio::test]
    async fn only_an_unnamed_lease_of_an_engine_ends_by_itself() {
        let place = place().await;
        let unnamed = left_by_engine(&place, &Request::default()).await;
        let web = left_by_engine(&place, &named("web")).await;
        place.clock.advance(ENGINE_RETURNS / 2);
        deadline::act(&place.service.0).await;
        assert_eq!(place.state(unnamed), Some(State::Handed));
        place.clock.advance(ENGINE_RETURNS);
        deadline::act(&place.service.0).await;
        assert_eq!(place.state(unnamed), None);
        assert_eq!(place.state(web), Some(State::Handed));
        let hold = place.service.0.leases.hold_of(web).unwrap();
        assert!(hold.is_open().unwrap());
    }
}
