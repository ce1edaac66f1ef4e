//! What the programs do to sockets, checked on the running kernel. The links are on the cgroup of the test
//! process: they act on ports that this process holds alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::folder::{Folder, of_process};
use super::programs::ASSISTED;
use super::{Links, is_link, obstacle};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::Port;
use crate::host::hold::tie_for_tcp;

/// A tied hold on some addresses, with links for its port.
struct Let {
    held: Vec<Socket>,
    links: Links,
    port: u16,
}

/// `None`, and says so, where programs cannot be loaded.
fn let_in(ips: &[IpAddr]) -> Option<Let> {
    if let Some(obstacle) = obstacle() {
        eprintln!("SKIPPED: no hand-over by bind here: {obstacle}");
        return None;
    }
    let mut port = 0;
    let hold = |ip: &IpAddr| {
        let socket = socket(*ip).unwrap();
        if ip.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        socket.bind(&SocketAddr::new(*ip, port).into()).unwrap();
        tie_for_tcp(&socket).unwrap();
        port = socket.local_addr().unwrap().as_socket().unwrap().port();
        socket
    };
    let held = ips.iter().map(hold).collect();
    let group = AddressGroup::new(ips.iter().map(|ip| BindAddress {
        interface: "lo".into(),
        ip: *ip,
        scope: 0,
    }));
    let own = of_process(std::process::id())
        .and_then(Folder::open)
        .unwrap();
    let links = Links::attach(&own, &group, Port::new(port).unwrap()).unwrap();
    Some(Let { held, links, port })
}

fn socket(ip: IpAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address((ip, 0).into()), Type::STREAM, None)
}

fn bound(ip: IpAddr, port: u16) -> io::Result<Socket> {
    let socket = socket(ip)?;
    socket.bind(&SocketAddr::new(ip, port).into())?;
    Ok(socket)
}

fn tie_of(socket: &Socket) -> Option<u32> {
    let index = socket.device_index_v4().unwrap();
    index.map(std::num::NonZeroU32::get)
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[test]
fn a_strict_server_listens_beside_a_hold_and_is_untied() {
    let Some(place) = let_in(&[V4, V6]) else {
        return;
    };
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    for ip in [V4, V6, mapped] {
        let server = bound(ip, place.port).unwrap();
        assert!(server.reuse_address().unwrap());
        assert!(tie_of(&server).is_some(), "{ip}");
        server.listen(1).unwrap();
        assert_eq!(tie_of(&server), None, "{ip}");
        TcpStream::connect((ip, place.port)).unwrap();
        // The kernel refuses it, and the listener stays what it is.
        server
            .bind(&SocketAddr::new(ip, place.port).into())
            .unwrap_err();
        assert_eq!(tie_of(&server), None, "{ip}");
        let second = bound(ip, place.port).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{ip}");
    }
    drop(place.held);
}

#[test]
fn a_dual_stack_server_listens_beside_holds_on_both_wildcards() {
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let Some(place) = let_in(&[v4, ANY]) else {
        return;
    };
    let server = socket(ANY).unwrap();
    server.set_only_v6(false).unwrap();
    server
        .bind(&SocketAddr::new(ANY, place.port).into())
        .unwrap();
    assert_eq!(tie_of(&server), Some(ASSISTED));
    server.listen(1).unwrap();
    for ip in [V4, V6] {
        TcpStream::connect((ip, place.port)).unwrap();
    }
    drop(place.held);
}

#[test]
fn only_addresses_of_the_lease_are_let_in() {
    let Some(place) = let_in(&[V4]) else { return };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let refused = bound(any, place.port).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    let other = bound("127.0.0.2".parse().unwrap(), place.port).unwrap();
    assert_eq!(tie_of(&other), None);
    drop(place.held);
}

#[test]
fn a_socket_that_connects_or_tries_another_port_is_untied() {
    let Some(place) = let_in(&[V4]) else { return };
    let server = bound(V4, place.port).unwrap();
    server.listen(1).unwrap();
    // Refused, since it is the second one.
    let second = socket(V4).unwrap();
    let at = SocketAddr::new(V4, place.port);
    second.bind(&at.into()).unwrap_err();
    assert_eq!(tie_of(&second), Some(ASSISTED));
    second.bind(&SocketAddr::new(V4, 0).into()).unwrap();
    assert_eq!(tie_of(&second), None);
    drop((server, second));
    let client = bound(V4, place.port).unwrap();
    let other = bound(V4, 0).unwrap();
    other.listen(1).unwrap();
    client.connect(&other.local_addr().unwrap()).unwrap();
    assert_eq!(tie_of(&client), None);
    drop(place.held);
}

#[test]
fn strangers_are_refused_once_the_links_are_gone() {
    let Some(place) = let_in(&[V4]) else { return };
    assert!(place.links.descriptors().all(is_link));
    assert!(!place.held.iter().any(is_link));
    drop(place.links);
    let refused = bound(V4, place.port).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}
