//! One candidate as it was weighed: what was known of it, and each term of its cost.
//!
//! Plain values, kept with the explanation: whoever doubts a choice can compute it again from them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use strum::IntoStaticStr;

use super::port::{Port, Protocol};
use super::words::as_str;

/// What is known of one port, for one protocol and on the addresses of one request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Evidence {
    /// Binds that worked, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub good: f64,
    /// Binds that were refused because somebody was there, decayed.
    #[serde(serialize_with = "six_digits", skip_serializing_if = "is_nil")]
    pub failed: f64,
    /// Occupancy snapshots that saw somebody there, decayed.
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
    /// Whether the latest snapshot saw somebody there.
    #[serde(skip_serializing_if = "is_false")]
    pub seen_now: bool,
    /// How long ago a lease on it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_ago_ms: Option<u64>,
    /// The same counts as they were counted.
    #[serde(flatten)]
    pub totals: Totals,
    /// Who was in the way the last time.
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
    /// Snapshots that saw somebody.
    #[serde(rename = "busy_total", skip_serializing_if = "is_zero")]
    pub busy: u64,
    /// All snapshots.
    #[serde(rename = "checks_total", skip_serializing_if = "is_zero")]
    pub checks: u64,
    /// Late conflicts.
    #[serde(rename = "late_total", skip_serializing_if = "is_zero")]
    pub late: u64,
}

/// The terms of the cost that come from evidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cost {
    /// How likely it is that a port of this block is free, before its own evidence.
    #[serde(serialize_with = "six_digits")]
    pub prior_free: f64,
    /// How likely it is that somebody is there.
    #[serde(serialize_with = "six_digits")]
    pub p_busy: f64,
    /// For being seen busy in the latest snapshot.
    #[serde(
        rename = "seen_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub seen: f64,
    /// For late conflicts.
    #[serde(
        rename = "late_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub late: f64,
    /// For having been released a moment ago.
    #[serde(
        rename = "released_cost",
        serialize_with = "six_digits",
        skip_serializing_if = "is_nil"
    )]
    pub released: f64,
}

impl Cost {
    /// The terms together.
    pub fn total(&self) -> f64 {
        self.p_busy + self.seen + self.late + self.released
    }
}

/// A rule that makes a port dearer without ruling it out.
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
    /// The same in words for a sentence: "it is …".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::EphemeralRange => "in the ephemeral range",
            Self::IanaAssigned => "assigned by IANA",
        }
    }
}

as_str!(PenaltyReason);

/// What a rule adds to a cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Penalty {
    /// Why.
    pub reason: PenaltyReason,
    /// How much.
    pub cost: f64,
}

/// A port weighed for one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Weighed {
    /// For which.
    pub protocol: Protocol,
    /// What is known.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What that costs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// A port with what choosing it is expected to cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The port.
    pub port: Port,
    /// Everything below together.
    #[serde(serialize_with = "six_digits")]
    pub cost: f64,
    /// Weighed for each protocol that it must be free for.
    pub weighed: Vec<Weighed>,
    /// What rules add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub penalties: Vec<Penalty>,
}

impl Candidate {
    /// Whether the record shows the same cost for both. Of such the one weighed first is tried.
    pub fn costs_the_same_as(&self, other: &Self) -> bool {
        (self.cost - other.cost).abs() < 1e-6
    }
}

/// A millionth is enough for anybody who computes it again, and keeps records short.
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
fn is_false(value: &bool) -> bool {
    !*value
}
