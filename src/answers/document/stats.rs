//! Documents about the past: statistics, and what was deleted.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::duration::HumanDuration;
use crate::store::{Outcomes, Removed};

/// Statistics of a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsDocument {
    /// The version of the documents.
    pub version: u32,
    /// From when on; the beginning of a UTC day, as whole days are counted.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// All attempts.
    pub total: Outcomes,
    /// By pool.
    pub pools: Vec<PoolStats>,
    /// By interface.
    pub interfaces: Vec<InterfaceStats>,
    /// The ports with most attempts.
    pub ports: Vec<PortStats>,
    /// Whether other ports were tried too: a larger `limit` tells of them.
    #[serde(default)]
    pub more_ports: bool,
    /// The ports with most attempts that met somebody, and whom.
    pub conflicts: Vec<PortStats>,
    /// Whether somebody was met on other ports too.
    #[serde(default)]
    pub more_conflicts: bool,
    /// Allocations by hour; hours without any are left out.
    pub hours: Vec<HourStats>,
    /// How long leases lived that ended in this time.
    pub leases: Vec<LifetimeStats>,
    /// What the choice of ports saved; none where no allocation tells.
    pub saved: Option<Saved>,
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStats {
    /// Its name.
    pub pool: String,
    /// Its attempts.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Allocations granted.
    pub granted: u64,
    /// Allocations refused.
    pub refused: u64,
    /// Allocations an hour, over all of the time.
    pub allocations_per_hour: f64,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceStats {
    /// Its name; `any` for the wildcard addresses.
    pub interface: String,
    /// Its attempts.
    #[serde(flatten)]
    pub outcomes: Outcomes,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortStats {
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Its attempts.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// When the last attempt was made.
    pub last_at: Option<Timestamp>,
    /// When somebody was last in the way.
    pub last_refused_at: Option<Timestamp>,
    /// Who was in the way, most often first; five at most.
    pub occupants: Vec<OccupantStats>,
}

/// Somebody who was in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OccupantStats {
    /// The name of the process; none where it is not known or not the asker's to know.
    pub command: Option<String>,
    /// Its user, as far as known.
    pub uid: Option<u32>,
    /// How many attempts it refused.
    pub attempts: u64,
}

/// One hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HourStats {
    /// When it began.
    pub at: Timestamp,
    /// Allocations granted.
    pub granted: u64,
    /// Allocations refused.
    pub refused: u64,
}

/// How long leases lived that ended in one way. Lifetimes are known to two digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifetimeStats {
    /// The end state.
    pub state: String,
    /// How many leases.
    pub leases: u64,
    /// Half of them lived no longer.
    pub median: HumanDuration,
    /// Nine in ten lived no longer.
    pub p90: HumanDuration,
}

/// Conflicts met, beside those that random would have met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// How many allocations tell.
    pub allocations: u64,
    /// How many candidate ports random would have met busy, on average.
    pub random_would_meet: f64,
    /// How many were met.
    pub met: u64,
    /// The difference; negative where random would have done better.
    pub conflicts: f64,
}

/// What was tried on a port, over all that is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortRecord {
    /// Its attempts.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// When the last attempt was made.
    pub last_at: Option<Timestamp>,
    /// When somebody was last in the way.
    pub last_refused_at: Option<Timestamp>,
    /// Who was in the way, most often first; five at most.
    pub occupants: Vec<OccupantStats>,
}

impl From<PortStats> for PortRecord {
    fn from(port: PortStats) -> Self {
        Self {
            outcomes: port.outcomes,
            last_at: port.last_at,
            last_refused_at: port.last_refused_at,
            occupants: port.occupants,
        }
    }
}

/// What `POST /api/v1/history/prune` takes; the settings hold for what is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneRequest {
    /// Delete what is older than this, however much it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<HumanDuration>,
    /// Keep so many attempts, however old they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u64>,
    /// Say what would be deleted, and delete nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneDocument {
    /// The version of the documents.
    pub version: u32,
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// The rows.
    pub removed: Removed,
}
