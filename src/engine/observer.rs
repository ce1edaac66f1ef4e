//! The observer: finds listeners on leased ports. The kernel has no event for a new listener, so
//! leases that wait for one are looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::hint::Hint;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, Owner, State};
use crate::domain::outsider::Outsider;
use crate::engine::{
    containers, elsewhere, engine::Engine, ignored, keeper::conflict, keeper::stock, keeper::watch,
    leases::Leases, leases::recovered_state, look::look, refusal::Refusal, sight::Seen,
    sight::Sight, taking::Verdict,
};
use crate::host::process;

/// Pause between two looks at unclaimed leases.
const ROUND: Duration = Duration::from_secs(1);

/// Looks once a second at leases that wait for a listener, for as long as it is polled.
pub(super) async fn run(engine: &Arc<Engine>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        // Each round of pids must be seen, by those who compare them.
        process::round_of_pids();
        stock::look(engine).await;
        observe(engine).await;
        containers::refresh_if_due(engine);
        elsewhere::look(engine).await;
    }
}

/// Looks for listeners on every lease that has been handed out, and on names whose owner went from beside
/// an outsider.
pub(super) async fn observe(engine: &Arc<Engine>) {
    let me = std::process::id();
    let handed = engine.leases.filtered(|lease| {
        let states = [State::Handed, State::Active, State::Degraded, State::Lost];
        states.contains(&lease.state) && lease.owner.as_ref().is_none_or(|owner| owner.pid != me)
    });
    let away = engine.leases.reserved_with_outsiders();
    observe_these(engine, [handed, away].concat()).await;
}

/// Looks for the listener of one lease, if its program has not been seen to listen yet.
pub(super) async fn observe_one(engine: &Arc<Engine>, id: LeaseId) {
    let lease = engine.leases.living(id);
    let waits = |lease: &Arc<Lease>| lease.state == State::Handed && lease.owner.is_some();
    if let Some(lease) = lease.filter(waits) {
        observe_these(engine, vec![lease]).await;
    }
}

/// Looks for listeners on these leases.
pub(super) async fn observe_these(engine: &Arc<Engine>, handed: Vec<Arc<Lease>>) {
    if handed.is_empty() {
        return;
    }
    let known = engine.leases.known(&handed);
    let found = tokio::task::spawn_blocking(move || look(&handed, &known)).await;
    for seen in found.unwrap_or_default() {
        let lease = Arc::clone(&seen.lease);
        if let Err(error) = note_seen(engine, seen).await {
            tracing::error!(%error, lease = %lease.id, "what was seen could not be recorded");
        }
    }
}

async fn note_seen(engine: &Arc<Engine>, seen: Seen) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(seen.lease.id).await;
    // What has changed since the look is looked at again in the next round.
    let lease = engine.leases.living(seen.lease.id);
    let Some(lease) = lease.filter(|lease| lease.revision == seen.lease.revision) else {
        return Ok(());
    };
    let is_bare = lease.state == State::Active && matches!(seen.sight, Sight::Free);
    let is_left = is_bare || !seen.outsiders.is_empty();
    if is_left && is_owner_ending(&lease) {
        // Its watch looks for what it left behind first, and must see whether it had come to its port.
        return Ok(());
    }
    let (before, verdict) = engine.leases.note_look(&seen);
    let lost = note_sight(engine, &lease, seen.sight, verdict).await?;
    conflict::tell_beside(engine, &lease, &before, &seen.outsiders, lost.as_ref());
    Ok(())
}

/// Whether the owner of a lease is gone, and its watch has not ended the lease yet.
pub(super) fn is_owner_ending(lease: &Lease) -> bool {
    let mut owner = lease.owner.iter();
    owner.any(|owner| !owner.until_reaped && !owner.engine && !process::is_running(owner))
}

/// Changes the lease as its port is seen. Returns the outsider that was told meanwhile.
async fn note_sight(
    engine: &Arc<Engine>,
    lease: &Lease,
    sight: Sight,
    verdict: Verdict,
) -> Result<Option<Outsider>, Refusal> {
    match sight {
        // Its number is another host's, whatever is on the port here.
        _ if lease.has_lost_claim() => {}
        // Its address decides when it is well again.
        _ if lease.state == State::Degraded => {}
        Sight::Free if lease.state == State::Lost => find_again(engine, lease).await?,
        Sight::Free if lease.state == State::Active => {
            // The owner lives and may listen again, as watchers do.
            let now = engine.clock.boot();
            let handed = |lease: &mut Lease| {
                lease.state = State::Handed;
                lease.listener_closed();
                lease.wait_for_engine(now);
            };
            engine.leases.change(lease.id, handed).await?;
        }
        Sight::Owner if verdict == Verdict::Ignores => {
            ignored::tell(engine, lease, Hint::sockets_wait(lease.port)).await?;
        }
        Sight::Owner if verdict == Verdict::Unsure => {}
        Sight::Owner if lease.state != State::Active => activate(engine, lease).await?,
        Sight::Claimant(owner) if lease.claim_by.is_some() || lease.is_engines() => {
            claim(engine, lease, owner).await?;
        }
        Sight::Outsider(who) if lease.state != State::Lost => {
            conflict::lose(engine, lease, who.clone()).await?;
            return Ok(Some(who));
        }
        Sight::Free | Sight::Owner | Sight::Claimant(_) | Sight::Outsider(_) => {}
    }
    Ok(None)
}

async fn activate(engine: &Arc<Engine>, lease: &Lease) -> Result<(), Refusal> {
    let owner = lease.owner.as_ref();
    let command = owner.map(|owner| process::command(owner.pid));
    let active = engine.leases.change(lease.id, |lease| {
        lease.state = State::Active;
        lease.claim_by = None;
        // `run` became its program since it asked.
        if let (Some(owner), Some(Ok(command))) = (&mut lease.owner, command) {
            owner.command = command;
        }
        if lease.guard == Guard::None {
            lease.guard = Guard::Owner;
        }
    });
    engine.journal.active(&*active.await?, "the owner listens");
    Ok(())
}

/// The outsider who had the port of a lost lease has gone. Where portbook has no hold any more,
/// the lease is ours again once it has.
pub(super) async fn find_again(engine: &Arc<Engine>, lease: &Lease) -> Result<(), Refusal> {
    let hold = engine.leases.hold_of(lease.id);
    if hold.is_none() && lease.handover != Handover::Release {
        return Ok(());
    }
    let healed = engine
        .leases
        .change(lease.id, |lease| lease.state = recovered_state(lease));
    let healed = healed.await?;
    if let Some(hold) = hold
        && let Some(who) = Leases::fix_gate(&healed, &hold).await
    {
        return conflict::lose(engine, &healed, who).await;
    }
    engine.journal.healed(&healed, "the outsider has gone");
    Ok(())
}

async fn claim(engine: &Arc<Engine>, lease: &Lease, owner: Owner) -> Result<(), Refusal> {
    let (pid, command) = (owner.pid, owner.command.clone());
    let claimed = engine.leases.change(lease.id, |lease| {
        lease.owner = Some(owner);
        lease.claim_by = None;
        lease.state = State::Active;
        if lease.guard == Guard::None {
            lease.guard = Guard::Owner;
        }
    });
    let claimed = claimed.await?;
    watch::watch(engine, &claimed);
    engine.journal.claimed(&claimed, pid, &command);
    Ok(())
}
