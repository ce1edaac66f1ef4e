//! Whether a port is unused: bound for a moment, and let go of.

use std::io;

use socket2::Socket;

use super::socket::{bind_dual_strictly, outcome_of, socket_for};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::attempt::Outcome;
use crate::domain::port::{Port, Protocol};

/// Whether no socket is on a port of a group: the kernel refuses a bind beside any. For both wildcards one
/// dual-stack socket asks once (`ipv6(7)`). An address that the host has no more has no socket.
pub fn is_unused(group: &AddressGroup, protocol: Protocol, port: Port) -> bool {
    let is_refused =
        |bound: io::Result<Socket>| bound.is_err_and(|error| outcome_of(&error) == Outcome::InUse);
    let addresses = group.addresses();
    if addresses.len() == 2 && addresses.iter().all(BindAddress::is_wildcard) {
        return !is_refused(bind_dual_strictly(protocol, port));
    }
    let mut bound = addresses.iter().map(|address| {
        let socket = socket_for(address, protocol)?;
        socket.bind(&address.socket_addr(port).into())?;
        Ok(socket)
    });
    !bound.any(is_refused)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::domain::address::Family;

    fn wildcards() -> AddressGroup {
        AddressGroup::new([Family::Ipv4, Family::Ipv6].map(BindAddress::wildcard))
    }

    #[test]
    fn socket_of_either_family_on_any_address_is_a_use() {
        let group = wildcards();
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
            assert!(!is_unused(&group, Protocol::Tcp, port), "{ip}");
            drop(listener);
            assert!(is_unused(&group, Protocol::Tcp, port), "{ip}");
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            let port = Port::new(socket.local_addr().unwrap().port()).unwrap();
            assert!(!is_unused(&group, Protocol::Udp, port), "{ip}");
            drop(socket);
            assert!(is_unused(&group, Protocol::Udp, port), "{ip}");
        }
    }

    #[test]
    fn socket_that_is_bound_and_does_not_listen_is_a_use() {
        let any = BindAddress::wildcard(Family::Ipv4);
        let bound = socket_for(&any, Protocol::Tcp).unwrap();
        let loopback: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        bound.bind(&loopback.into()).unwrap();
        let at = bound.local_addr().unwrap().as_socket().unwrap();
        let port = Port::new(at.port()).unwrap();
        assert!(!is_unused(&wildcards(), Protocol::Tcp, port));
        assert!(!is_unused(&AddressGroup::new([any]), Protocol::Tcp, port));
    }
}
