//! What the guard does to binds, checked on the running kernel. It is on ports that this process holds alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::folder::{Folder, of_process};
use super::{Guard, Permit, is_link, obstacle};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::{Port, Protocol};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// No process: this one is an owner or a stranger.
const NOBODY: u32 = 0;

/// Sockets with an open gate on one port of some addresses, and a guard on it.
struct Place {
    held: Vec<Socket>,
    guard: Guard,
    permit: Permit,
}

impl Place {
    /// `None`, and says so, where no guard can be had.
    fn on(ips: &[IpAddr]) -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            eprintln!("SKIPPED: no hand-over by bind here: {obstacle}");
            return None;
        }
        let mut port = 0;
        let bound = |ip: &IpAddr| {
            let socket = socket(*ip).unwrap();
            if ip.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.bind(&SocketAddr::new(*ip, port).into()).unwrap();
            port = socket.local_addr().unwrap().as_socket().unwrap().port();
            socket.set_reuse_address(true).unwrap();
            socket
        };
        let held = ips.iter().map(bound).collect();
        let group = AddressGroup::new(ips.iter().map(|ip| BindAddress {
            interface: "lo".into(),
            ip: *ip,
            scope: 0,
        }));
        let own = of_process(std::process::id()).and_then(Folder::open);
        let permit = own
            .unwrap()
            .permit(Protocol::Tcp, Port::new(port).unwrap(), group);
        let guard = Guard::on(std::slice::from_ref(&permit), NOBODY).unwrap();
        Some(Self {
            held,
            guard,
            permit,
        })
    }

    /// Makes this process a stranger.
    fn shut_out(&mut self) {
        let permit = Permit {
            cgroup: u64::MAX,
            ..self.permit.clone()
        };
        self.guard.change_to(&[permit]).unwrap();
    }

    fn bind(&self, ip: IpAddr, shares: bool) -> io::Result<Socket> {
        let socket = socket(ip)?;
        socket.set_reuse_address(shares)?;
        socket.bind(&SocketAddr::new(ip, self.permit.port.get()).into())?;
        Ok(socket)
    }

    /// Whether a stranger that shares its port is refused.
    fn refuses(&self, ip: IpAddr) -> bool {
        match self.bind(ip, true) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{ip}");
                true
            }
        }
    }
}

fn socket(ip: IpAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address((ip, 0).into()), Type::STREAM, None)
}

#[test]
fn owner_binds_strictly_beside_an_open_gate_and_strangers_do_not() {
    let Some(mut place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    let all = [V4, V6, mapped, ANY4, ANY6, "127.0.0.9".parse().unwrap()];
    for ip in all {
        let server = place.bind(ip, false).unwrap();
        assert!(server.reuse_address().unwrap());
        server.listen(1).unwrap();
    }
    place.shut_out();
    for ip in all {
        assert!(place.refuses(ip), "{ip}");
    }
    place
        .guard
        .change_to(std::slice::from_ref(&place.permit))
        .unwrap();
    place.bind(V4, false).unwrap();
    drop(place.held);
}

#[test]
fn strangers_may_bind_other_addresses_and_protocols() {
    let Some(mut place) = Place::on(&[V4]) else {
        return;
    };
    // The owner is not bound to the addresses of its lease.
    place.bind(ANY4, false).unwrap();
    place.shut_out();
    for ip in [V4, ANY4, ANY6] {
        assert!(place.refuses(ip), "{ip}");
    }
    for ip in [V6, "127.0.0.9".parse().unwrap()] {
        assert!(!place.refuses(ip), "{ip}");
    }
    let udp = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let at = SocketAddr::new(V4, place.permit.port.get());
    udp.bind(&at.into()).unwrap();
    drop(place.held);
}

#[test]
fn stranger_that_is_bound_to_an_interface_is_refused() {
    let Some(mut place) = Place::on(&[ANY4]) else {
        return;
    };
    place.shut_out();
    let socket = socket(V4).unwrap();
    socket.bind_device(Some(b"lo")).unwrap();
    let at = SocketAddr::new(V4, place.permit.port.get());
    let refused = socket.bind(&at.into()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop(place.held);
}

#[test]
fn guard_ends_with_its_links() {
    let Some(mut place) = Place::on(&[V4]) else {
        return;
    };
    assert!(place.guard.descriptors().all(is_link));
    assert!(!place.held.iter().any(is_link));
    place.shut_out();
    assert!(place.refuses(V4));
    drop(place.guard);
    let socket = socket(V4).unwrap();
    socket.set_reuse_address(true).unwrap();
    let at = SocketAddr::new(V4, place.permit.port.get());
    socket.bind(&at.into()).unwrap();
}
