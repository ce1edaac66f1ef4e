//! The types of single settings as they are written, and what each expects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::wishes::{AdvertisedHost, HostVariableSetting};
use crate::domain::duration::{self, HumanDuration};
use crate::domain::lease::Handover;
use crate::domain::local::LocalAddress;
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::selector::Selector;
use crate::domain::variable::Variable;
use crate::telemetry::LogFormat;

/// A type that a single setting can have.
pub(super) trait Scalar: DeserializeOwned + Serialize {
    /// What to write, as the way out of a wrong type.
    const EXPECTS: &'static str;
}

macro_rules! scalars {
    ($($type:ty => $expects:expr,)*) => {
        $(impl Scalar for $type { const EXPECTS: &'static str = $expects; })*
    };
}

scalars! {
    bool => "true or false",
    f64 => "a number such as 0.5",
    String => "a text in quotes",
    PathBuf => "a path in quotes",
    NonZeroU32 => "a whole number from 1 up",
    NonZeroUsize => "a whole number from 1 up",
    u16 => "a whole number from 0 to 65535",
    IpAddr => "an address such as \"127.0.0.1\"",
    SocketAddr => "an address with a port, such as \"127.0.0.1:9000\"",
    Port => "a port from 1 to 65535",
    PortSet => "ports such as \"8888-8988,9100\"",
    Strategy => "a strategy such as \"learned\"",
    Handover => "a hand-over such as \"gate\"",
    Protocols => "a protocol such as \"tcp\"",
    LocalAddress => "an absolute path, or @ and a name such as \"@unittest-portserver\"",
    Selectors => "selectors such as [\"any\"] or [\"lan0\", \"!10.0.0.7\"]",
    Words => "a text or a list of texts",
    Variable => "the name of a variable, such as \"PGPORT\"",
    HostVariableSetting => "the name of a variable, such as \"PGHOST\", or false",
    AdvertisedHost => "an address or a name, such as \"web.localhost\"",
    HumanDuration => duration::EXPECTS,
    SocketMode => "\"0600\" (the user alone) or \"0660\" (the group too)",
    LogFormat => "\"text\" or \"json\"",
}

/// One word, several with commas between, or a list: the environment knows no better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Words::EXPECTS)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        Ok(Words(words.map(str::to_owned).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        Ok(Words(words))
    }
}

/// Interface selectors, at least one of which adds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Selectors(pub Vec<Selector>);

impl<'de> Deserialize<'de> for Selectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = deserializer.deserialize_any(WordsVisitor)?;
        let parsed = words.0.iter().map(|word| word.parse());
        let selectors: Vec<Selector> = parsed
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)?;
        if selectors.iter().all(|selector| selector.negated) {
            return Err(de::Error::custom(format!(
                "nothing is selected: write {}",
                Self::EXPECTS
            )));
        }
        Ok(Self(selectors))
    }
}

/// Who may open the API socket, as a file mode. No bits for others: any user of the host would be
/// let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketMode(pub u32);

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode @ (0o600 | 0o660)) => Ok(Self(mode)),
            _ => Err(format!(
                "\"{text}\" is not a mode for the socket: write {}",
                Self::EXPECTS
            )),
        }
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_alone_with_commas_or_as_a_list() {
        let words = |json: &str| serde_json::from_str::<Words>(json).unwrap().0;
        assert_eq!(words("\"lan0\""), ["lan0"]);
        assert_eq!(words("\"lan0, lan1\""), ["lan0", "lan1"]);
        assert_eq!(words("[\"lan0\",\"lan1\"]"), ["lan0", "lan1"]);
        assert!(serde_json::from_str::<Words>("[1]").is_err());
    }

    #[test]
    fn selectors_must_add_something() {
        let selectors = |json: &str| serde_json::from_str::<Selectors>(json);
        assert!(selectors("[\"all\", \"!docker0\"]").is_ok());
        for wrong in ["[]", "\"\"", "\"!docker0\"", "\"10.0.0.0/99\""] {
            assert!(selectors(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn the_socket_is_never_open_to_others() {
        assert_eq!("0600".parse(), Ok(SocketMode(0o600)));
        assert_eq!("0o660".parse(), Ok(SocketMode(0o660)));
        for wrong in ["0666", "600x", "0000", "0060", ""] {
            assert!(wrong.parse::<SocketMode>().is_err(), "{wrong} was taken");
        }
        assert_eq!(
            serde_json::to_string(&SocketMode(0o600)).unwrap(),
            "\"0600\""
        );
    }
}
