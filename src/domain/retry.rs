//! Keys with which a client repeats a request after a lost answer.

use std::fmt;
use std::str::FromStr;

/// A client's own word for one request, so that a repetition grants no second port: 1 to
/// [`MAX_LENGTH`](Self::MAX_LENGTH) printable ASCII characters, but neither blanks nor quotes.
///
/// ```
/// use portbook::domain::retry::RetryKey;
///
/// let key: RetryKey = "\"8e03978e-40d5\"".parse().unwrap();
/// assert_eq!(key.as_str(), "8e03978e-40d5");
/// assert!("two words".parse::<RetryKey>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RetryKey(Box<str>);

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key takes 1 to {} printable ASCII characters without blanks and quotes, such as a fresh UUID",
    RetryKey::MAX_LENGTH
)]
pub struct RetryKeyError;

impl RetryKey {
    /// Maximum length of a key, in characters.
    pub const MAX_LENGTH: usize = 128;

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RetryKey {
    type Err = RetryKeyError;

    /// Accepts a key with the quotes of a structured field (RFC 9651, 3.3.3), as the header's draft
    /// (draft-ietf-httpapi-idempotency-key-header) asks for, and without, as most clients send it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let quoted = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let key = quoted.unwrap_or(text);
        let fits = (1..=Self::MAX_LENGTH).contains(&key.len());
        if fits
            && key
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"')
        {
            Ok(Self(key.into()))
        } else {
            Err(RetryKeyError)
        }
    }
}

impl fmt::Display for RetryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_keys_are_refused() {
        let long = "k".repeat(RetryKey::MAX_LENGTH + 1);
        for bad in ["", "\"\"", "\"a", "a b", "ключ", "line\nbreak", &long] {
            assert_eq!(bad.parse::<RetryKey>(), Err(RetryKeyError), "{bad:?}");
        }
        let longest = &long[1..];
        assert_eq!(longest.parse::<RetryKey>().unwrap().as_str(), longest);
    }
}
