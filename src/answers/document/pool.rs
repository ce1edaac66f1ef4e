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
    /// Its name.
    pub name: String,
    /// Its ranges.
    pub ranges: String,
    /// What is excluded.
    pub exclude: String,
    /// What requests by number alone get.
    #[serde(default)]
    pub static_band: String,
    /// Whether ports that browsers refuse are left out.
    #[serde(default)]
    pub browser_safe: bool,
    /// How many ports its ranges have.
    pub ports: usize,
    /// How many of them are leased.
    pub leased: usize,
    /// The preferred port.
    pub prefer: Option<Port>,
    /// Number of ports above a preferred one that a request tries before it turns to the ranges.
    #[serde(default)]
    pub prefer_span: u16,
    /// The order of candidates.
    pub strategy: Strategy,
    /// How many candidates a request may try.
    pub max_attempts: Option<NonZeroU32>,
    /// Free for which protocols.
    pub protocol: Protocols,
    /// Where its ports are held.
    pub interfaces: Vec<Selector>,
    /// How ports pass to their owners.
    pub handover: Handover,
    /// How long to wait for a first listener.
    pub claim_within: HumanDuration,
    /// How long the folder of a name must be gone for its lease to end.
    pub gone_after: HumanDuration,
    /// How long a name must be unused to give way to another user's request where the pool is full.
    pub names_idle: HumanDuration,
    /// How long a lease lasts.
    pub ttl: Option<HumanDuration>,
    /// How long it may last at most.
    #[serde(default)]
    pub max_ttl: Option<HumanDuration>,
    /// How many leases there may be.
    #[serde(default)]
    pub max_leases: Option<NonZeroU32>,
    /// How many of them one user may have.
    #[serde(default)]
    pub max_leases_per_user: Option<NonZeroU32>,
    /// How long one request may try.
    pub attempt_timeout: HumanDuration,
    /// How long a port is left alone after a refused bind.
    pub cool_down: HumanDuration,
    /// How long a port is dearer after a lease on it has ended.
    pub release_cool_down: HumanDuration,
}
