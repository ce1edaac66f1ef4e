//! Types of single settings, and their forms in files and variables.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::Value;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::claim::{Reach, Reclaim};
use crate::domain::duration::{self, HumanDuration};
use crate::domain::fleet::{HostName, Publish};
use crate::domain::lease::Handover;
use crate::domain::local::LocalAddress;
use crate::domain::mapped::Mapped;
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::prior::PriorSharing;
use crate::domain::selector::Selector;
use crate::domain::text::from_text;
use crate::domain::variable::Variable;
use crate::domain::variables::HostVariable;
use crate::telemetry::LogFormat;

/// A type that a setting can have.
pub(super) trait Scalar: Sized {
    /// Words for the way out of a wrong type: "write …".
    const EXPECTS: &'static str;

    /// Type that rules check: the type itself, or that inside an `Option`.
    type Bare;

    fn read(value: &Value) -> Result<Self, figment::Error>;

    /// The value that a rule checks. `None` if nothing is set.
    fn bare(&self) -> Option<&Self::Bare>;

    fn to_json(&self) -> serde_json::Value;
}

/// A setting that may be unset.
impl<T: Scalar> Scalar for Option<T> {
    const EXPECTS: &'static str = T::EXPECTS;

    type Bare = T::Bare;

    fn read(value: &Value) -> Result<Self, figment::Error> {
        T::read(value).map(Some)
    }

    fn bare(&self) -> Option<&T::Bare> {
        self.as_ref().and_then(T::bare)
    }

    fn to_json(&self) -> serde_json::Value {
        self.as_ref().map(T::to_json).unwrap_or_default()
    }
}

/// Declares types of settings, each with the words for what it expects. A type that files write in
/// another form names the form behind `as`.
macro_rules! scalars {
    ($($type:ty $(as $form:ident)? => $expects:expr,)*) => {
        $(impl Scalar for $type {
            const EXPECTS: &'static str = $expects;

            type Bare = Self;

            fn read(value: &Value) -> Result<Self, figment::Error> {
                scalars!(@read value $(, $form)?)
            }

            fn bare(&self) -> Option<&Self> {
                Some(self)
            }

            fn to_json(&self) -> serde_json::Value {
                // Every scalar can be written as JSON; one that could not would show as unset.
                scalars!(@write self $(, $form)?).unwrap_or_default()
            }
        })*
    };
    (@read $value:ident) => { $value.deserialize() };
    (@read $value:ident, $form:ident) => { $value.deserialize().map(|form: $form| form.0) };
    (@write $value:ident) => { serde_json::to_value($value) };
    (@write $value:ident, $form:ident) => { serde_json::to_value($form($value.clone())) };
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
    Mapped => "a port from 1 to 65535, or \"all\"",
    PortSet => "ports such as \"8888-8988,9100\"",
    Strategy => "a strategy such as \"learned\"",
    Handover => "a hand-over such as \"gate\"",
    Protocols => "a protocol such as \"tcp\"",
    LocalAddress => "an absolute path, or @ and a name such as \"@unittest-portserver\"",
    Vec<Selector> as Selectors => SELECTORS,
    Vec<String> as Words => WORDS,
    Vec<u32> => "a list of numbers such as [993]",
    Variable => "the name of a variable, such as \"PGPORT\"",
    HostVariable as HostVariableForm => "the name of a variable, such as \"PGHOST\", or false",
    AdvertisedHost => "an address or a name, such as \"web.localhost\"",
    HumanDuration => duration::EXPECTS,
    Duration as HumanDuration => duration::EXPECTS,
    SocketMode => SOCKET_MODES,
    HostName => "the name of a host, such as \"build-1\"",
    Publish => "\"named\", \"all\" or \"nothing\"",
    PriorSharing => "\"commands\", \"ports\" or \"nothing\"",
    Reach => "\"local\" or \"unique\"",
    Reclaim => "\"manual\", or a time such as \"24h\"",
    LogFormat => "\"text\" or \"json\"",
}

const SELECTORS: &str = "selectors such as [\"any\"] or [\"lan0\", \"!10.0.0.7\"]";
const WORDS: &str = "a text or a list of texts";
const SOCKET_MODES: &str = "\"0600\" (the user alone) or \"0660\" (the group too)";

/// One word, several with commas between as in a variable, or a list.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORDS)
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
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Selectors(Vec<Selector>);

impl<'de> Deserialize<'de> for Selectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = deserializer.deserialize_any(WordsVisitor)?;
        let parsed = words.0.iter().map(|word| word.parse());
        let selectors: Vec<Selector> = parsed
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)?;
        if selectors.iter().all(|selector| selector.negated) {
            return Err(de::Error::custom(format!(
                "nothing is selected: write {SELECTORS}"
            )));
        }
        Ok(Self(selectors))
    }
}

/// File mode of the API socket. It has no bits for others, which would let in every user of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketMode(pub u32);

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode @ (0o600 | 0o660)) => Ok(Self(mode)),
            _ => Err(format!(
                "\"{text}\" is not a mode for the socket: write {SOCKET_MODES}"
            )),
        }
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

from_text!(SocketMode);
/// Maximum length of a host name (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = 253;

/// A host that can stand in a URL and in a shell without quotes: an address, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct AdvertisedHost(pub String);

impl FromStr for AdvertisedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(allowed)
        };
        let is_name = text.len() <= LONGEST_HOST && text.split('.').all(label);
        if is_name || text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no host: write an address or a name, without port and brackets"
        ))
    }
}

from_text!(AdvertisedHost);

/// A host variable as it is written: a name, or `false`.
#[derive(Debug)]
struct HostVariableForm(HostVariable);

impl Serialize for HostVariableForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            HostVariable::Derived => serializer.serialize_none(),
            HostVariable::Named(variable) => variable.serialize(serializer),
            HostVariable::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for HostVariableForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HostVariableVisitor)
    }
}

struct HostVariableVisitor;

impl Visitor<'_> for HostVariableVisitor {
    type Value = HostVariableForm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a variable, or false")
    }

    fn visit_bool<E: de::Error>(self, derived: bool) -> Result<HostVariableForm, E> {
        Ok(HostVariableForm(if derived {
            HostVariable::Derived
        } else {
            HostVariable::Off
        }))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HostVariableForm, E> {
        let variable = text.parse().map_err(E::custom)?;
        Ok(HostVariableForm(HostVariable::Named(variable)))
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

    #[test]
    fn hosts_cannot_break_out_of_urls_or_shells() {
        for good in ["127.0.0.1", "::1", "web.localhost", "my_host", "localhost"] {
            assert!(good.parse::<AdvertisedHost>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a;b",
            "$(id)",
            "a/b",
            "[::1]",
            "a:80",
            "a@b",
            "-a",
            "a..b",
            "a\n",
            "é",
            "fe80::1%eth0",
            "'",
            "a#b",
        ] {
            assert!(bad.parse::<AdvertisedHost>().is_err(), "{bad:?} was taken");
        }
    }
}
