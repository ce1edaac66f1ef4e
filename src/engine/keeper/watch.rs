//! Watches of owners: a pidfd becomes readable when its process is gone (`pidfd_open(2)`).

use std::sync::Arc;
use std::time::Duration;

use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::domain::port::{Protocol, Protocols};
use crate::engine::{
    caller::Mode, engine::Engine, heir::Family, keeper::ending, keeper::survivor,
    keeper::survivor::Inherited, leases::Leases, retake::is_given_up,
};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// Pause between two looks for an owner that cannot be watched.
const ROUND: Duration = Duration::from_secs(1);

/// Waits on a task of its own until the owner of a lease and all that it left behind are gone, and
/// then ends or parks the lease.
pub(in crate::engine) fn watch(engine: &Arc<Engine>, lease: &Lease) {
    watch_family(engine, lease, None);
}

/// Watches an owner whose family is known, since it inherited the lease.
fn watch_family(engine: &Arc<Engine>, lease: &Lease, family: Option<Family>) {
    let Some(owner) = lease.owner.clone() else {
        return;
    };
    if engine.mode == Mode::Embedded || owner.pid == std::process::id() {
        return;
    }
    let pidfd = engine.pidfds.of(&owner, &engine.runtime);
    // The origin is noted at once, while the owner lives: a task may begin late. Leases of a port server
    // have no heirs.
    let family = family.or_else(|| (!owner.until_reaped).then(|| Family::of(&owner)));
    let waiting = wait_for_owner(Arc::clone(engine), lease.clone(), owner, family, pidfd);
    let spawn = || engine.runtime.spawn(waiting).abort_handle();
    engine.leases.watch(lease.id, spawn);
}

async fn wait_for_owner(
    engine: Arc<Engine>,
    lease: Lease,
    owner: Owner,
    family: Option<Family>,
    pidfd: Result<Arc<Readiness>, ProcessError>,
) {
    match pidfd {
        Ok(pidfd) => wait_for_end(&pidfd, lease.id, &owner).await,
        Err(ProcessError::Gone(_)) => {}
        Err(error) => look_until_gone(&error, lease.id, &owner).await,
    }
    if owner.until_reaped {
        until_given_up(&engine, &lease, &owner).await;
    } else if let Some(family) = family {
        let inherited = survivor::inherit(&engine, lease.id, &owner, family).await;
        engine.searches.settle();
        match inherited {
            Inherited::Nothing => {}
            Inherited::Elsewhere => return,
            Inherited::Watch(lease, family) => {
                return watch_family(&engine, &lease, Some(family));
            }
        }
    }
    // Forgotten first: the ending stops watches, and this task must live to finish it.
    engine.leases.forget_watch(lease.id);
    engine.searches.settle();
    ending::owner_gone(&engine, lease.id, owner).await;
}

/// Waits until a port-server owner is reaped and its port is free. The kernel has no event for
/// either.
async fn until_given_up(engine: &Engine, lease: &Lease, owner: &Owner) {
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        let protocols = still_leased(&engine.leases, lease);
        if !process::is_running(owner) && is_given_up(lease, &protocols, &engine.clock) {
            return;
        }
        rounds.tick().await;
    }
}

/// Returns the protocols for which leases of one allocation still keep the port: the owner gives it
/// up for all of them or for none.
fn still_leased(leases: &Leases, lease: &Lease) -> Vec<Protocol> {
    let protocols = Protocols::Both.each().iter().copied();
    let granted_together = |protocol: &Protocol| {
        let on_port = leases.on_port(*protocol, lease.port);
        on_port
            .iter()
            .any(|other| other.allocation == lease.allocation)
    };
    protocols.filter(granted_together).collect()
}

async fn wait_for_end(pidfd: &Readiness, lease: LeaseId, owner: &Owner) {
    if let Err(error) = pidfd.readable_for_good().await {
        look_until_gone(&error, lease, owner).await;
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
