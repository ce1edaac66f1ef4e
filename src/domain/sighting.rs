//! Sightings: what one occupancy snapshot saw on one port. Who overlaps whom is decided here.

use std::net::IpAddr;

use super::address::{BindAddress, Family};
use super::port::{Port, Protocol};

/// A socket of somebody else on a port, as a snapshot saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sighting {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: Port,
    /// Its local address.
    pub local: IpAddr,
    /// The interface that it is bound to, as link-local IPv6 addresses are; 0 for none or unknown.
    pub scope: u32,
    /// Whether it is on `[::]` and covers IPv4 as well (no IPV6_V6ONLY, `ipv6(7)`).
    pub dual: bool,
}

impl Sighting {
    /// Whether the kernel would refuse a strict bind of this address (portbook's are IPv6-only)
    /// because of this socket: `inet_rcv_saddr_equal` in Linux.
    pub fn overlaps(&self, address: &BindAddress) -> bool {
        if Family::of(self.local) != address.family() {
            return self.dual && address.family() == Family::Ipv4;
        }
        // A zone that is not known may be the same.
        let same_zone = self.scope == address.scope || self.scope == 0 || address.scope == 0;
        self.local.is_unspecified()
            || address.is_wildcard()
            || (self.local == address.ip && same_zone)
    }
}
