//! The gate over a lease's life: open exactly while the owner may bind.

use std::sync::Arc;

use super::retake;
use crate::domain::event::EventKind;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::domain::port::Protocol;
use crate::engine::observer::listens_somebody;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Mode, Service, lock};

impl Service {
    /// Lets the owner in: opens the gate, or closes the hold where that is how it is handed over.
    pub(in crate::engine) fn hand_over(&self, lease: &Lease) -> Result<(), Refusal> {
        if lease.handover == Handover::Release {
            let hold = lock(&self.holds).remove(lease.id);
            drop(hold);
            self.set_guard(lease, Guard::None);
            return Ok(());
        }
        if self.mode == Mode::Embedded && lease.owner.is_none() {
            // Nothing outlives a command that becomes no program.
            return Ok(());
        }
        let Some(hold) = self.hold_of(lease.id).or_else(|| self.hold_again(lease)) else {
            return Ok(());
        };
        hold.open_gate().map_err(|source| Refusal::BindFailed {
            address: format!("port {}", lease.port),
            source,
        })
    }

    /// Keeps a name's port while its owner is away: held, gate shut. Only if `still` says so of
    /// the lease as it is in its turn.
    pub(super) async fn put_away(
        &self,
        id: LeaseId,
        why: &str,
        still: impl FnOnce(&Lease) -> bool,
    ) -> Result<(), Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living_lease(id).ok_or(Refusal::NotFound)?;
        if still(&lease) {
            self.put_away_in_turn(&lease, why).await
        } else {
            Ok(())
        }
    }

    async fn put_away_in_turn(&self, lease: &Lease, why: &str) -> Result<(), Refusal> {
        self.unwatch(lease.id);
        let hold = self.hold_of(lease.id).or_else(|| self.hold_again(lease));
        let shut = hold.as_ref().map(|hold| hold.shut_gate());
        if let Some(Err(error)) = shut {
            tracing::error!(%error, port = %lease.port, "a gate could not be shut");
        }
        // What came in through the open gate and is still there has the port now.
        let lost = match (lease.protocol, &hold) {
            // A UDP hold has no gate to come in by, and is listed like one who receives.
            (Protocol::Udp, Some(_)) => false,
            _ => listens_somebody(lease),
        };
        let changed = self.change(lease.id, |lease| {
            lease.state = if lost { State::Lost } else { State::Reserved };
            lease.guard = if hold.is_some() {
                Guard::Hold
            } else {
                Guard::None
            };
            lease.owner = None;
            lease.claim_by = None;
        });
        let changed = changed.await?;
        if lost {
            self.learn_late_conflict(&changed, why);
        }
        let kind = if lost {
            EventKind::LateConflict
        } else {
            EventKind::Reserved
        };
        self.journal.lease(kind, &changed, why);
        Ok(())
    }

    /// Takes the hold of a living lease once more, gate shut, if nobody is in the way. In the
    /// lease's turn, so that it cannot end meanwhile and leave the hold behind.
    pub(in crate::engine) fn hold_again(
        &self,
        lease: &Lease,
    ) -> Option<Arc<crate::host::hold::Hold>> {
        let taken = retake(
            &lease.addresses,
            lease.protocol,
            lease.port,
            &self.clock,
            &mut |_, _| {},
        );
        let hold = Arc::new(taken.ok()?);
        lock(&self.holds).insert(lease.id, Arc::clone(&hold));
        self.set_guard(lease, Guard::Hold);
        Some(hold)
    }

    /// Notes in the books what guards a lease. Not worth a commit: a restart finds out anew.
    pub(in crate::engine) fn set_guard(&self, lease: &Lease, guard: Guard) {
        if lease.guard != guard {
            lock(&self.books).change(lease.id, |lease| lease.guard = guard);
        }
    }
}
