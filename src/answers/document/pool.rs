//! A pool with its rules.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::duration::HumanDuration;
use crate::domain::lease::Handover;
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, Protocols};
use crate::domain::selector::Selector;

/// A pool with its rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolDocument {
    /// Name of the pool.
    pub name: String,
    /// Ranges, such as `20000-29999`.
    pub ranges: String,
    /// Ports that the configuration excludes.
    pub exclude: String,
    /// Ports that only requests by number get.
    #[serde(default)]
    pub static_band: String,
    /// Whether ports that browsers refuse are excluded.
    #[serde(default)]
    pub browser_safe: bool,
    /// Number of ports in the ranges.
    pub ports: usize,
    /// Number of leases of the pool.
    pub leased: usize,
    /// Preferred port. `None` if the strategy alone chooses.
    pub prefer: Option<Port>,
    /// Number of ports above a preferred one that a request tries before it turns to the ranges.
    #[serde(default)]
    pub prefer_span: u16,
    /// Order of candidates.
    pub strategy: Strategy,
    /// Maximum number of candidates of a request. `None` for no maximum.
    pub max_attempts: Option<NonZeroU32>,
    /// Protocols that a port must be free for.
    pub protocol: Protocols,
    /// Interfaces and addresses that ports are held on.
    pub interfaces: Vec<Selector>,
    /// Hand-over of ports to their owners.
    pub handover: Handover,
    /// Time that a lease waits for its first listener.
    pub claim_within: HumanDuration,
    /// Time after which a lease ends whose folder is gone.
    pub gone_after: HumanDuration,
    /// Time after which an unused name gives way to another user's request if the pool is full.
    pub names_idle: HumanDuration,
    /// Lifetime of a lease. `None` if it lives until it is released.
    pub ttl: Option<HumanDuration>,
    /// Maximum lifetime of a lease. `None` for no maximum.
    #[serde(default)]
    pub max_ttl: Option<HumanDuration>,
    /// Maximum number of leases. `None` for no maximum.
    #[serde(default)]
    pub max_leases: Option<NonZeroU32>,
    /// Maximum number of leases of one user. `None` for no maximum.
    #[serde(default)]
    pub max_leases_per_user: Option<NonZeroU32>,
    /// Time limit of the search for one request.
    pub attempt_timeout: HumanDuration,
    /// Time that a port is not tried again after a refused bind.
    pub cool_down: HumanDuration,
    /// Time that a port costs more after its lease has ended.
    pub release_cool_down: HumanDuration,
}
