//! Ports that a program asks for of its own choice, and in place of which it gets leased ones.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::port::{Port, PortError};

/// Word that stands for each port.
const ALL: &str = "all";

/// Ports of a program as people write them: a number, or `all`.
///
/// ```
/// use portbook::domain::mapped::Mapped;
/// assert_eq!("all".parse(), Ok(Mapped::All));
/// assert_eq!("8080".parse::<Mapped>().unwrap().to_string(), "8080");
/// assert!("0".parse::<Mapped>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// One port.
    From(Port),
    /// Each port that the program comes to ask for.
    All,
}

/// Ports of a program for which a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Map {
    /// One, in place of which it gets the port of the request.
    From(Port),
    /// Each: the request is for a stock of spares, beside the leases that an earlier program in its place had.
    All,
    /// Each, of a program that has taken as many spares of its stock.
    More(NonZeroU32),
}

impl Mapped {
    /// The one port. `None` if it is each of them.
    pub const fn port(self) -> Option<Port> {
        match self {
            Self::From(port) => Some(port),
            Self::All => None,
        }
    }
}

impl From<Mapped> for Map {
    fn from(mapped: Mapped) -> Self {
        match mapped {
            Mapped::From(port) => Self::From(port),
            Mapped::All => Self::All,
        }
    }
}

impl FromStr for Mapped {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            ALL => Ok(Self::All),
            port => port.parse().map(Self::From),
        }
    }
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(port) => port.fmt(f),
            Self::All => f.write_str(ALL),
        }
    }
}

impl Serialize for Mapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::From(port) => port.serialize(serializer),
            Self::All => serializer.serialize_str(ALL),
        }
    }
}

impl<'de> Deserialize<'de> for Mapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// The forms in JSON and TOML.
struct Written;

impl Visitor<'_> for Written {
    type Value = Mapped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port from 1 to 65535, or \"all\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Mapped, E> {
        let port = u16::try_from(number).ok().and_then(Port::new);
        let port = port.ok_or_else(|| E::custom(PortError::OutOfRange(number)))?;
        Ok(Mapped::From(port))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Mapped, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Mapped, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Mapped {
    fn schema_name() -> Cow<'static, str> {
        "Mapped".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port, or \"all\".",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"const": ALL},
            ],
        })
    }
}
