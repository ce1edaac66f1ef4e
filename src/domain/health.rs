//! How a part of the service is, as plain values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::words::as_str;

/// What a check found.
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
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// As it should be.
    Ok,
    /// Ports can be granted, but somebody should look.
    Warn,
    /// Ports cannot be granted, or not be kept.
    Fail,
}

as_str!(Condition);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What: a word that stays the same.
    pub name: &'static str,
    /// How it is.
    pub condition: Condition,
    /// The same in words, with the way out where there is one.
    pub detail: String,
}

impl Check {
    /// A check that found all well.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Condition::Ok, detail)
    }

    /// A check and what it found.
    pub fn new(name: &'static str, condition: Condition, detail: impl Into<String>) -> Self {
        Self {
            name,
            condition,
            detail: detail.into(),
        }
    }
}

/// Whether ports can be granted and kept: no check failed.
pub fn is_ready(checks: &[Check]) -> bool {
    checks
        .iter()
        .all(|check| check.condition != Condition::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_leaves_the_service_ready() {
        let check = |condition| Check::new("record", condition, "");
        let warned = [Check::ok("guards", ""), check(Condition::Warn)];
        assert!(is_ready(&warned));
        assert!(!is_ready(&[check(Condition::Fail)]));
    }
}
