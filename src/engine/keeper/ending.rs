//! Endings: leases that are released, expire, stay unclaimed, or lose their owner. A name outlives its
//! owner and its time to be claimed; only a release or its own expiry ends it.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::lease::{BootTime, Handover, Lease, LeaseId, Owner, State};
use crate::engine::{
    caller::Caller,
    caller::Mode,
    engine::Engine,
    keeper::conflict,
    keeper::container,
    keeper::gate,
    keeper::stock,
    leases::Ended,
    leases::Ending,
    look,
    plan::{check_lasting, check_lifetime},
    refusal::Refusal,
};
use crate::store::StoreError;
use crate::telemetry::span;

/// Time for which a lease is kept for a listener whose process cannot be named.
const UNNAMED: Duration = Duration::from_secs(10);

/// Reason of an ending: the lease gave way to another request.
pub(in crate::engine) const GAVE_WAY: &str = "nobody used it, and it gave way to another request";

/// Reason of an ending: the owner ended, and left nothing behind.
const OWNER_GONE: &str = "its owner is gone";

/// Reason of an ending: the folder of the lease is gone.
pub(in crate::engine) const FOLDER_GONE: &str = "its folder is gone";

/// Releases a lease on behalf of its user. Its name forgets the port.
pub(in crate::engine) async fn release(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
) -> Result<(), Refusal> {
    let lease = releasable(engine, caller, id)?;
    let releasing = span::of_lease("release", &lease);
    let ending = Ending {
        state: State::Released,
        why: "released",
        forgets: true,
    };
    let released = end_as(engine, id, ending, |_| true);
    released.instrument(releasing).await
}

/// Returns a lease that the caller may release: one of its own, and not that of the service, which listens on it.
fn releasable(engine: &Engine, caller: &Caller, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
    let lease = engine.leases.of_caller(caller, id)?;
    let me = std::process::id();
    if engine.mode == Mode::Serving && lease.owner.iter().any(|owner| owner.pid == me) {
        return Err(Refusal::Forbidden(format!(
            "port {} is that of this service itself, which still listens on it: the lease ends with the service",
            lease.port
        )));
    }
    Ok(lease)
}

/// Releases a lease that its user did not ask for. Its name still knows its port.
pub(in crate::engine) async fn take_back(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
) -> Result<(), Refusal> {
    releasable(engine, caller, id)?;
    end(engine, id, State::Released, "taken back", |_| true).await
}

/// Makes a lease last for `ttl` from now on, or for its own lifetime if `ttl` is `None`.
pub(in crate::engine) async fn renew(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
    ttl: Option<Duration>,
) -> Result<Arc<Lease>, Refusal> {
    check_lasting("ttl", ttl)?;
    let lease = releasable(engine, caller, id)?;
    let Some(ttl) = ttl.or(lease.ttl) else {
        return Err(Refusal::InvalidRequest(
            "this lease has no end to put off: say how long it is to last from now on, such as 2h (ttl)".to_owned(),
        ));
    };
    if let Some(pool) = engine.settings().pools.get(&*lease.pool) {
        check_lifetime(Some(ttl), pool)?;
    }
    let renewing = span::of_lease("renew", &lease);
    let renewed = put_off(engine, id, ttl).instrument(renewing).await?;
    engine.journal.renewed(&renewed, ttl);
    Ok(renewed)
}

async fn put_off(engine: &Engine, id: LeaseId, ttl: Duration) -> Result<Arc<Lease>, Refusal> {
    let _turn = engine.leases.turn(id).await;
    let until = engine.clock.boot().after(ttl);
    let renewed = engine.leases.change(id, |lease| {
        lease.expires = Some(until);
        lease.ttl = Some(ttl);
    });
    renewed.await
}

/// Ends a lease, unless `still` denies it of the lease as it is in its turn. Its name, if it has one,
/// still knows its port.
pub(in crate::engine) async fn end(
    engine: &Arc<Engine>,
    id: LeaseId,
    state: State,
    why: &'static str,
    still: impl FnOnce(&Lease) -> bool + Send + 'static,
) -> Result<(), Refusal> {
    let ending = Ending {
        state,
        why,
        forgets: false,
    };
    end_as(engine, id, ending, still).await
}

/// Ends a lease on a task of its own: a client may hang up halfway, but no lease ends halfway.
async fn end_as(
    engine: &Arc<Engine>,
    id: LeaseId,
    ending: Ending,
    still: impl FnOnce(&Lease) -> bool + Send + 'static,
) -> Result<(), Refusal> {
    let engine = Arc::clone(engine);
    let task = async move {
        if let Some(ended) = engine.leases.end(id, ending, still).await? {
            report(&engine, ended);
        }
        Ok(())
    };
    let ended = tokio::spawn(task.in_current_span()).await;
    ended.unwrap_or(Err(Refusal::Store(StoreError::Closed)))
}

/// Tells history, waiting requests and the journal of an ended lease.
pub(in crate::engine) fn report(engine: &Engine, ended: Ended) {
    let Ended {
        lease,
        why,
        outsider,
    } = ended;
    engine.learning.released(&lease);
    engine.leases.notify_freed();
    if let Some(outsider) = outsider {
        conflict::late_conflict(engine, &lease, outsider);
    }
    let is_early = [FOLDER_GONE, GAVE_WAY].contains(&why);
    engine.journal.ended(&lease, why, is_early);
}

/// Ends or parks a lease of which a deadline has passed.
pub(in crate::engine) async fn time_is_up(
    engine: &Arc<Engine>,
    lease: &Lease,
    now: BootTime,
) -> Result<(), Refusal> {
    let up = move |deadline: Option<BootTime>| deadline.is_some_and(|at| at <= now);
    if up(lease.expires) {
        let still = move |lease: &Lease| up(lease.expires);
        return end(engine, lease.id, State::Expired, "its time was up", still).await;
    }
    if !up(lease.claim_by) {
        return Ok(());
    }
    if look::has_unnamed_listener(lease).await {
        let (id, port) = (lease.id, lease.port);
        tracing::info!(lease = %id, %port, "lease stays: a listener of its user is on its port, but no process can be named");
        engine.leases.postpone(id, now, UNNAMED);
        return Ok(());
    }
    let still = move |lease: &Lease| up(lease.claim_by);
    if lease.is_engines() {
        return match lease.name {
            Some(_) => container::wait_on(engine, lease.id).await,
            None => end(engine, lease.id, State::OwnerGone, OWNER_GONE, still).await,
        };
    }
    let why = "nobody came to listen";
    match lease.name {
        Some(_) => gate::park(engine, lease.id, why, still).await,
        None => end(engine, lease.id, State::Unclaimed, why, still).await,
    }
}

/// Tells of a program that ended soon after its start and was not seen to listen, or may not have taken
/// its sockets: it may bind in a way that no gate lets through.
fn tell_early_end(engine: &Engine, lease: &Lease, owner: &Owner) {
    let is_served = match lease.handover {
        Handover::Gate | Handover::Bind => lease.state != State::Handed,
        Handover::Fd => false,
        Handover::Release => true,
    };
    if is_served || owner.until_reaped || lease.is_spare() {
        return;
    }
    if let Some(hint) = engine.leases.note_end(lease, owner) {
        engine.journal.hinted(lease, &hint);
    }
}

/// Ends an unnamed lease whose owner has gone, or parks a named one until the owner returns.
pub(in crate::engine) async fn owner_gone(engine: &Arc<Engine>, id: LeaseId, owner: Owner) {
    if engine
        .leases
        .living(id)
        .is_some_and(|lease| lease.is_spare())
    {
        // It may have been taken since the last round.
        stock::settle(engine).await;
    }
    let Some(lease) = engine.leases.living(id) else {
        return;
    };
    if owner.engine {
        return container::listener_gone(engine, id, owner).await;
    }
    tell_early_end(engine, &lease, &owner);
    let still = move |lease: &Lease| lease.owner.as_ref().is_some_and(|now| now.is(&owner));
    let parting = span::of_lease("owner_gone", &lease);
    let done = async {
        match lease.name {
            Some(_) => gate::park(engine, id, "its owner is away", still).await,
            None => end(engine, id, State::OwnerGone, OWNER_GONE, still).await,
        }
    };
    if let Err(error) = done.instrument(parting).await {
        tell_unrecorded(&error, &lease);
    }
}

fn tell_unrecorded(error: &Refusal, lease: &Lease) {
    // At a shut-down the record closes first; the next start sees that the owner is gone.
    if matches!(
        error,
        Refusal::NotFound | Refusal::Store(StoreError::Closed)
    ) {
        return;
    }
    let (id, port) = (lease.id, lease.port);
    tracing::error!(
        %error, lease = %id, %port,
        "could not record that an owner is gone; the next start finds it out"
    );
}

/// Ends unnamed leases of an owner that is gone, in one commit.
pub(in crate::engine) async fn owner_reaped(
    engine: &Engine,
    leases: &[&Arc<Lease>],
    owner: &Owner,
) {
    let Some(first) = leases.first() else { return };
    let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    let ending = Ending {
        state: State::OwnerGone,
        why: OWNER_GONE,
        forgets: false,
    };
    let still = |lease: &Lease| lease.owner.as_ref().is_some_and(|now| now.is(owner));
    let parting = span::of_lease("owner_gone", first);
    let ended = engine.leases.end_together(&ids, ending, still);
    match ended.instrument(parting).await {
        Ok(ended) => ended.into_iter().for_each(|ended| report(engine, ended)),
        Err(error) => tell_unrecorded(&error, first),
    }
}
