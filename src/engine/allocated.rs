//! The answer to a granted request.

use std::sync::Arc;

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{AllocationId, Lease};
use crate::domain::precedence::Moved;
use crate::engine::context::RequestContext;
use crate::telemetry::propagation::Ids;

/// A granted request.
#[derive(Debug, Clone)]
pub struct Allocated {
    /// Id of the allocation.
    pub id: AllocationId,
    /// Whether a new lease was granted; false if every name had its lease already.
    pub created: bool,
    /// Whether the request was a dry run, which grants nothing.
    pub dry: bool,
    /// Number of candidate ports that were tried.
    pub attempt_count: usize,
    /// The leases, in the order of the names.
    pub leases: Vec<Arc<Lease>>,
    /// For each port that is not the preferred one, or not the one that its name had, the reason.
    pub moves: Vec<Moved>,
    /// The reasons for the choice.
    pub explanation: Explanation,
    /// The refused attempts with their occupants, as the caller may see them.
    pub conflicts: Vec<Attempt>,
    /// Ids of its span. `None` if it was not sampled.
    pub trace: Option<Ids>,
}

impl Allocated {
    /// Answers a repeated request with the leases that it was granted before.
    pub(super) fn again(
        asked: &RequestContext<'_>,
        id: AllocationId,
        leases: Vec<Arc<Lease>>,
    ) -> Self {
        Self {
            id,
            created: false,
            dry: asked.request.dry_run,
            attempt_count: 0,
            leases,
            moves: Vec::new(),
            explanation: asked.plan.explanation(),
            conflicts: Vec::new(),
            trace: asked.trace.clone(),
        }
    }
}
