//! Filters of a list of leases.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::seen::Seen;
use crate::answers::paging::MAX_LIMIT;
use crate::answers::problem::Problem;
use crate::domain::lease::{LeaseId, Name, State};
use crate::domain::words::words_of;

/// Word for every state that ends a lease.
const ENDED: &str = "ended";

/// Filters of a list of leases. Other users' leases match by what the viewer sees of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Of this name.
    pub name: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// In this state; `ended` stands for all that end a lease.
    #[schemars(schema_with = "states")]
    pub state: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    pub label: Option<String>,
    /// Maximum number of leases in the answer, from 1 to 1000; 100 if left out.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub limit: Option<u32>,
    /// Only those granted before this one.
    pub before: Option<LeaseId>,
}

fn states(_: &mut SchemaGenerator) -> Schema {
    let words = words_of::<State>().chain([ENDED]);
    json_schema!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

impl LeaseQuery {
    /// Whether a living lease, as its viewer sees it, matches.
    pub(in crate::answers) fn matches(&self, seen: &Seen) -> bool {
        let lease = seen.lease();
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let label = self.label.as_deref();
        same(&self.name, seen.name().map(Name::as_str))
            && same(&self.pool, Some(&lease.pool))
            && same(&self.state, Some(lease.state.as_str()))
            && label.is_none_or(|label| labelled(seen.labels(), label))
            && self.before.is_none_or(|before| lease.id < before)
    }

    pub(super) fn place(&self) -> Result<Place, Problem> {
        let state = match self.state.as_deref() {
            None => return Ok(Place::Books),
            Some(ENDED) => return Ok(Place::Record(None)),
            Some(word) => word.parse::<State>(),
        };
        let state = state.map_err(|error| Problem::invalid(format!("state: {error}")))?;
        Ok(if state.is_ended() {
            Place::Record(Some(state))
        } else {
            Place::Books
        })
    }
}

/// Place of the leases of a query.
pub(super) enum Place {
    /// Living ones.
    Books,
    /// Ended ones, in one state or in any.
    Record(Option<State>),
}

/// Whether a lease's labels have one: `team`, or `team=shop` for this value of it.
pub fn labelled(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|is| is == value),
        None => labels.contains_key(wanted),
    }
}
