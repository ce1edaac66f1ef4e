//! Findings: mistakes in a configuration, with place and way out.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::domain::attempt::printable;
use crate::domain::words::as_str;

/// Weight of a finding.
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
pub enum Severity {
    /// The service does not start, or starts without what the setting promises.
    Error,
    /// The service starts, but perhaps not as the user meant.
    Warning,
}

as_str!(Severity);

/// One mistake, or possible mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Weight of the finding.
    pub severity: Severity,
    /// Setting, such as `pools.web.ranges`. Empty if the finding is about a whole file.
    pub key: String,
    /// Source of the value, such as `file /etc/portbook/config.toml:12`.
    pub source: String,
    /// Mistake in words.
    pub message: String,
    /// Way out. `None` if the message says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    pub fn error(key: &dyn fmt::Display, source: &str, problem: Problem) -> Self {
        Self::new(Severity::Error, key, source, problem)
    }

    pub fn warning(key: &dyn fmt::Display, source: &str, problem: Problem) -> Self {
        Self::new(Severity::Warning, key, source, problem)
    }

    fn new(severity: Severity, key: &dyn fmt::Display, source: &str, problem: Problem) -> Self {
        Self {
            severity,
            key: key.to_string(),
            source: source.to_owned(),
            message: problem.message,
            hint: problem.hint,
        }
    }
}

/// `error: pools.web.ranges (file /x.toml:3): range 9000-8000 is reversed: write 8000-9000`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.key.as_str() {
            "" => self.source.clone(),
            key => format!("{key} ({})", self.source),
        };
        let hint = self.hint.iter().map(|hint| format!(": {hint}"));
        let rest: String = hint.collect();
        // Keys and values may come from anywhere; the line stays one line.
        let text = printable(&format!("{place}: {}{rest}", self.message));
        write!(f, "{}: {text}", self.severity.as_str())
    }
}

/// A configuration with errors, with which nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Every finding, warnings too.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration does not hold:")?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Mistake in a value, without its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Splits a message about a placeholder: `{placeholder}: mistake: way out`.
    pub fn from_placeholder(text: &str) -> Self {
        let Some((written, rest)) = text.split_once(": ") else {
            return Self::from_message(text);
        };
        let mut problem = Self::from_message(rest);
        problem.message = format!("{written}: {}", problem.message);
        problem
    }

    /// Splits a message of the form `mistake: way out`.
    pub fn from_message(text: &str) -> Self {
        match text.split_once(": ") {
            Some((message, hint)) => Self::new(message, hint),
            None => Self {
                message: text.to_owned(),
                hint: None,
            },
        }
    }
}
