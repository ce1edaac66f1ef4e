//! Documents about the past: statistics, and deleting old rows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::duration::HumanDuration;
use crate::store::{Outcomes, Removed};

/// Statistics of a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsDocument {
    /// Version of the documents.
    pub version: u32,
    /// Begin of the time: of a UTC day, since whole days are counted.
    pub since: Timestamp,
    /// End of the time.
    pub until: Timestamp,
    /// Attempts of all pools.
    pub total: Outcomes,
    /// Attempts and allocations by pool.
    pub pools: Vec<PoolStats>,
    /// Attempts by interface.
    pub interfaces: Vec<InterfaceStats>,
    /// Ports with most attempts.
    pub ports: Vec<PortStats>,
    /// Whether more ports were tried: a larger `limit` lists them.
    #[serde(default)]
    pub more_ports: bool,
    /// Ports with most conflicts, and their occupants.
    pub conflicts: Vec<PortStats>,
    /// Whether more ports had conflicts: a larger `limit` lists them.
    #[serde(default)]
    pub more_conflicts: bool,
    /// Allocations by hour; hours without allocations are left out.
    pub hours: Vec<HourStats>,
    /// Lifetimes of the leases that ended in this time.
    pub leases: Vec<LifetimeStats>,
    /// Conflicts that the choice of ports avoided. `None` if no allocation tells.
    pub saved: Option<Saved>,
}

/// Statistics of one pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStats {
    /// Name of the pool.
    pub pool: String,
    /// Number of attempts by outcome.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Number of allocations granted.
    pub granted: u64,
    /// Number of allocations refused.
    pub refused: u64,
    /// Mean number of allocations an hour, over the whole time.
    pub allocations_per_hour: f64,
}

/// Statistics of one interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceStats {
    /// Name of the interface; `any` for the wildcard addresses.
    pub interface: String,
    /// Number of attempts by outcome.
    #[serde(flatten)]
    pub outcomes: Outcomes,
}

/// Statistics of one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortStats {
    /// Protocol.
    pub protocol: String,
    /// Port number.
    pub port: u16,
    /// Attempts on the port.
    #[serde(flatten)]
    pub record: PortRecord,
}

/// Attempts on a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortRecord {
    /// Number of attempts by outcome.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Time of the last attempt.
    pub last_at: Option<Timestamp>,
    /// Time of the last refused attempt. `None` if none was refused.
    pub last_refused_at: Option<Timestamp>,
    /// Occupants that refused attempts, most attempts first; at most five.
    pub occupants: Vec<OccupantStats>,
}

/// An occupant that refused attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OccupantStats {
    /// Name of the process. `None` if it is not known, or hidden from this viewer.
    pub command: Option<String>,
    /// User of the socket. `None` if it is not known.
    pub uid: Option<u32>,
    /// Number of attempts refused.
    pub attempts: u64,
}

/// Allocations of one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HourStats {
    /// Begin of the hour.
    pub at: Timestamp,
    /// Number of allocations granted.
    pub granted: u64,
    /// Number of allocations refused.
    pub refused: u64,
}

/// Lifetimes of the leases that one state ended, rounded to two digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifetimeStats {
    /// State that ended the leases.
    pub state: String,
    /// Number of leases.
    pub leases: u64,
    /// Median: half of the leases lived no longer.
    pub median: HumanDuration,
    /// 90th percentile: nine in ten leases lived no longer.
    pub p90: HumanDuration,
}

/// Conflicts met, beside those that a random choice would have met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// Number of allocations whose explanation tells it.
    pub allocations: u64,
    /// Expected number of busy candidate ports of a random choice.
    pub random_would_meet: f64,
    /// Number of busy candidate ports that were met.
    pub met: u64,
    /// Conflicts avoided: the difference. Negative if a random choice would have done better.
    pub conflicts: f64,
}

/// Request of `POST /api/v1/history/prune`. The settings apply to members that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneRequest {
    /// Deletes rows that are older than this, however many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<HumanDuration>,
    /// Number of attempts to keep, however old they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u64>,
    /// Counts the rows that would be deleted, and deletes none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Rows that were deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneDocument {
    /// Version of the documents.
    pub version: u32,
    /// Whether the rows were only counted.
    pub dry_run: bool,
    /// Number of rows by kind.
    pub removed: Removed,
}
