//! Late conflicts: an outsider found on a port that is leased.

use std::sync::Arc;

use crate::domain::attempt::Occupant;
use crate::domain::lease::{Lease, State};
use crate::domain::outsider::Outsider;
use crate::engine::observer;
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;

impl Service {
    /// An outsider has the port.
    pub(in crate::engine) async fn lose(
        &self,
        lease: &Lease,
        who: Occupant,
    ) -> Result<(), Refusal> {
        let lost = self.change(lease.id, |lease| lease.state = State::Lost);
        self.late_conflict(&*lost.await?, who);
        Ok(())
    }

    /// Learns and reports that an outsider has a leased port.
    pub(in crate::engine) fn late_conflict(&self, lease: &Lease, outsider: impl Into<Outsider>) {
        let outsider = outsider.into();
        self.learning.late_conflict(lease, &outsider);
        self.journal.late_conflict(lease, outsider);
    }

    /// Who listens on a lease's port right now and is neither its owner nor a descendant of it. The
    /// walk of `/proc` blocks, so it is done aside.
    pub(super) async fn stranger_on(&self, lease: &Lease) -> Option<Occupant> {
        // What was seen of it earlier does not count: everybody is looked at anew.
        let lease = Arc::new(Lease {
            state: State::Handed,
            ..lease.clone()
        });
        let look = move || observer::stranger_on(&lease);
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }
}
