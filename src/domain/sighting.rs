//! Sightings: sockets of other programs in a snapshot, and the rule of their overlap with addresses.

use std::net::IpAddr;

use super::address::{BindAddress, Family};
use super::port::{Port, Protocol};

/// Program and user behind a sighting. No pid: after the fact it names no process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visitor {
    /// User of the socket. `None` if the kernel has forgotten.
    pub uid: Option<u32>,
    /// Name of the program (`/proc/PID/comm`): text from outside. `None` if its descriptors could not
    /// be read.
    pub command: Option<String>,
}

impl Visitor {
    /// Whether both may be one program of one user. Unknown parts match everything.
    pub fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        agree(self.uid.as_ref(), other.uid.as_ref())
            && agree(self.command.as_ref(), other.command.as_ref())
    }
}

/// A socket of another program on a port, as a snapshot saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sighting {
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// Port of the socket.
    pub port: Port,
    /// Local address of the socket.
    pub local: IpAddr,
    /// Interface index that it is bound to, as link-local IPv6 addresses are; 0 if none or unknown.
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
        // An unknown zone may be any.
        let same_zone = self.scope == address.scope || self.scope == 0 || address.scope == 0;
        self.local.is_unspecified()
            || address.is_wildcard()
            || (self.local == address.ip && same_zone)
    }
}
