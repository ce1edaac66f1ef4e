//! Mappings: the port that a program asks for, and the port and the addresses that it gets instead, as the programs
//! in the kernel read them from their map.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::permit::{from_shown, place, shown};
use super::table::Content;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::{Port, Protocol};

/// A port that a program asks for, and the lease that it gets in its place.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Protocol of both ports.
    pub protocol: Protocol,
    /// Port that the program asks for.
    pub from: Port,
    /// Port of the lease.
    pub to: Port,
    /// Addresses of the lease.
    pub group: AddressGroup,
    /// User of the program. Processes of other users in its cgroup are left alone, unless it is root.
    pub uid: u32,
}

/// First port that a server of a plain user could have.
pub(super) const FIRST_PLAIN: u16 = 1024;

impl Mapping {
    /// Whether connects are rewritten too. A program that runs with more rights than its user, such as `su`, may trust
    /// the server on a port that takes privilege.
    fn is_for_connects(&self) -> bool {
        self.uid == 0 || self.from.get() >= FIRST_PLAIN
    }
}

/// Size of a key of the map: protocol and port.
pub(super) const KEY_SIZE: usize = 4;

/// Size of a value of the map: a port, the addresses that stand for the wildcards, each behind a word that is 0
/// if there is none, whether it is for connects, and the user.
pub(super) const VALUE_SIZE: usize = 40;

/// Offsets in a value.
pub(super) const TO: i16 = 0;
pub(super) const HAS_IP4: i16 = 4;
pub(super) const NEW_IP4: i16 = 8;
pub(super) const HAS_IP6: i16 = 12;
pub(super) const NEW_IP6: i16 = 16;
pub(super) const CONNECTS: i16 = 32;
pub(super) const USER: i16 = 36;

/// A lease that the program gets in place of the next port that it asks for and that has no mapping yet.
#[derive(Debug, Clone)]
pub struct Spare {
    /// Port of the lease.
    pub to: Port,
    /// Addresses of the lease.
    pub group: AddressGroup,
}

/// All that the programs in the kernel do for the processes of one cgroup.
#[derive(Debug, Clone, Default)]
pub struct Mappings {
    /// Mappings that are known.
    pub known: Vec<Mapping>,
    /// Mapping of all other ports for TCP. `None` if they are left alone.
    pub all: Option<All>,
}

impl Mappings {
    /// Whether a port for UDP is mapped.
    pub(super) fn has_udp(&self) -> bool {
        let mut known = self.known.iter();
        known.any(|mapping| mapping.protocol == Protocol::Udp)
    }
}

/// Mapping of all ports that no other mapping names.
#[derive(Debug, Clone, Default)]
pub struct All {
    /// User of the program.
    pub uid: u32,
    /// Leases to take.
    pub spares: Vec<Spare>,
    /// Leased ports that processes of the cgroup may bind as they are.
    pub passing: Vec<Port>,
}

/// Makes the content of the map.
pub(super) fn content(mappings: &Mappings) -> Content<KEY_SIZE, VALUE_SIZE> {
    let passing = mappings.all.iter().flat_map(|all| &all.passing);
    let mut content: Content<_, _> = passing
        .map(|port| (place(Protocol::Tcp, *port), itself(*port)))
        .collect();
    let known = mappings.known.iter();
    content.extend(known.map(|mapping| (place(mapping.protocol, mapping.from), value(mapping))));
    content
}

/// Value of a port that stays what it is, whichever user binds it.
fn itself(port: Port) -> [u8; VALUE_SIZE] {
    let mut value = [0; VALUE_SIZE];
    value[..4].copy_from_slice(&shown(port));
    value
}

fn value(mapping: &Mapping) -> [u8; VALUE_SIZE] {
    value_of(
        mapping.to,
        &mapping.group,
        mapping.is_for_connects(),
        mapping.uid,
    )
}

/// Value of a spare. The program that takes it clears whether it is for connects, if need be.
pub(super) fn spare(spare: &Spare, uid: u32) -> [u8; VALUE_SIZE] {
    value_of(spare.to, &spare.group, true, uid)
}

/// Port that a value puts in.
pub(super) fn to(value: &[u8; VALUE_SIZE]) -> Option<Port> {
    from_shown(*value.first_chunk()?)
}

fn value_of(to: Port, group: &AddressGroup, connects: bool, uid: u32) -> [u8; VALUE_SIZE] {
    let mut value = itself(to);
    if let Some(ip) = for_ipv4(group) {
        value[4..8].copy_from_slice(&1u32.to_ne_bytes());
        value[8..12].copy_from_slice(&ip.octets());
    }
    if let Some(ip) = for_ipv6(group) {
        value[12..16].copy_from_slice(&1u32.to_ne_bytes());
        value[16..32].copy_from_slice(&ip.octets());
    }
    value[32..36].copy_from_slice(&u32::from(connects).to_ne_bytes());
    value[36..].copy_from_slice(&uid.to_ne_bytes());
    value
}

/// Address in place of `0.0.0.0`: the only one of IPv4 that the lease has. A wildcard stays what it is.
fn for_ipv4(group: &AddressGroup) -> Option<Ipv4Addr> {
    let ips = group.addresses().iter().map(|address| address.ip);
    let mut ips = ips.filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    let only = ips.next().filter(|_| ips.next().is_none());
    only.filter(|ip| !ip.is_unspecified())
}

/// Address in place of `::`: the only one that the lease has, since a socket on `::` may take IPv4 too. A program in
/// the kernel cannot set the zone that a link-local address needs.
fn for_ipv6(group: &AddressGroup) -> Option<Ipv6Addr> {
    let [BindAddress { ip, scope: 0, .. }] = group.addresses() else {
        return None;
    };
    match ip {
        _ if ip.is_unspecified() => None,
        IpAddr::V4(ip) => Some(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => Some(*ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(ips: &[&str]) -> AddressGroup {
        AddressGroup::new(ips.iter().map(|ip| BindAddress {
            interface: "lo".into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        }))
    }

    fn instead(ips: &[&str]) -> (Option<String>, Option<String>) {
        let group = group(ips);
        let text = |ip: IpAddr| ip.to_string();
        let ip4 = for_ipv4(&group).map(|ip| text(ip.into()));
        (ip4, for_ipv6(&group).map(|ip| text(ip.into())))
    }

    #[test]
    fn connects_of_plain_users_to_privileged_ports_are_left_alone() {
        let mapping = |uid, from| Mapping {
            protocol: Protocol::Tcp,
            from: Port::new(from).unwrap(),
            to: Port::new(20000).unwrap(),
            group: group(&["0.0.0.0"]),
            uid,
        };
        assert!(mapping(1000, 1024).is_for_connects());
        assert!(!mapping(1000, 1023).is_for_connects());
        assert!(mapping(0, 389).is_for_connects());
    }

    #[test]
    fn wildcards_of_a_lease_stay() {
        assert_eq!(instead(&["0.0.0.0", "::"]), (None, None));
        assert_eq!(instead(&["::"]), (None, None));
    }

    #[test]
    fn only_address_of_a_lease_stands_for_both_wildcards() {
        let both = |ip4: &str, ip6: &str| (Some(ip4.to_owned()), Some(ip6.to_owned()));
        assert_eq!(instead(&["10.0.0.1"]), both("10.0.0.1", "::ffff:10.0.0.1"));
        assert_eq!(instead(&["::1"]), (None, Some("::1".to_owned())));
    }

    #[test]
    fn one_of_several_addresses_stands_for_no_dual_wildcard() {
        let only4 = |ip4: &str| (Some(ip4.to_owned()), None);
        assert_eq!(instead(&["127.0.0.1", "::1"]), only4("127.0.0.1"));
        assert_eq!(instead(&["10.0.0.1", "10.0.0.2"]), (None, None));
    }
}
