//! Bind addresses, and the rules of overlap between them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::port::Port;
use super::words::as_str;

/// Interface name of the wildcard addresses, which belong to no NIC.
pub const ANY_INTERFACE: &str = "any";

/// Address family.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Address that covers every address of the family.
    pub const fn wildcard(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

as_str!(Family);

/// One (interface, IP) pair that a lease holds its port on.
///
/// IPv6 sockets of portbook are always IPv6-only (`IPV6_V6ONLY`, RFC 3493 section 5.3), so an
/// address never reaches into the other family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BindAddress {
    /// Name of the interface, or [`ANY_INTERFACE`].
    pub interface: Arc<str>,
    /// IP address.
    pub ip: IpAddr,
    /// Interface index of a link-local IPv6 address (RFC 4007 zone); 0 for all others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scope: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(scope: &u32) -> bool {
    *scope == 0
}

impl BindAddress {
    /// Wildcard address of a family.
    pub fn wildcard(family: Family) -> Self {
        Self {
            interface: ANY_INTERFACE.into(),
            ip: family.wildcard(),
            scope: 0,
        }
    }

    /// Family of its IP address.
    pub const fn family(&self) -> Family {
        Family::of(self.ip)
    }

    /// Whether it covers every address of its family.
    pub const fn is_wildcard(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        }
    }

    /// Whether the kernel would refuse a strict bind of one while the other is bound: they are
    /// equal, or one is the wildcard of the family of both (`inet_csk_bind_conflict` in Linux).
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family()
            && (self.is_wildcard()
                || other.is_wildcard()
                || (self.ip == other.ip && self.scope == other.scope))
    }

    /// Whether a bind on this address binds the other as well: they are equal, or this is the wildcard
    /// of its family.
    pub fn covers(&self, other: &Self) -> bool {
        self.family() == other.family()
            && (self.is_wildcard() || (self.ip == other.ip && self.scope == other.scope))
    }

    /// Argument for `bind(2)`.
    pub fn socket_addr(&self, port: Port) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port.get())),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port.get(), 0, self.scope)),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if self.scope != 0 {
            write!(f, "%{}", self.interface)?;
        }
        Ok(())
    }
}

/// Set of bind addresses that a request holds its port on, ascending and without duplicates.
///
/// Leases are counted per group: within one group a port is leased once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressGroup(Arc<[BindAddress]>);

impl AddressGroup {
    /// Group of these addresses. The wildcard of a family covers the others of that family, which drop
    /// out.
    pub fn new(addresses: impl IntoIterator<Item = BindAddress>) -> Self {
        let mut all: Vec<BindAddress> = addresses.into_iter().collect();
        let covered: Vec<Family> = all
            .iter()
            .filter(|address| address.is_wildcard())
            .map(BindAddress::family)
            .collect();
        all.retain(|address| address.is_wildcard() || !covered.contains(&address.family()));
        all.sort_by(|a, b| (a.ip, a.scope).cmp(&(b.ip, b.scope)));
        all.dedup_by(|a, b| a.ip == b.ip && a.scope == b.scope);
        Self(all.into())
    }

    /// Addresses, ascending.
    pub fn addresses(&self) -> &[BindAddress] {
        &self.0
    }

    /// Whether any address of one overlaps any of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|mine| other.0.iter().any(|theirs| mine.overlaps(theirs)))
    }

    /// Whether they are the wildcards of both families, which one dual-stack socket covers.
    pub fn is_dual(&self) -> bool {
        self.0.len() == 2 && self.0.iter().all(BindAddress::is_wildcard)
    }

    /// Whether a client of "localhost" may reach one of them.
    pub fn has_localhost(&self) -> bool {
        let mut addresses = self.0.iter();
        addresses.any(|address| reaches_localhost(address.ip))
    }

    /// Advertised host: 127.0.0.1 if it is held (by itself or by a wildcard), else ::1 if the IPv6
    /// wildcard is held, else the first address.
    pub fn advertised_host(&self) -> String {
        let loopback = BindAddress {
            interface: "lo".into(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scope: 0,
        };
        if self.0.iter().any(|address| address.overlaps(&loopback)) {
            return loopback.to_string();
        }
        match self.0.first() {
            Some(first) if first.is_wildcard() => Ipv6Addr::LOCALHOST.to_string(),
            Some(first) => first.to_string(),
            None => String::new(),
        }
    }
}

/// Whether a client of "localhost" may reach a socket on this address.
pub fn reaches_localhost(ip: IpAddr) -> bool {
    let localhost = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    ip.is_unspecified() || localhost.contains(&ip)
}

/// Writes an address with a port as clients do: IPv6 in brackets (RFC 3986 section 3.2.2), a zone
/// behind `%`.
pub fn with_port(address: &BindAddress, port: Port) -> String {
    host_with_port(&address.to_string(), port)
}

/// Writes a host name or address with a port, IPv6 addresses in brackets.
pub fn host_with_port(host: &str, port: Port) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Writes `http://HOST:PORT`, with a zone's `%` escaped as RFC 6874 asks.
pub fn http_url(host: &str, port: Port) -> String {
    format!("http://{}", host_with_port(&host.replace('%', "%25"), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(ip: &str) -> BindAddress {
        BindAddress {
            interface: "eth0".into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        }
    }

    #[test]
    fn wildcards_cover_their_own_family_only() {
        assert!(on("0.0.0.0").overlaps(&on("127.0.0.1")));
        assert!(on("127.0.0.1").overlaps(&on("0.0.0.0")));
        assert!(!on("0.0.0.0").overlaps(&on("::1")));
        assert!(on("::").overlaps(&on("fd00::1")));
        assert!(!on("127.0.0.1").overlaps(&on("127.0.0.2")));
    }

    #[test]
    fn a_link_local_address_is_another_on_each_interface() {
        let scoped = |scope| BindAddress {
            scope,
            ..on("fe80::1")
        };
        assert!(scoped(2).overlaps(&scoped(2)));
        assert!(!scoped(2).overlaps(&scoped(3)));
    }

    #[test]
    fn a_group_drops_what_its_wildcard_covers() {
        let group = AddressGroup::new([on("127.0.0.1"), on("0.0.0.0"), on("::1"), on("::1")]);
        let ips: Vec<String> = group.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["0.0.0.0", "::1"]);
    }

    #[test]
    fn the_advertised_host_is_loopback_where_it_is_held() {
        let host = |ips: &[&str]| AddressGroup::new(ips.iter().map(|ip| on(ip))).advertised_host();
        assert_eq!(host(&["0.0.0.0", "::"]), "127.0.0.1");
        assert_eq!(host(&["10.0.0.1", "127.0.0.1"]), "127.0.0.1");
        assert_eq!(host(&["::"]), "::1");
        assert_eq!(host(&["10.77.0.2"]), "10.77.0.2");
    }

    #[test]
    fn localhost_is_both_loopback_addresses_and_wildcards() {
        let has = |ips: &[&str]| AddressGroup::new(ips.iter().map(|ip| on(ip))).has_localhost();
        assert!(has(&["127.0.0.1"]) && has(&["10.0.0.1", "::1"]) && has(&["::"]));
        assert!(!has(&["127.0.0.2", "10.0.0.1"]));
    }

    #[test]
    fn ipv6_stands_in_brackets() {
        let port = Port::new(80).unwrap();
        assert_eq!(http_url("fd77:6::2", port), "http://[fd77:6::2]:80");
        assert_eq!(http_url("fe80::1%eth0", port), "http://[fe80::1%25eth0]:80");
    }
}
