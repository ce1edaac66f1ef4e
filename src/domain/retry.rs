//! By what a client asks again whose answer got lost.

use std::fmt;
use std::str::FromStr;

/// A client's own word for one request, so that asking twice is not asking for two: 1 to
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

/// What is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key takes 1 to {} printable ASCII characters without blanks and quotes, such as a fresh UUID",
    RetryKey::MAX_LENGTH
)]
pub struct RetryKeyError;

impl RetryKey {
    /// The most characters that a key may have.
    pub const MAX_LENGTH: usize = 128;

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RetryKey {
    type Err = RetryKeyError;

    /// Takes it with the quotes of a structured field (RFC 9651, 3.3.3), as the header's draft
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
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(RetryKey::MAX_LENGTH + 1);
        for bad in ["", "\"\"", "\"a", "a b", "ключ", "line\nbreak", &long] {
            assert_eq!(bad.parse::<RetryKey>(), Err(RetryKeyError), "{bad:?}");
        }
        let longest = &long[1..];
        assert_eq!(longest.parse::<RetryKey>().unwrap().as_str(), longest);
    }
}
