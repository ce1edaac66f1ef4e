//! Permits: which cgroup may bind which port and address, as the program in the kernel reads them from its map.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::program::{PROTOCOL_BITS, TCP, UDP};
use super::table::Content;
use crate::domain::address::AddressGroup;
use crate::domain::port::{Port, Protocol};

/// A port, and the cgroup whose processes alone may bind it.
#[derive(Debug, Clone)]
pub struct Permit {
    /// Protocol of the lease.
    pub protocol: Protocol,
    /// Port of the lease.
    pub port: Port,
    /// Addresses of the lease.
    pub group: AddressGroup,
    /// Id of the cgroup (`cgroup.id` of the kernel: the inode number of its folder).
    pub cgroup: u64,
    /// Number of cgroups above it.
    pub level: u32,
}

/// Size of a key of the map: protocol and port, and an address of IPv6.
pub(super) const KEY_SIZE: usize = 20;

/// Size of a value of the map: id and level of a cgroup, and whether its lease has all addresses of the family.
pub(super) const VALUE_SIZE: usize = 16;

type Key = [u8; KEY_SIZE];
type Value = [u8; VALUE_SIZE];

/// Offsets in a value.
pub(super) const LEVEL: i16 = 8;
pub(super) const COVERS_ALL: i16 = 12;

/// Cgroup that no process is in.
const NO_CGROUP: u64 = 0;

/// One owner, as long as the value is made.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    cgroup: u64,
    level: u32,
    covers_all: bool,
}

/// Makes the content of the map. A wildcard is in it if any address of the family is: it overlaps that one. `[::]`
/// counts as one that takes IPv4 too. Where it overlaps leases of several programs, it is nobody's.
pub(super) fn content(permits: &[Permit]) -> Content<KEY_SIZE, VALUE_SIZE> {
    let mut owners: BTreeMap<Key, Owner> = BTreeMap::new();
    for permit in permits {
        for address in permit.group.addresses() {
            let mut places = vec![address.ip, Ipv6Addr::UNSPECIFIED.into()];
            if address.ip.is_ipv4() {
                places.push(Ipv4Addr::UNSPECIFIED.into());
            }
            for ip in places {
                let owner = Owner {
                    cgroup: permit.cgroup,
                    level: permit.level,
                    covers_all: ip == address.ip && ip.is_unspecified(),
                };
                let known = owners
                    .entry(key(permit.protocol, permit.port, ip))
                    .or_insert(owner);
                *known = joined(*known, owner);
            }
        }
    }
    owners
        .into_iter()
        .map(|(key, owner)| (key, value(owner)))
        .collect()
}

fn joined(one: Owner, other: Owner) -> Owner {
    let is_one = (one.cgroup, one.level) == (other.cgroup, other.level);
    let whole = [one, other].into_iter().find(|owner| owner.covers_all);
    match whole {
        // Its lease keeps others off each address of the family.
        Some(owner) => owner,
        None if is_one => one,
        None => Owner {
            cgroup: NO_CGROUP,
            ..one
        },
    }
}

fn key(protocol: Protocol, port: Port, ip: IpAddr) -> Key {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut key = Key::default();
    key[..4].copy_from_slice(&place(protocol, port));
    key[4..].copy_from_slice(&ip.octets());
    key
}

/// A port as the kernel shows it to programs: of network order, in 32 bits.
pub(super) fn shown(port: Port) -> [u8; 4] {
    u32::from(port.get().to_be()).to_ne_bytes()
}

/// Number of a protocol in the header of IP, and so in the context of a bind.
const fn number(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}

/// Protocol and port as programs have them in keys: the port as the kernel shows it, in the low half.
pub(super) fn place(protocol: Protocol, port: Port) -> [u8; 4] {
    let port = u32::from_ne_bytes(shown(port));
    (number(protocol) << PROTOCOL_BITS | port).to_ne_bytes()
}

/// Port of a key that a program has made for a protocol. `None` if it is for another one.
pub(super) fn port_in(protocol: Protocol, key: [u8; 4]) -> Option<Port> {
    let other = u32::from_ne_bytes(key) ^ number(protocol) << PROTOCOL_BITS;
    from_shown(other.to_ne_bytes())
}

/// A port that a program has put into a map as the kernel shows it.
pub(super) fn from_shown(shown: [u8; 4]) -> Option<Port> {
    let number = u16::try_from(u32::from_ne_bytes(shown)).ok()?;
    Port::new(u16::from_be(number))
}

fn value(owner: Owner) -> Value {
    let mut value = Value::default();
    value[..8].copy_from_slice(&owner.cgroup.to_ne_bytes());
    value[8..12].copy_from_slice(&owner.level.to_ne_bytes());
    value[12..].copy_from_slice(&u32::from(owner.covers_all).to_ne_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::BindAddress;

    fn permit(ips: &[&str], cgroup: u64) -> Permit {
        let address = |ip: &&str| BindAddress {
            interface: "lo".into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        };
        Permit {
            protocol: Protocol::Tcp,
            port: Port::new(8080).unwrap(),
            group: AddressGroup::new(ips.iter().map(address)),
            cgroup,
            level: 2,
        }
    }

    fn at(permits: &[Permit], ip: &str) -> Option<(u64, bool)> {
        let content = content(permits);
        let value = content.get(&key(Protocol::Tcp, permits[0].port, ip.parse().unwrap()))?;
        let cgroup = u64::from_ne_bytes(value[..8].try_into().unwrap());
        Some((cgroup, value[12..] != [0; 4]))
    }

    #[test]
    fn wildcards_cover_their_family() {
        let any = [permit(&["0.0.0.0", "::"], 7)];
        assert_eq!(at(&any, "0.0.0.0"), Some((7, true)));
        assert_eq!(at(&any, "::"), Some((7, true)));
        assert_eq!(at(&any, "127.0.0.1"), None);
    }

    #[test]
    fn wildcards_overlap_single_addresses_and_cover_no_others() {
        let one = [permit(&["127.0.0.1"], 7)];
        assert_eq!(at(&one, "127.0.0.1"), Some((7, false)));
        assert_eq!(at(&one, "0.0.0.0"), Some((7, false)));
        assert_eq!(at(&one, "::"), Some((7, false)));
        let two = [permit(&["127.0.0.1"], 7), permit(&["10.0.0.1"], 8)];
        assert_eq!(at(&two, "10.0.0.1"), Some((8, false)));
        assert_eq!(at(&two, "0.0.0.0"), Some((NO_CGROUP, false)));
        let families = [permit(&["0.0.0.0"], 7), permit(&["::"], 8)];
        assert_eq!(at(&families, "0.0.0.0"), Some((7, true)));
        assert_eq!(at(&families, "::"), Some((8, true)));
    }
}
