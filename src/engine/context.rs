//! The context of one request while it is being answered.

use std::sync::Arc;

use crate::domain::attempt::{Attempt, veiled};
use crate::domain::lease::{AllocationId, BootTime, Name, Owner};
use crate::domain::precedence::Moved;
use crate::domain::request::Request;
use crate::engine::{caller::Caller, leases::Turn, lock::Guarded, plan::Plan, remembered::number};
use crate::telemetry::propagation::Ids;

/// A request with everything that was found out about it before the search.
pub(super) struct RequestContext<'a> {
    pub(super) id: AllocationId,
    pub(super) caller: &'a Caller,
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    pub(super) owner: Option<Owner>,
    pub(super) start: BootTime,
    pub(super) trace: Option<Ids>,
    /// The turn of its names and its key, until the books have their leases.
    pub(super) turn: Arc<Turn>,
    /// Notes for the answer that come up while leases are handed over.
    pub(super) notes: Guarded<Vec<String>>,
}

impl RequestContext<'_> {
    /// Whether the request is refused rather than handed over in another way than it says.
    pub(super) fn insists_on_handover(&self) -> bool {
        // Without its map the program would take the port that it asks for.
        self.request.map.is_some() || (self.request.strict && self.request.handover.is_some())
    }

    /// Returns the process that is to own the lease of a name. If all its ports are mapped, a number that is a name is
    /// the port that it asks for.
    pub(super) fn owner_of(&self, name: Option<&Name>) -> Option<Owner> {
        let mut owner = self.owner.clone()?;
        if owner.all_mapped {
            owner.mapped_from = name.and_then(number);
        }
        Some(owner)
    }

    /// Keeps a note for the answer.
    pub(super) fn note(&self, note: Option<String>) {
        self.notes.with(|notes| notes.extend(note));
    }

    pub(super) fn take_notes(&self) -> Vec<String> {
        self.notes.with(std::mem::take)
    }

    pub(super) fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| &*trace.trace_id)
    }

    pub(super) fn span_id(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| &*trace.span_id)
    }

    /// Returns the refused attempts, as the caller may see them.
    pub(super) fn conflicts(&self, attempts: &[Attempt]) -> Vec<Attempt> {
        let mut refused = veiled(attempts, |uid| self.caller.may_act_for(uid));
        refused.retain(|attempt| !attempt.outcome.is_success());
        refused
    }

    /// Returns a move as it goes on record, which all readers of this user's leases see.
    pub(super) fn on_record(&self, moved: &Moved) -> Moved {
        let mut moved = moved.clone();
        moved.veil(|uid| uid == self.caller.uid);
        moved
    }
}
