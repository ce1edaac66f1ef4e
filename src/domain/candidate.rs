//! One candidate as it was weighed: its evidence, and each term of its cost.
//!
//! The explanation keeps these values, so that a reader can compute each choice again.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use strum::{FromRepr, IntoStaticStr};

use super::port::{Port, Protocol};
use super::words::as_str;

/// Evidence about one port, for one protocol and on the addresses of one request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Evidence {
    /// Binds that worked, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub good: f64,
    /// Binds that were refused because of an occupant, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub failed: f64,
    /// Occupancy snapshots that saw an occupant, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub busy: f64,
    /// All snapshots, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub checks: f64,
    /// Outsiders found on it while it was leased, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub late: f64,
    /// Binds that worked in its block of 64 ports, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub block_good: f64,
    /// Binds that were refused in its block, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub block_failed: f64,
    /// Whether the latest snapshot saw an occupant.
    #[serde(skip_serializing_if = "is_false")]
    pub seen_now: bool,
    /// Hosts of the fleet that were looked at.
    #[serde(skip_serializing_if = "is_nought")]
    pub fleet_hosts: u32,
    /// Hosts of them on which the port was busy.
    #[serde(skip_serializing_if = "is_nought")]
    pub fleet_busy: u32,
    /// Milliseconds since a lease on it ended. `None` if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_ago_ms: Option<u64>,
    /// Counts without decay.
    #[serde(flatten)]
    pub totals: Totals,
    /// Name of the occupant at the last refused bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occupant: Option<Arc<str>>,
}

/// Counts that never decay: for people, not for the cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Totals {
    /// Binds that worked.
    #[serde(rename = "good_total", skip_serializing_if = "is_zero")]
    pub good: u64,
    /// Binds that were refused.
    #[serde(rename = "failed_total", skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Snapshots that saw an occupant.
    #[serde(rename = "busy_total", skip_serializing_if = "is_zero")]
    pub busy: u64,
    /// All snapshots.
    #[serde(rename = "checks_total", skip_serializing_if = "is_zero")]
    pub checks: u64,
    /// Late conflicts.
    #[serde(rename = "late_total", skip_serializing_if = "is_zero")]
    pub late: u64,
}

/// Terms of the cost that come from evidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cost {
    /// Probability that a port of this block is free, and on hosts of the fleet, before its own evidence.
    #[serde(serialize_with = "six_digits")]
    pub prior_free: f64,
    /// Probability that the port has an occupant.
    #[serde(serialize_with = "six_digits")]
    pub p_busy: f64,
    /// Cost of an occupant in the latest snapshot.
    #[serde(
        rename = "seen_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub seen: f64,
    /// Cost of late conflicts.
    #[serde(
        rename = "late_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub late: f64,
    /// Cost of a release a moment ago.
    #[serde(
        rename = "released_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub released: f64,
}

impl Cost {
    /// Sum of the terms.
    pub fn total(&self) -> f64 {
        self.p_busy + self.seen + self.late + self.released
    }
}

/// Rule that makes a port dearer without excluding it. The record stores the number of a variant, so new
/// ones come at the end.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    FromRepr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PenaltyReason {
    /// `net.ipv4.ip_local_port_range`: any outgoing connection may take it.
    EphemeralRange,
    /// Assigned by IANA to a service in wide use.
    IanaAssigned,
}

impl PenaltyReason {
    /// End of a sentence that begins with "it is".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::EphemeralRange => "in the ephemeral range",
            Self::IanaAssigned => "assigned by IANA",
        }
    }
}

as_str!(PenaltyReason);

/// Addition of a rule to the cost of a port.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Penalty {
    /// Rule that adds it.
    pub reason: PenaltyReason,
    /// Amount, in refused binds.
    pub cost: f64,
}

/// Evidence and cost of a port for one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Weighed {
    /// Protocol it was weighed for.
    pub protocol: Protocol,
    /// Evidence at that moment.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Cost that follows from the evidence.
    #[serde(flatten)]
    pub cost: Cost,
}

/// A port with the expected cost of choosing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Port number.
    pub port: Port,
    /// Total of the terms and penalties below, in refused binds.
    #[serde(serialize_with = "six_digits")]
    pub cost: f64,
    /// Evidence and cost for each protocol that it must be free for.
    pub weighed: Vec<Weighed>,
    /// Additions of rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub penalties: Vec<Penalty>,
}

impl Candidate {
    /// Whether the record shows one cost for both. Then the one weighed first is tried.
    pub fn costs_the_same_as(&self, other: &Self) -> bool {
        (self.cost - other.cost).abs() < 1e-6
    }
}

/// Rounds to a millionth, which is exact enough to compute a cost again and keeps records short.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn six_digits<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e6).round() / 1e6)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_nil(value: &f64) -> bool {
    value.abs() < 5e-7
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_nought(value: &u32) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}
