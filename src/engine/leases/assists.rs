//! Cgroups and links of leases that are handed over by `bind`: they let the owner bind beside its hold.

use std::sync::Arc;

use super::Leases;
use crate::domain::lease::LeaseId;
use crate::host::bpf::{Folder, Links};

/// The cgroup of the program of a lease, and the links that let it bind the port. The cgroup is removed by
/// [`Assist::undo`] alone: if this process ends, the program goes on in it.
#[derive(Debug)]
pub(in crate::engine) struct Assist {
    pub(in crate::engine) folder: Folder,
    pub(in crate::engine) links: Links,
}

impl Assist {
    /// Closes the links. Then moves what is left of the program to the cgroup above, and removes this one,
    /// unless another lease of the program needs it.
    pub(in crate::engine) async fn undo(self: Arc<Self>, is_last: bool) {
        let undo = move || {
            let folder = match Arc::try_unwrap(self) {
                Ok(Self { folder, links }) => {
                    drop(links);
                    folder
                }
                // Only for as long as copies are made of them.
                Err(_) => return,
            };
            if is_last && let Err(error) = folder.remove() {
                let cgroup = folder.path().display();
                tracing::warn!(%error, %cgroup, "could not remove the cgroup of a program; the next start does");
            }
        };
        // To move a process takes the kernel some milliseconds. An error means that the runtime ends.
        let _ = tokio::task::spawn_blocking(undo).await;
    }
}

impl Leases {
    /// Puts the cgroup and the links to their lease.
    pub(in crate::engine) fn put_assist(&self, id: LeaseId, assist: Assist) {
        let assist = Arc::new(assist);
        let replaced = self.state.with(|state| {
            let replaced = state.assists.insert(id, Arc::clone(&assist));
            state
                .holds
                .tell_links(id, replaced.is_some(), &assist.links);
            replaced
        });
        // The program of a lease has one cgroup for as long as it lives.
        drop(replaced);
    }

    /// Takes the cgroup and the links of a lease away, if it has any: its program gets in no more.
    pub(in crate::engine) async fn drop_assist(&self, id: LeaseId) {
        let taken = self.state.with(|state| {
            let taken = state.assists.remove(&id)?;
            state.holds.tell_no_links(id);
            let mut others = state.assists.values();
            let is_last = !others.any(|other| other.folder.path() == taken.folder.path());
            Some((taken, is_last))
        });
        if let Some((assist, is_last)) = taken {
            assist.undo(is_last).await;
        }
    }

    /// Whether a cgroup belongs to a living lease.
    pub(in crate::engine) fn needs_folder(&self, folder: &Folder) -> bool {
        self.state.with(|state| {
            let mut assists = state.assists.values();
            assists.any(|assist| assist.folder.path() == folder.path())
        })
    }
}
