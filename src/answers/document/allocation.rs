//! The answer to a request, and what is on record of it.

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
    /// The allocation.
    pub allocation: AllocationId,
    /// Whether anything new was granted.
    pub created: bool,
    /// How many candidate ports were tried.
    pub attempt_count: usize,
    /// The trace, when it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its span there, for whoever goes on with the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The leases, in the order of the names.
    pub leases: Vec<LeaseDocument>,
    /// The way to the first port that is not the one that was preferred or that its name had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// The ports that came before the granted ones in the order of precedence, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Why these, where nothing was granted but the choice was asked for (`dry_run`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// What a reader should know, such as a name that had to move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The attempts that were refused on the way, with who was in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<AttemptRecord>,
}

/// Maximum number of reasons in one sentence about a move.
const REASONS: usize = 8;

impl AllocationDocument {
    /// A sentence for each port that is not the one that was preferred or that its name had: "web:
    /// 8888 is in use by node (pid 7), 8889 is leased to api, so it is 8890".
    pub fn moves_in_words(&self) -> Vec<String> {
        let mut moved: Vec<&Moved> = Vec::new();
        let mut said = Vec::new();
        for lease in &self.leases {
            // One lease a protocol: told once.
            let untold = |of: &&Moved| self.is_news(lease, of) && !moved.contains(of);
            let Some(of) = lease.moved.as_ref().filter(untold) else {
                continue;
            };
            moved.push(of);
            said.push(self.move_in_words(lease.name.as_ref(), of));
        }
        if said.is_empty() {
            said.extend(self.moved.as_ref().map(|of| self.move_in_words(None, of)));
        }
        said
    }

    /// Whether a move is to be told: a substitute is told as long as it lasts, a port that was left for
    /// one that was asked for is told by the answer that grants that.
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
