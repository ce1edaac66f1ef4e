//! Checks of the parts of the service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::words::as_str;

/// Result of a check.
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
    /// Ports can be granted, but a person should look.
    Warn,
    /// Ports cannot be granted, or not be kept.
    Fail,
}

as_str!(Condition);

/// One check with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Word for the part that was checked, for programs.
    pub name: &'static str,
    /// Result.
    pub condition: Condition,
    /// Result in words, with the way out if there is one.
    pub detail: String,
}

impl Check {
    /// Check without a problem.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Condition::Ok, detail)
    }

    /// Check with a result.
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
