//! Reading interfaces, addresses and families from the kernel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use getifaddrs::Address;
use netlink_packet_core::NlasIterator;
use socket2::{Domain, Socket, Type};

use super::{Interface, InterfaceAddress, InterfaceError, Snapshot, is_virtual_name};
use crate::domain::address::Family;
use crate::host::netlink::{Netlink, invalid};

/// RTM_GETLINK of `rtnetlink(7)`.
const RTM_GETLINK: u16 = 18;
/// Attribute of a link's name.
const IFLA_IFNAME: u16 = 3;
/// Size of `struct ifinfomsg`: family, padding, type, index, flags, change mask.
const IFINFOMSG_BYTES: usize = 16;
/// IFF_UP and IFF_LOOPBACK of `netdevice(7)`.
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;

/// Reads everything.
pub(super) fn snapshot() -> Result<Snapshot, InterfaceError> {
    let mut interfaces = links().map_err(InterfaceError::Links)?;
    add_addresses(&mut interfaces).map_err(InterfaceError::Addresses)?;
    interfaces.sort_by_key(|known| known.index);
    Ok(Snapshot {
        interfaces,
        families: families(),
    })
}

/// Reads every link. By netlink, because the `getifaddrs` crate leaves out links that have neither
/// an IP nor a hardware address, and `/sys/class/net` may show another network namespace.
fn links() -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    Netlink::open(None)?.dump(RTM_GETLINK, &[0; IFINFOMSG_BYTES], |payload| {
        found.push(link(payload)?);
        Ok(())
    })?;
    Ok(found)
}

fn link(payload: &[u8]) -> io::Result<Interface> {
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, attributes) = payload
        .split_at_checked(IFINFOMSG_BYTES)
        .ok_or_else(short)?;
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (index, flags) = (word(4), word(8));
    let mut name: Arc<str> = "".into();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(invalid)?;
        if attribute.kind() == IFLA_IFNAME {
            let text = String::from_utf8_lossy(attribute.value());
            name = text.trim_end_matches('\0').into();
        }
    }
    Ok(Interface {
        is_virtual: is_virtual_name(&name),
        name,
        index,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        addresses: Vec::new(),
    })
}

/// Adds the addresses to their links. If a link came up after the links were read, its addresses
/// are left for the next reading, which that change causes.
fn add_addresses(interfaces: &mut [Interface]) -> io::Result<()> {
    for listed in getifaddrs::getifaddrs()? {
        let Some((ip, prefix_len)) = ip_and_prefix(&listed.address) else {
            continue;
        };
        let name = without_label(&listed.name);
        let owner = interfaces.iter_mut().find(|known| match listed.index {
            Some(index) => known.index == index,
            None => &*known.name == name,
        });
        if let Some(owner) = owner {
            let scope = zone(ip, owner.index);
            owner.addresses.push(InterfaceAddress {
                ip,
                prefix_len,
                scope,
                primary: false,
            });
        }
    }
    for known in interfaces {
        known.addresses.sort_unstable();
        known.addresses.dedup();
    }
    Ok(())
}

/// An address may be listed under a label of its own, such as `eth0:1` (`ip-address(8)`).
fn without_label(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

fn ip_and_prefix(address: &Address) -> Option<(IpAddr, u8)> {
    let bits = match address.netmask()? {
        IpAddr::V4(mask) => u32::from(mask).count_ones(),
        IpAddr::V6(mask) => u128::from(mask).count_ones(),
    };
    Some((address.ip_addr()?, u8::try_from(bits).ok()?))
}

/// Zone of an address: its interface for link-local IPv6 (RFC 4007), otherwise 0.
fn zone(ip: IpAddr, index: u32) -> u32 {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => index,
        _ => 0,
    }
}

/// Families in which this host can bind a socket. Without IPv6 (`ipv6.disable=1`, or compiled out)
/// the kernel makes no such socket.
pub fn families() -> Vec<Family> {
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .filter(|&family| is_supported(family))
        .collect()
}

fn is_supported(family: Family) -> bool {
    let domain = match family {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
    };
    let Ok(socket) = Socket::new(domain, Type::STREAM, None) else {
        return false;
    };
    if family == Family::Ipv6 && socket.set_only_v6(true).is_err() {
        return false;
    }
    match socket.bind(&SocketAddr::new(family.wildcard(), 0).into()) {
        Ok(()) => true,
        // Every ephemeral port is taken, so the family exists.
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
    }
}

/// Addresses from which the host reaches the outside; none without a route.
pub(super) fn primary_addresses() -> Vec<IpAddr> {
    let answers = [local_ip_address::local_ip(), local_ip_address::local_ipv6()];
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_of_this_host_is_listed() {
        let snapshot = snapshot().unwrap();
        let lo = snapshot.interface("lo").expect("every Linux has lo");
        assert!(lo.up && lo.loopback && !lo.is_virtual, "{lo:?}");
        let home = lo
            .addresses
            .iter()
            .find(|on| on.ip.to_string() == "127.0.0.1");
        assert_eq!(home.expect("127.0.0.1 on lo").prefix_len, 8);
        assert!(lo.makes_local("127.77.7.7".parse().unwrap()));
        assert!(!lo.makes_local("::2".parse().unwrap()));
        assert!(snapshot.families.contains(&Family::Ipv4));
    }

    #[test]
    fn every_interface_of_the_kernel_is_listed() {
        let snapshot = snapshot().unwrap();
        let table = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let names = table.lines().filter_map(|line| line.split_once(':'));
        for (name, _) in names {
            let known = snapshot.interface(name.trim());
            assert!(known.is_some_and(|known| known.index > 0), "{name}");
        }
    }

    #[test]
    fn a_link_local_address_carries_its_zone() {
        assert_eq!(zone("fe80::1".parse().unwrap(), 4), 4);
        assert_eq!(zone("fd00::1".parse().unwrap(), 4), 0);
        assert_eq!(zone("169.254.0.1".parse().unwrap(), 4), 0);
    }

    #[test]
    fn labels_are_cut_at_the_colon() {
        assert_eq!(without_label("eth0:1"), "eth0");
        assert_eq!(without_label("eth0"), "eth0");
    }

    #[test]
    fn the_listing_marks_only_addresses_that_lead_outside() {
        let primary = primary_addresses();
        let marked: Vec<IpAddr> = snapshot()
            .unwrap()
            .listing()
            .iter()
            .flat_map(|known| &known.addresses)
            .filter(|address| address.primary)
            .map(|address| address.ip)
            .collect();
        assert!(marked.iter().all(|ip| primary.contains(ip)));
        assert_eq!(marked.is_empty(), primary.is_empty());
    }

    #[test]
    fn a_short_answer_is_refused() {
        assert!(link(&[0; 15]).is_err());
    }
}
