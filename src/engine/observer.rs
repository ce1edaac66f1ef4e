//! The observer: finds listeners on leased ports. The kernel has no event for a new listener, so
//! leases that wait for one are looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::lease::{Guard, Handover, Lease, Owner, State};
use crate::engine::{
    engine::Engine, keeper::conflict, keeper::watch, leases::Leases, leases::recovered_state,
    look::Seen, look::Sight, look::look, refusal::Refusal,
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
        observe(engine).await;
    }
}

/// Looks at every lease that has been handed out: who listens there?
pub(super) async fn observe(engine: &Arc<Engine>) {
    let me = std::process::id();
    let handed = engine.leases.filtered(|lease| {
        matches!(lease.state, State::Handed | State::Active | State::Lost)
            && lease.owner.as_ref().is_none_or(|owner| owner.pid != me)
    });
    observe_these(engine, handed).await;
}

/// Looks at these leases: who listens there?
pub(super) async fn observe_these(engine: &Arc<Engine>, handed: Vec<Arc<Lease>>) {
    if handed.is_empty() {
        return;
    }
    let known = engine.leases.listeners();
    let found = tokio::task::spawn_blocking(move || look(&handed, &known)).await;
    for seen in found.unwrap_or_default() {
        let lease = Arc::clone(&seen.lease);
        if let Err(error) = note_sight(engine, seen).await {
            tracing::error!(%error, lease = %lease.id, "what was seen could not be recorded");
        }
    }
}

async fn note_sight(engine: &Arc<Engine>, seen: Seen) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(seen.lease.id).await;
    // What has changed since the look is looked at again in the next round.
    let lease = engine.leases.living(seen.lease.id);
    let Some(lease) = lease.filter(|lease| lease.revision == seen.lease.revision) else {
        return Ok(());
    };
    let lease = &*lease;
    let of_owner = matches!(seen.sight, Sight::Owner | Sight::Claimant(_));
    engine
        .leases
        .set_listeners(lease.id, of_owner.then_some(seen.inodes));
    match seen.sight {
        Sight::Free if lease.state == State::Lost => find_again(engine, lease).await?,
        Sight::Free if lease.state == State::Active => {
            // The owner lives and may listen again, as watchers do.
            engine
                .leases
                .change(lease.id, |lease| lease.state = State::Handed)
                .await?;
        }
        Sight::Owner if lease.state != State::Active => {
            let command = lease
                .owner
                .as_ref()
                .map(|owner| process::command(owner.pid));
            let active = engine.leases.change(lease.id, |lease| {
                lease.state = State::Active;
                // `run` became its program since it asked.
                if let (Some(owner), Some(Ok(command))) = (&mut lease.owner, command) {
                    owner.command = command;
                }
                if lease.guard == Guard::None {
                    lease.guard = Guard::Owner;
                }
            });
            let active = active.await?;
            engine.journal.active(&active, "the owner listens");
        }
        Sight::Claimant(owner) if lease.claim_by.is_some() => claim(engine, lease, owner).await?,
        Sight::Outsider(who) if lease.state != State::Lost => {
            conflict::lose(engine, lease, who).await?;
        }
        Sight::Free | Sight::Owner | Sight::Claimant(_) | Sight::Outsider(_) => {}
    }
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
