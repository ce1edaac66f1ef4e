//! The answer to a request for ports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lease::LeaseDocument;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{AllocationId, Name};
use crate::domain::precedence::{Moved, Skipped};
use crate::domain::reason::Reason;
use crate::store::AttemptRecord;

/// The answer to a request for ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllocationDocument {
    /// Id of the allocation.
    pub allocation: AllocationId,
    /// Whether a new lease was granted.
    pub created: bool,
    /// Number of candidate ports that were tried.
    pub attempt_count: usize,
    /// Trace of the request. `None` if it was not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span of the allocation in that trace, for a client that continues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Leases in the order of the names.
    pub leases: Vec<LeaseDocument>,
    /// Move of the first port that differs from the preferred one, or from the last port of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Ports that come before the granted ones in the order of precedence, each with the reason that
    /// it was skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Reasons of the choice. `None` unless the request was a `dry_run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// Notes for people, such as that a name had to move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Refused attempts, each with the occupant of the port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<AttemptRecord>,
}

/// Maximum number of reasons in one sentence about a move.
const REASONS: usize = 8;

impl AllocationDocument {
    /// Returns a sentence for each port that differs from the preferred one, or from the last port of
    /// its name: "web: 8888 is in use by node (pid 7), 8889 is leased to api, so it is 8890".
    pub fn moves_in_words(&self) -> Vec<String> {
        let mut told: Vec<&Moved> = Vec::new();
        let mut sentences = Vec::new();
        for lease in &self.leases {
            // A move is in the leases of all its protocols, but it is told once.
            let is_untold = |moved: &&Moved| self.is_news(lease, moved) && !told.contains(moved);
            if let Some(moved) = lease.moved.as_ref().filter(is_untold) {
                told.push(moved);
                sentences.push(self.move_in_words(lease.name.as_ref(), moved));
            }
        }
        if let (true, Some(moved)) = (sentences.is_empty(), &self.moved) {
            sentences.push(self.move_in_words(None, moved));
        }
        sentences
    }

    /// Whether the answer tells of a move. A substitute is told as long as it lasts; a port that was
    /// left because the request asked for another is told once, by the answer that grants the other.
    fn is_news(&self, lease: &LeaseDocument, moved: &Moved) -> bool {
        let is_new = self.attempt_count > 0 && lease.allocation == self.allocation;
        is_new || !matches!(moved.reason, Reason::Preferred | Reason::AskedOtherwise)
    }

    fn move_in_words(&self, name: Option<&Name>, moved: &Moved) -> String {
        let name = name.map_or_else(String::new, |name| format!("{name}: "));
        let between = |skipped: &&Skipped| {
            let first = skipped.ports.first();
            first.is_some_and(|port| port != moved.from && port != moved.to)
        };
        let tells_of_all = self.moved.as_ref() == Some(moved) && moved.reason != Reason::Preferred;
        let others: Vec<&Skipped> = self.skipped.iter().filter(between).collect();
        if !tells_of_all || others.is_empty() {
            return format!("{name}{moved}");
        }
        let more = others.len().saturating_sub(REASONS);
        let others = others.into_iter().take(REASONS).map(ToString::to_string);
        let mut reasons: Vec<String> = std::iter::once(moved.reason_in_words())
            .chain(others)
            .collect();
        if more > 0 {
            reasons.push(format!("and {more} more such reasons"));
        }
        format!("{name}{}, so it is {}", reasons.join(", "), moved.to)
    }
}
