//! The life of leases after they were granted: gates, owners, endings, restart.

mod address;
mod conflict;
mod deadline;
mod descriptor;
mod ending;
mod folder;
mod gate;
mod own;
mod regain;
mod repair;
mod restart;
mod retake;
#[cfg(test)]
pub(super) mod tests;
mod watch;

pub(super) use folder::Folders;
pub(super) use regain::recovered_state;
pub(super) use repair::Repairs;
pub(super) use retake::retake;

use std::sync::Arc;

use super::refusal::Refusal;
use super::service::{Service, lock};
use super::turns::Turn;
use crate::domain::lease::{Lease, LeaseId};

impl Service {
    /// Waits until no other transition of this lease is under way. What is decided upon the lease
    /// as it is then, stays true until the turn is dropped.
    pub(super) async fn turn(&self, id: LeaseId) -> Turn {
        self.transitions.take([id]).await
    }

    /// The turn of several leases at once. One after another they could wait for each other, or for
    /// themselves.
    pub(super) async fn turn_of_all(&self, ids: impl IntoIterator<Item = LeaseId>) -> Turn {
        self.transitions.take(ids).await
    }

    /// A lease that has not ended.
    pub(super) fn living_lease(&self, id: LeaseId) -> Option<Arc<Lease>> {
        self.lease(id).filter(|lease| !lease.state.is_ended())
    }

    /// Changes a living lease, in the books first and then in the record. In the lease's turn.
    pub(super) async fn change(
        &self,
        id: LeaseId,
        change: impl FnOnce(&mut Lease),
    ) -> Result<Arc<Lease>, Refusal> {
        self.living_lease(id).ok_or(Refusal::NotFound)?;
        let changed = lock(&self.books).change(id, |lease| {
            change(lease);
            lease.revision += 1;
        });
        let changed = changed.ok_or(Refusal::NotFound)?;
        self.deadlines_moved.notify_one();
        self.store
            .commit(self.store.batch().lease(&changed))
            .await?;
        Ok(changed)
    }
}
