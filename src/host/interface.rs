//! Network interfaces and their addresses: all that can be bound on this host now.
//!
//! `read` asks the kernel, `cache` asks it again only after a change, and `resolve` turns the
//! selectors of a pool into bind addresses without asking the kernel.

mod cache;
mod read;
mod resolve;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::address::{BindAddress, Family};

pub use cache::{Interfaces, watch};
pub use resolve::{SelectError, resolve};

/// The kernel does not tell the host's interfaces.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// RTM_GETLINK failed (`rtnetlink(7)`).
    #[error("cannot list the network interfaces: {0}; portbook needs netlink sockets (AF_NETLINK)")]
    Links(#[source] std::io::Error),
    /// `getifaddrs(3)` failed.
    #[error(
        "cannot list the addresses of the network interfaces: {0}; portbook needs netlink sockets (AF_NETLINK)"
    )]
    Addresses(#[source] std::io::Error),
}

/// The interfaces at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Every interface, even without an address or down, in the order of the index.
    pub interfaces: Vec<Interface>,
    /// Families that sockets can be bound in; a kernel may be built or booted without one.
    pub families: Vec<Family>,
}

impl Snapshot {
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|known| &*known.name == name)
    }

    /// The interfaces with the host's primary addresses marked, for people. It asks for the route
    /// to the outside (a millisecond or two), so allocations do without.
    pub fn listing(&self) -> Vec<Interface> {
        let primary = read::primary_addresses();
        let mut interfaces = self.interfaces.clone();
        for address in interfaces.iter_mut().flat_map(|known| &mut known.addresses) {
            address.primary = primary.contains(&address.ip);
        }
        interfaces
    }
}

/// One network interface (NIC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name, without the label that an address may carry (`eth0:1` is `eth0`).
    pub name: Arc<str>,
    /// Index in the kernel (`if_nametoindex(3)`).
    pub index: u32,
    /// Whether it is up (IFF_UP, `netdevice(7)`).
    pub up: bool,
    /// Whether it is a loopback (IFF_LOOPBACK).
    pub loopback: bool,
    /// Whether a container engine, hypervisor or tunnel made it, judged by its name. Classes leave
    /// such interfaces out.
    pub is_virtual: bool,
    /// Addresses, ascending; may be empty.
    pub addresses: Vec<InterfaceAddress>,
}

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    pub ip: IpAddr,
    /// Length of its network's prefix, in bits.
    pub prefix_len: u8,
    /// Index of the interface for link-local IPv6 (RFC 4007 zone), otherwise 0.
    pub scope: u32,
    /// Whether the host reaches the outside from it. Set by [`Snapshot::listing`] alone.
    pub primary: bool,
}

impl Interface {
    fn bind_address(&self, address: &InterfaceAddress) -> BindAddress {
        BindAddress {
            interface: Arc::clone(&self.name),
            ip: address.ip,
            scope: address.scope,
        }
    }

    /// Whether an IPv4 address that is not listed can be bound: the kernel makes the whole network
    /// of a loopback local (`fib_add_ifaddr` in Linux), such as 127.0.0.0/8.
    fn makes_local(&self, ip: IpAddr) -> bool {
        let within = |address: &InterfaceAddress| {
            IpNet::new(address.ip, address.prefix_len).is_ok_and(|network| network.contains(&ip))
        };
        self.up && self.loopback && ip.is_ipv4() && self.addresses.iter().any(within)
    }
}

/// Prefixes of the names of interfaces that container engines, hypervisors and tunnels make.
const VIRTUAL_PREFIXES: [&str; 8] = [
    "docker", "br-", "veth", "virbr", "cni", "cali", "flannel", "tap",
];

fn is_virtual_name(name: &str) -> bool {
    VIRTUAL_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_interfaces_are_known_by_name() {
        for name in [
            "docker0",
            "br-1a2b3c",
            "veth12ab",
            "virbr0",
            "cali9",
            "tap0",
        ] {
            assert!(is_virtual_name(name), "{name}");
        }
        for name in ["eth0", "br0", "wlp3s0", "lan0", "tun0"] {
            assert!(!is_virtual_name(name), "{name}");
        }
    }
}
