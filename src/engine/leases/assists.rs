//! Leases that are handed over by `bind`: the cgroups of their programs, and the guard in the kernel that lets
//! these alone in through the open gates.

use std::io;
use std::sync::Arc;

use super::Leases;
use crate::domain::lease::{Lease, LeaseId};
use crate::host::bpf::{Folder, Guard, Permit};

/// The cgroup of the program of one lease, and the permit for it.
#[derive(Debug)]
pub(super) struct Assisted {
    folder: Arc<Folder>,
    permit: Permit,
}

/// A lease whose port is guarded. Dropped before it is kept, it takes the guard away again: the grant failed, or
/// its client hung up.
#[derive(Debug)]
pub(in crate::engine) struct Assist {
    leases: Arc<Leases>,
    id: LeaseId,
    is_kept: bool,
}

impl Assist {
    /// Leaves the guard in force until [`Leases::drop_assist`].
    pub(in crate::engine) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Assist {
    fn drop(&mut self) {
        // Without a runtime this process ends, and the guard with it.
        if let (false, Ok(runtime)) = (self.is_kept, tokio::runtime::Handle::try_current()) {
            let (leases, id) = (Arc::clone(&self.leases), self.id);
            runtime.spawn(async move { leases.drop_assist(id).await });
        }
    }
}

impl Leases {
    /// Guards the port of a lease, so that processes of a cgroup alone can bind it. Must come before its gate
    /// opens.
    pub(in crate::engine) async fn assist(
        self: &Arc<Self>,
        lease: &Lease,
        folder: Folder,
    ) -> io::Result<Assist> {
        let permit = folder.permit(lease.port, lease.addresses.clone());
        let folder = Arc::new(folder);
        let assist = Assist {
            leases: Arc::clone(self),
            id: lease.id,
            is_kept: false,
        };
        let assisted = Assisted { folder, permit };
        self.state
            .with(|state| state.assists.insert(lease.id, assisted));
        self.refresh_guard().await?;
        Ok(assist)
    }

    /// Ends the guard of a lease, if it has one, once its gate is shut. What is left of its program moves to the
    /// cgroup above, unless another lease of the program needs its cgroup.
    pub(in crate::engine) async fn drop_assist(&self, id: LeaseId) {
        let taken = self.state.with(|state| {
            let folder = state.assists.remove(&id)?.folder;
            let mut others = state.assists.values();
            let is_needed = others.any(|other| other.folder.path() == folder.path());
            Some((folder, is_needed))
        });
        let Some((folder, is_needed)) = taken else {
            return;
        };
        let hold = self.hold_of(id);
        if let Some(Err(error)) = hold.map(|hold| hold.shut_unseen()) {
            tracing::error!(%error, lease = %id, "could not shut a gate before its guard ends");
        }
        if let Err(error) = self.refresh_guard().await {
            tracing::warn!(%error, lease = %id, "could not end the guard on a port; only its last program can bind it");
        }
        if is_needed {
            return;
        }
        let remove = move || {
            if let Err(error) = folder.remove() {
                let cgroup = folder.path().display();
                tracing::warn!(%error, %cgroup, "could not remove the cgroup of a program; the next start does");
            }
        };
        // To move a process takes the kernel some milliseconds. An error means that the runtime ends.
        let _ = tokio::task::spawn_blocking(remove).await;
    }

    /// Whether a cgroup belongs to a living lease.
    pub(in crate::engine) fn needs_folder(&self, folder: &Folder) -> bool {
        self.state.with(|state| {
            let mut assists = state.assists.values();
            assists.any(|assist| assist.folder.path() == folder.path())
        })
    }

    /// Makes the guard in the kernel one of all permits, and ends it if there are none. A change takes some
    /// microseconds, the first permit a millisecond. Nothing is awaited meanwhile: a client that hangs up must not
    /// take the guard along.
    async fn refresh_guard(&self) -> io::Result<()> {
        let mut guard = self.guard.lock().await;
        let permits: Vec<Permit> = self.state.with(|state| {
            let assists = state.assists.values();
            assists.map(|assist| assist.permit.clone()).collect()
        });
        if permits.is_empty() {
            if guard.take().is_some() {
                self.state.with(|state| state.holds.tell_no_guard());
            }
            return Ok(());
        }
        if let Some(guard) = &mut *guard {
            return guard.change_to(&permits);
        }
        let new = Guard::on(&permits, std::process::id())?;
        self.state.with(|state| state.holds.tell_guard(&new));
        *guard = Some(new);
        Ok(())
    }
}
