//! Programs at work: whether the program of a lease runs, and the wait for the dying rest of the last
//! run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;

use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::engine::{engine::Engine, look::listeners_of, observer, whose::is_of_program};
use crate::host::occupancy::processes_of;
use crate::host::process;
use crate::host::readiness::Readiness;

/// Maximum wait for the dying rest of the last run. Workers notice within a second that their master
/// is gone.
const LONGEST: Duration = Duration::from_secs(2);

/// Whether the program of a lease runs. Survivors of a program that have not come to its port do not
/// count: the next run takes its place.
pub(super) fn is_at_work(lease: &Lease) -> bool {
    let is_to_come = lease.claim_by.is_some();
    lease
        .owner
        .as_ref()
        .is_some_and(|owner| process::is_running(owner) && !(owner.inherited && is_to_come))
}

/// Waits until the rest of the last run has left the port of these leases: processes that are dying,
/// or that the last program left behind. Gives up after two seconds: the port is taken then.
pub(super) async fn wait_for_rest(engine: &Arc<Engine>, leases: &[Arc<Lease>]) {
    let mut waited = false;
    let all_gone = async {
        // A port that is parked was looked at when its gate was shut.
        for lease in leases.iter().filter(|lease| !lease.is_idle()) {
            wait_for_heir(engine, lease.id).await;
            while let Some(ends) = rest_on(engine, lease).await {
                waited = true;
                drop(select_all(ends.iter().map(|end| end.readable().boxed())).await);
            }
        }
    };
    // A rest that stays is an owner that lives, or an outsider, for those who ask next.
    let _ = tokio::time::timeout(LONGEST, all_gone).await;
    if waited {
        // A lease that was lost to them is found again.
        observer::observe_these(engine, leases.to_vec()).await;
    }
}

/// Waits until the watch of an owner that has ended has found the heir of the lease, or that there is none.
/// A worker that wrote over its mark is known by nothing else once its master is gone.
async fn wait_for_heir(engine: &Engine, id: LeaseId) {
    let is_sought = || {
        let mut lease = engine.leases.living(id).into_iter();
        engine.leases.is_watched(id) && lease.any(|lease| observer::is_owner_ending(&lease))
    };
    loop {
        let mut settled = std::pin::pin!(engine.searches.settled());
        // From here on none is missed.
        settled.as_mut().enable();
        if !is_sought() {
            return;
        }
        settled.await;
    }
}

/// Descriptors that tell the ends of the processes that are left on the port. `None` without any.
async fn rest_on(engine: &Arc<Engine>, lease: &Arc<Lease>) -> Option<Vec<Readiness>> {
    let own = engine.leases.own_sockets(lease.protocol, lease.port);
    let lease = engine.leases.living(lease.id)?;
    let looked = tokio::task::spawn_blocking(move || rest_of(&lease, &own)).await;
    let owners = looked.ok()?.into_iter();
    let ends = owners.filter_map(|owner| Readiness::of(process::pidfd(&owner).ok()?).ok());
    let ends: Vec<Readiness> = ends.collect();
    (!ends.is_empty()).then_some(ends)
}

fn rest_of(lease: &Lease, own: &HashSet<u64>) -> Vec<Owner> {
    let dying_owner = lease
        .owner
        .iter()
        .filter(|owner| process::is_dying(owner.pid));
    let mut rest: Vec<Owner> = dying_owner.cloned().collect();
    let listeners = listeners_of(lease).unwrap_or_default();
    let others = listeners.iter().filter(|entry| !own.contains(&entry.inode));
    let lives = lease
        .owner
        .as_ref()
        .is_some_and(|owner| process::is_running(owner) && !owner.inherited);
    let is_rest = |pid: &u32| process::is_dying(*pid) || (!lives && is_of_program(*pid, lease));
    let processes = processes_of(others).into_values().flatten();
    let me = std::process::id();
    let pids: HashSet<u32> = processes.map(|process| process.pid).collect();
    let pids = pids.into_iter().filter(|pid| *pid != me && is_rest(pid));
    rest.extend(pids.filter_map(|pid| process::owner(pid).ok()));
    rest
}
