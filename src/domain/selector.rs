//! Selectors: the words with which a pool or a request names interfaces and addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use strum::{EnumString, IntoStaticStr};

use super::address::{ANY_INTERFACE, Family};
use super::text::{as_text, from_text};
use super::words::as_str;

/// One selector. Several are read in order: those without `!` add, those with `!` take away.
///
/// ```
/// use portbook::domain::selector::Selector;
/// for text in ["any", "eth0", "en*", "10.0.0.7", "10.0.0.0/8", "private", "ipv6", "!docker0"] {
///     assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Whether a match is taken away instead of added (`!` before the word).
    pub negated: bool,
    /// Addresses that are matched.
    pub kind: SelectorKind,
}

/// Set of addresses that a selector matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    /// `any`: the wildcard addresses `0.0.0.0` and `[::]`, which cover every interface there will be.
    Any,
    /// A class of the addresses that exist now.
    Class(Class),
    /// Every address of a family, or with `any` that family's wildcard alone.
    Family(Family),
    /// Exactly this address. It must exist, or be a wildcard.
    Address(IpAddr),
    /// Every address in this network.
    Network(IpNet),
    /// An interface by name, or several by a glob with `*` and `?`.
    Interface(String),
}

/// Class of addresses. No class contains link-local addresses or those of container and tunnel
/// interfaces: these must be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantArray))]
#[strum(serialize_all = "lowercase")]
pub enum Class {
    /// Every address of an interface that is up.
    All,
    /// 127.0.0.0/8 and ::1.
    Loopback,
    /// Addresses for private use: RFC 1918, RFC 6598 (shared), RFC 4193 (unique local).
    Private,
    /// Every other global address.
    Public,
}

impl Class {
    /// Whether an address belongs to the class. Link-local addresses belong to none.
    pub fn matches(self, ip: IpAddr) -> bool {
        if is_link_local(ip) || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        match self {
            Self::All => true,
            Self::Loopback => ip.is_loopback(),
            Self::Private => is_private(ip),
            Self::Public => !ip.is_loopback() && !is_private(ip),
        }
    }
}

as_str!(Class);

/// Whether an address is link-local: 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291).
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        // 100.64.0.0/10 is the carriers' shared space (RFC 6598), private as seen from a host.
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// A text that is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Empty text.
    #[error("an empty selector selects nothing: name an interface, an address or a class")]
    Empty,
    /// `!any` would leave nothing that can be bound.
    #[error("\"!any\" takes every address away: exclude an interface, an address or a class")]
    NegatedAny,
    /// Not a network in CIDR form.
    #[error("\"{0}\" is not a network: write it as 10.0.0.0/8 or fd00::/8")]
    BadNetwork(String),
    /// A name that the kernel would not take for an interface.
    #[error(
        "\"{0}\" is neither an address, a network, a class (all, loopback, private, public), a family (ipv4, ipv6) nor an interface name"
    )]
    BadName(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (negated, word) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        let kind = word.parse::<SelectorKind>()?;
        if negated && kind == SelectorKind::Any {
            return Err(SelectorError::NegatedAny);
        }
        Ok(Self { negated, kind })
    }
}

impl FromStr for SelectorKind {
    type Err = SelectorError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() {
            return Err(SelectorError::Empty);
        }
        if word == ANY_INTERFACE {
            return Ok(Self::Any);
        }
        if let Ok(class) = word.parse() {
            return Ok(Self::Class(class));
        }
        if let Ok(family) = word.parse() {
            return Ok(Self::Family(family));
        }
        let bare = word.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Address(ip));
        }
        if word.contains('/') {
            let network = word.parse::<IpNet>();
            return network
                .map(|network| Self::Network(network.trunc()))
                .map_err(|_| SelectorError::BadNetwork(word.to_owned()));
        }
        if is_interface_name(word) {
            return Ok(Self::Interface(word.to_owned()));
        }
        Err(SelectorError::BadName(word.to_owned()))
    }
}

/// The kernel's rule (`dev_valid_name`): 1 to 15 bytes, no blank, no slash, no colon. A glob may be
/// longer than the name that it matches.
fn is_interface_name(word: &str) -> bool {
    let glob = word.contains(['*', '?']);
    let fits = glob || word.len() <= 15;
    fits && word
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated {
            f.write_str("!")?;
        }
        match &self.kind {
            SelectorKind::Any => f.write_str("any"),
            SelectorKind::Class(class) => f.write_str(class.as_str()),
            SelectorKind::Family(family) => f.write_str(family.as_str()),
            SelectorKind::Address(ip) => ip.fmt(f),
            SelectorKind::Network(network) => network.fmt(f),
            SelectorKind::Interface(name) => f.write_str(name),
        }
    }
}

as_text!(Selector);
from_text!(Selector);

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn words_mean_what_they_look_like() {
        let kind = |text: &str| text.parse::<Selector>().map(|selector| selector.kind);
        assert_eq!(kind("any"), Ok(SelectorKind::Any));
        assert_eq!(
            kind("[::1]"),
            Ok(SelectorKind::Address("::1".parse().unwrap()))
        );
        assert_eq!(
            kind("10.1.2.3/8"),
            Ok(SelectorKind::Network("10.0.0.0/8".parse().unwrap()))
        );
        assert_eq!(kind("br-*"), Ok(SelectorKind::Interface("br-*".into())));
        assert_eq!(
            kind("10.0.0.0/99"),
            Err(SelectorError::BadNetwork("10.0.0.0/99".into()))
        );
        assert_eq!(kind("!any"), Err(SelectorError::NegatedAny));
        assert_eq!(kind("  "), Err(SelectorError::Empty));
        assert!(kind("a name with blanks").is_err());
        assert!(kind("sixteen-bytes-xx").is_err());
    }

    #[test]
    fn classes_part_the_address_space() {
        let classes = |ip: &str| -> Vec<&str> {
            let ip = ip.parse().unwrap();
            let matching = Class::VARIANTS.iter().filter(|class| class.matches(ip));
            matching.map(|class| class.as_str()).collect()
        };
        assert_eq!(classes("127.0.0.1"), ["all", "loopback"]);
        assert_eq!(classes("10.77.0.2"), ["all", "private"]);
        assert_eq!(classes("100.64.0.1"), ["all", "private"]);
        assert_eq!(classes("fd77::2"), ["all", "private"]);
        assert_eq!(classes("198.51.100.7"), ["all", "public"]);
        assert_eq!(classes("2001:db8::7"), ["all", "public"]);
        assert!(classes("fe80::1").is_empty());
        assert!(classes("169.254.1.1").is_empty());
    }
}
