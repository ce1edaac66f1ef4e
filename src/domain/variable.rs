//! Names of environment variables, with those that a project file must not set and those that other
//! programs read for their own purposes.

mod known;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::text::from_text;
use known::{DANGEROUS, DANGEROUS_FAMILIES, MISREAD, MISREAD_FAMILIES};

/// The name of an environment variable: letters, digits and underscores, the first no digit
/// (POSIX.1-2024, 8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Variable(Arc<str>);

/// A text that cannot be the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a variable: use letters, digits and underscores, the first no digit"
)]
pub struct VariableError(String);

/// Longest name of a variable, in bytes. No system has such a limit; no name comes near it.
const LONGEST: usize = 128;

impl Variable {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a project file must not set it, since it may come from an untrusted repository.
    pub fn is_dangerous(&self) -> bool {
        let upper = self.0.to_ascii_uppercase();
        DANGEROUS.contains(&&*upper)
            || DANGEROUS_FAMILIES
                .iter()
                .any(|family| upper.starts_with(family))
    }
}

/// Use of a variable by another program that expects no port or host of the user in it. `None` if none
/// is known.
pub fn misread(variable: &str) -> Option<&'static str> {
    let exact = MISREAD.iter().find(|(known, _)| *known == variable);
    let family = || {
        let mut families = MISREAD_FAMILIES.iter();
        families.find(|(family, _)| variable.starts_with(family))
    };
    exact.or_else(family).map(|(_, why)| *why)
}

impl FromStr for Variable {
    type Err = VariableError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = (1..=LONGEST).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text != "_"
            && text.bytes().all(allowed);
        if good {
            Ok(Self(text.into()))
        } else {
            Err(VariableError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

from_text!(Variable);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_to_posix_names() {
        for good in ["PGPORT", "_x", "a1"] {
            assert_eq!(good.parse::<Variable>().unwrap().as_str(), good);
        }
        let long = "A".repeat(129);
        for bad in [
            "", "_", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "$(id)", &long,
        ] {
            assert!(bad.parse::<Variable>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn variables_that_run_code_are_dangerous_in_any_case() {
        for bad in [
            "PATH",
            "path",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "ENV",
            "PROMPT_COMMAND",
            "GIT_SSH_COMMAND",
            "npm_config_registry",
            "https_proxy",
            "LISTEN_FDS",
            "PORTBOOK_SOCKET",
        ] {
            assert!(bad.parse::<Variable>().unwrap().is_dangerous(), "{bad}");
        }
        for good in [
            "PGPORT",
            "PGHOST",
            "VITE_PORT",
            "DATABASE_URL",
            "DOCKER_HOST",
            "PORT",
        ] {
            assert!(!good.parse::<Variable>().unwrap().is_dangerous(), "{good}");
        }
    }

    #[test]
    fn misread_variables_have_a_reason() {
        assert!(misread("DOCKER_HOST").unwrap().contains("docker"));
        assert!(misread("KUBERNETES_SERVICE_PORT").is_some());
        assert_eq!(misread("DOCKER_PORT"), None);
        assert_eq!(misread("REDIS_HOST"), None);
    }
}
