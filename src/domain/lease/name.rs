//! Names of leases: a service and, for a second one of its kind, an instance.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::text::from_text;

/// Maximum length of a name, instance included.
const LONGEST: usize = 64;

/// Separator between service and instance. Neither part may contain it.
const INSTANCE: char = '@';

/// Name that makes a lease sticky: 1 to 64 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit. A
/// second instance of a service is called `web@2`: both parts follow that rule, 64 in all.
///
/// ```
/// use portbook::domain::lease::Name;
/// let name: Name = "my-api.v2".parse().unwrap();
/// assert_eq!(name.env_prefix(), "MY_API_V2");
/// assert!("../etc".parse::<Name>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

/// A text that cannot be the name of a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name: use 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit"
)]
pub struct NameError(String);

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the service, without the instance.
    ///
    /// ```
    /// use portbook::domain::lease::Name;
    /// let name: Name = "web@2".parse().unwrap();
    /// assert_eq!((name.service(), name.instance()), ("web", Some("2")));
    /// assert_eq!(name.env_prefix(), "WEB");
    /// ```
    pub fn service(&self) -> &str {
        self.0.split(INSTANCE).next().unwrap_or_default()
    }

    /// Instance of the service; `None` for the first.
    pub fn instance(&self) -> Option<&str> {
        self.0.split_once(INSTANCE).map(|(_, instance)| instance)
    }

    /// Names another instance of this service.
    pub fn of_instance(&self, instance: &str) -> Result<Self, NameError> {
        format!("{}{INSTANCE}{instance}", self.service()).parse()
    }

    /// Prefix of environment variables: the service in upper case, other characters as `_`. All
    /// instances share it, so that a program finds its port under the usual variable.
    pub fn env_prefix(&self) -> String {
        let fold = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        let folded: String = self.service().chars().map(fold).collect();
        // A variable must not start with a digit (POSIX.1-2024, 8.1).
        if folded.starts_with(|c: char| c.is_ascii_digit()) {
            format!("_{folded}")
        } else {
            folded
        }
    }
}

/// Whether a text can be a service or an instance.
fn is_plain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(allowed)
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, instance) = match text.split_once(INSTANCE) {
            Some((service, instance)) => (service, Some(instance)),
            None => (text, None),
        };
        if text.len() <= LONGEST && is_plain(service) && instance.is_none_or(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

from_text!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_harmless_characters() {
        for bad in [
            "",
            "-x",
            "a b",
            "a/b",
            "ü",
            "@2",
            "a@",
            "a@-",
            "a@2@3",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
        assert_eq!("1st".parse::<Name>().unwrap().env_prefix(), "_1ST");
        let second = "web@2".parse::<Name>().unwrap();
        assert_eq!(second.of_instance("3").unwrap().as_str(), "web@3");
        assert!(second.of_instance("a b").is_err());
    }
}
