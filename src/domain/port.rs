//! Port numbers, sets of them, and the protocols they are counted in.

mod protocol;
mod set;

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use protocol::{Protocol, Protocols};
pub use set::{PortSet, ports_in_text};

/// A port number from 1 to 65535.
///
/// Zero is no port: to the kernel it means "any" (`bind(2)`), so it never gets this far.
///
/// ```
/// use portbook::domain::port::Port;
/// assert_eq!(Port::new(8888).unwrap().get(), 8888);
/// assert!(Port::new(0).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of this number, unless it is zero.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: u64 = text
            .trim()
            .parse()
            .map_err(|_| PortError::NotANumber(text.to_owned()))?;
        u16::try_from(number)
            .ok()
            .and_then(Self::new)
            .ok_or(PortError::OutOfRange(number))
    }
}

/// Why a text is no port or no set of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Something other than digits.
    #[error("\"{0}\" is not a port number")]
    NotANumber(String),
    /// Zero, or above 65535.
    #[error("{0} is not a port: ports go from 1 to 65535")]
    OutOfRange(u64),
    /// A range whose end comes before its start.
    #[error("range {0}-{1} is reversed: write {1}-{0}")]
    Reversed(Port, Port),
    /// No port at all.
    #[error("a set of ports needs at least one port, such as \"8888-8988,9100\"")]
    Empty,
}
