//! Watching owners: a pidfd becomes readable when its process is gone (`pidfd_open(2)`).

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::retake::is_given_up;
use crate::domain::lease::{Lease, LeaseId, Owner};
use crate::domain::port::{Protocol, Protocols};
use crate::engine::caller::Mode;
use crate::engine::service::{Service, lock};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// How often an owner is looked for that cannot be watched.
const ROUND: Duration = Duration::from_secs(1);

impl Service {
    /// Waits on a task of its own for the owner of a lease to go.
    pub(in crate::engine) fn watch(&self, lease: &Lease) {
        let Some(owner) = lease.owner.clone() else {
            return;
        };
        if self.mode == Mode::Embedded || owner.pid == std::process::id() {
            return;
        }
        let (service, lease, id) = (self.clone(), lease.clone(), lease.id);
        let pidfd = process::pidfd(&owner);
        // Under the lock, so that a task that ends at once finds itself on the list.
        let mut watches = lock(&self.watches);
        let task = self.runtime.spawn(async move {
            match pidfd {
                Ok(pidfd) => wait_for_end(pidfd, &owner).await,
                Err(ProcessError::Gone(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "an owner cannot be watched; it is looked for instead");
                    look_until_gone(&owner).await;
                }
            }
            if owner.until_reaped {
                until_given_up(&lease, &owner, &service).await;
            }
            service.done_watching(id, owner).await;
        });
        let earlier = watches.insert(id, task.abort_handle());
        drop(watches);
        if let Some(earlier) = earlier {
            earlier.abort();
        }
    }

    async fn done_watching(&self, id: LeaseId, owner: Owner) {
        // Off the list first: `owner_gone` stops watches, and this task must live to finish it.
        lock(&self.watches).remove(&id);
        self.owner_gone(id, owner).await;
    }

    /// Stops waiting.
    pub(in crate::engine) fn unwatch(&self, id: LeaseId) {
        let watch = lock(&self.watches).remove(&id);
        if let Some(watch) = watch {
            watch.abort();
        }
    }
}

/// For an owner that owns until it is reaped: until it is, and its port is free. For neither has the
/// kernel an event.
async fn until_given_up(lease: &Lease, owner: &Owner, service: &Service) {
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        let protocols = still_leased(lease, service);
        if !process::is_running(owner) && is_given_up(lease, &protocols, service.clock()) {
            return;
        }
        rounds.tick().await;
    }
}

/// The protocols that leases of one allocation still keep the port for: the port is given up for all
/// of them or for none.
fn still_leased(lease: &Lease, service: &Service) -> Vec<Protocol> {
    let protocols = Protocols::Both.each().iter().copied();
    let granted_together = |protocol: &Protocol| {
        let leases = service.leases_on(*protocol, lease.port);
        leases
            .iter()
            .any(|other| other.allocation == lease.allocation)
    };
    protocols.filter(granted_together).collect()
}

async fn wait_for_end(pidfd: OwnedFd, owner: &Owner) {
    let heard = match Readiness::of(pidfd) {
        Ok(pidfd) => pidfd.readable().await,
        Err(error) => Err(error),
    };
    if let Err(error) = heard {
        tracing::warn!(%error, "an owner cannot be watched; it is looked for instead");
        look_until_gone(owner).await;
    }
}

/// Where descriptors ran out there is no event to wait for; an owner is not gone for all that.
async fn look_until_gone(owner: &Owner) {
    let mut rounds = tokio::time::interval(ROUND);
    while process::is_running(owner) {
        rounds.tick().await;
    }
}
