//! Watches of owners: a pidfd becomes readable when its process is gone (`pidfd_open(2)`).

use std::sync::Arc;
use std::time::Duration;

use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::domain::port::Protocol;
use crate::engine::{
    caller::Mode, engine::Engine, heir::Family, keeper::ending, keeper::survivor,
    keeper::survivor::Inherited, retake::is_given_up,
};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// Pause between two looks for an owner that cannot be watched.
const ROUND: Duration = Duration::from_secs(1);

/// Number of ports whose leases end in one commit, before other tasks of the thread have their turn.
const AT_ONCE: usize = 16;

/// Waits until the owner of a lease and all that it left behind are gone, and then ends or parks the
/// lease.
pub(in crate::engine) fn watch(engine: &Arc<Engine>, lease: &Lease) {
    let owner = lease.owner.as_ref();
    match owner.filter(|owner| owner.until_reaped) {
        Some(owner) => watch_together(engine, lease, owner),
        None => watch_family(engine, lease, None),
    }
}

fn is_watched_by(engine: &Engine, owner: &Owner) -> bool {
    engine.mode == Mode::Serving && owner.pid != std::process::id()
}

/// Watches an owner, with its family if that is known since it inherited the lease.
fn watch_family(engine: &Arc<Engine>, lease: &Lease, family: Option<Family>) {
    let Some(owner) = lease.owner.clone() else {
        return;
    };
    if !is_watched_by(engine, &owner) {
        return;
    }
    let pidfd = engine.pidfds.of(&owner, &engine.runtime);
    // The origin is noted at once, while the owner lives: a task may begin late.
    let family = family.unwrap_or_else(|| Family::of(&owner));
    let waiting = wait_for_owner(Arc::clone(engine), lease.clone(), owner, family, pidfd);
    let spawn = || engine.runtime.spawn(waiting).abort_handle();
    engine.leases.watch(lease.id, spawn);
}

/// Watches an owner that has leases until it is reaped, on one task for all of them: a test runner has
/// hundreds.
fn watch_together(engine: &Arc<Engine>, lease: &Lease, owner: &Owner) {
    if !is_watched_by(engine, owner) || !engine.leases.share_watch(lease.id, owner) {
        return;
    }
    let pidfd = engine.pidfds.of(owner, &engine.runtime);
    let waiting = wait_until_given_up(Arc::clone(engine), lease.id, owner.clone(), pidfd);
    engine.runtime.spawn(waiting);
}

async fn wait_for_owner(
    engine: Arc<Engine>,
    lease: Lease,
    owner: Owner,
    family: Family,
    pidfd: Result<Arc<Readiness>, ProcessError>,
) {
    wait_for_end(pidfd, lease.id, &owner).await;
    let inherited = survivor::inherit(&engine, lease.id, &owner, family).await;
    engine.searches.settle();
    match inherited {
        Inherited::Nothing => {}
        Inherited::Elsewhere => return,
        Inherited::Watch(lease, family) => {
            return watch_family(&engine, &lease, Some(family));
        }
    }
    // Forgotten first: the ending stops watches, and this task must live to finish it.
    engine.leases.forget_watch(lease.id);
    engine.searches.settle();
    ending::owner_gone(&engine, lease.id, owner).await;
}

/// Ends the leases of an owner, each once the owner is reaped and its port is free. The kernel has no event
/// for either.
async fn wait_until_given_up(
    engine: Arc<Engine>,
    first: LeaseId,
    owner: Owner,
    pidfd: Result<Arc<Readiness>, ProcessError>,
) {
    wait_for_end(pidfd, first, &owner).await;
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        rounds.tick().await;
        let leases = engine.leases.sharing(&owner);
        if leases.is_empty() {
            return;
        }
        if process::is_running(&owner) {
            continue;
        }
        let granted_together = leases.chunk_by(|one, next| one.allocation == next.allocation);
        let groups: Vec<&[Arc<Lease>]> = granted_together.collect();
        for part in groups.chunks(AT_ONCE) {
            let given_up = part.iter().filter(|together| is_free(together));
            let given_up: Vec<&Arc<Lease>> = given_up.copied().flatten().collect();
            ending::owner_reaped(&engine, &given_up, &owner).await;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether nothing is on the port of leases that were granted together: an owner gives it up for all
/// protocols or for none.
fn is_free(together: &[Arc<Lease>]) -> bool {
    let protocols: Vec<Protocol> = together.iter().map(|lease| lease.protocol).collect();
    together
        .first()
        .is_some_and(|lease| is_given_up(lease, &protocols))
}

async fn wait_for_end(pidfd: Result<Arc<Readiness>, ProcessError>, lease: LeaseId, owner: &Owner) {
    match pidfd {
        Ok(pidfd) => {
            if let Err(error) = pidfd.readable_for_good().await {
                look_until_gone(&error, lease, owner).await;
            }
        }
        Err(ProcessError::Gone(_)) => {}
        Err(error) => look_until_gone(&error, lease, owner).await,
    }
}

/// Waits for the end of an owner without an event, such as if descriptors ran out.
async fn look_until_gone(error: &impl std::fmt::Display, lease: LeaseId, owner: &Owner) {
    let pid = owner.pid;
    tracing::warn!(%error, %lease, pid, "could not watch an owner; looking for it once a second");
    let mut rounds = tokio::time::interval(ROUND);
    while process::is_running(owner) {
        rounds.tick().await;
    }
}
