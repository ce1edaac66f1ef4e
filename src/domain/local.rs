//! Names of Unix sockets as people write them: a path, or `@` and an abstract name (`unix(7)`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::text::{as_text, from_text};

/// `sun_path` has 108 bytes: a path needs one for its NUL at the end, an abstract name one for its
/// NUL at the front.
const LONGEST: usize = 107;

/// Address of a Unix socket.
///
/// ```
/// use portbook::domain::local::LocalAddress;
/// let customary: LocalAddress = "@unittest-portserver".parse().unwrap();
/// assert_eq!(customary, LocalAddress::Abstract("unittest-portserver".into()));
/// assert_eq!(customary.to_string(), "@unittest-portserver");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A name without a file, in the network namespace; every user in it may connect.
    Abstract(String),
    /// A file, with its permissions.
    Path(PathBuf),
}

/// A text that names no Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {why}: write an absolute path, or @ and a name")]
pub struct LocalAddressError {
    text: String,
    why: &'static str,
}

impl LocalAddress {
    /// Abstract name filled up with NULs to the full length of `sun_path`, as C programs send it that
    /// pass the size of the whole structure. `None` for a path, which a NUL ends.
    pub fn padded(&self) -> Option<Vec<u8>> {
        let Self::Abstract(name) = self else {
            return None;
        };
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(LONGEST, 0);
        Some(bytes).filter(|padded| padded.len() > name.len())
    }
}

impl FromStr for LocalAddress {
    type Err = LocalAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why| {
            Err(LocalAddressError {
                text: text.chars().take(200).collect(),
                why,
            })
        };
        let name = text.strip_prefix('@');
        match name.unwrap_or(text).len() {
            0 => refused("names no socket"),
            length if length > LONGEST => refused("is longer than a socket's name may be"),
            _ if text.contains('\0') => refused("has a NUL in it"),
            _ => match name {
                Some(name) => Ok(Self::Abstract(name.to_owned())),
                None if text.starts_with('/') => Ok(Self::Path(text.into())),
                None => refused("is not an absolute path"),
            },
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstract(name) => write!(f, "@{name}"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

as_text!(LocalAddress);
from_text!(LocalAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_socket_names_are_refused() {
        let long = "/".repeat(108);
        for wrong in ["", "@", "relative", "a\0b", "/a\0b", &long] {
            assert!(
                wrong.parse::<LocalAddress>().is_err(),
                "{wrong:?} was taken"
            );
        }
        let longest = format!("@{}", "x".repeat(107));
        let longest: LocalAddress = longest.parse().unwrap();
        assert_eq!(longest.padded(), None);
    }

    #[test]
    fn a_padded_name_fills_the_structure() {
        let padded = "@ab".parse::<LocalAddress>().unwrap().padded().unwrap();
        assert_eq!((padded.len(), &padded[..3]), (107, &b"ab\0"[..]));
        assert_eq!("/tmp/s".parse::<LocalAddress>().unwrap().padded(), None);
    }
}
