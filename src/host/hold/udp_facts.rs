//! Facts about the kernel that a hold for UDP relies on: bound strictly, then tied to no interface.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::time::Duration;

use super::socket::{receive_in_gate, share, socket_for};
use super::tests::{hold_on, loopback, on, wildcards};
use super::*;

const ADDRESSES: [&str; 4] = ["127.0.0.1", "0.0.0.0", "::1", "::"];

/// Ways in which programs bind: with or without SO_REUSEADDR and SO_REUSEPORT.
const WAYS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// A UDP hold on a port that was free for TCP as well.
fn held(group: &AddressGroup) -> Hold {
    let take = |port| {
        let (how, clock) = (Take::Strictly, Clock::system());
        Hold::take(how, group, Protocol::Udp, port, &clock, &mut |_, _| {}).ok()
    };
    let hold = (0..100).find_map(|_| take(hold_on(group).port()));
    let hold = hold.expect("no UDP port could be held in 100 tries");
    assert_eq!(obstacle(), None);
    assert!(hold.stays_beneath());
    hold
}

fn bound(ip: &str, port: Port, (address, sockets): (bool, bool)) -> io::Result<Socket> {
    let socket = socket_for(&on(ip), Protocol::Udp)?;
    socket.set_reuse_address(address)?;
    socket.set_reuse_port(sockets)?;
    socket.bind(&on(ip).socket_addr(port).into())?;
    Ok(socket)
}

fn dual(port: Port, shares: bool) -> io::Result<Socket> {
    let socket = socket_for(&on("::"), Protocol::Udp)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(shares)?;
    socket.bind(&on("::").socket_addr(port).into())?;
    Ok(socket)
}

/// Sends this number of datagrams to a port of an address, one after the other is received there.
/// Returns the number of those that are not.
fn lost(sent: usize, to: SocketAddr, receiver: Socket) -> usize {
    let (receiver, sender) = (
        UdpSocket::from(receiver),
        UdpSocket::bind((to.ip(), 0)).unwrap(),
    );
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let arrives = |number: usize| {
        sender.send_to(&number.to_ne_bytes(), to).unwrap();
        let mut got = [0; 8];
        receiver.recv(&mut got).is_ok() && got == number.to_ne_bytes()
    };
    // Each that is lost takes long.
    (0..sent).filter(|number| !arrives(*number)).take(3).count()
}

fn has_taken(hold: &Hold) -> bool {
    let takes = |(_, socket): &(BindAddress, Socket)| {
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut [std::mem::MaybeUninit::uninit()]).is_ok()
    };
    hold.sockets.iter().any(takes)
}

#[test]
fn every_binder_is_refused_beside_a_tied_hold() {
    let hold = held(&wildcards());
    for ip in ADDRESSES {
        for way in WAYS {
            let refused = bound(ip, hold.port(), way).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{ip}, {way:?}");
        }
    }
    for shares in [false, true] {
        assert!(dual(hold.port(), shares).is_err(), "dual-stack, {shares}");
    }
}

#[test]
fn a_tied_hold_on_one_address_keeps_out_what_overlaps() {
    let hold = held(&loopback());
    for way in WAYS {
        assert!(bound("127.0.0.1", hold.port(), way).is_err(), "{way:?}");
        assert!(bound("0.0.0.0", hold.port(), way).is_err(), "{way:?}");
        assert!(dual(hold.port(), way.0).is_err());
    }
    bound("127.0.0.2", hold.port(), (false, false)).unwrap();
}

#[test]
fn a_client_of_a_tied_hold_is_refused_and_its_datagram_not_taken() {
    let hold = held(&wildcards());
    for ip in ["127.0.0.1", "::1"] {
        let client = UdpSocket::bind((ip, 0)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        client.connect((ip, hold.port().get())).unwrap();
        client.send(b"x").unwrap();
        let refused = client.recv(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert!(!has_taken(&hold));
}

#[test]
fn an_open_gate_lets_in_those_that_share_and_no_strict_binder() {
    let hold = held(&wildcards());
    hold.open_gate().unwrap();
    for ip in ADDRESSES {
        assert!(bound(ip, hold.port(), (false, false)).is_err(), "{ip}");
        for way in &WAYS[1..] {
            bound(ip, hold.port(), *way).unwrap();
        }
    }
    hold.shut_gate().unwrap();
    for (ip, way) in ADDRESSES.iter().zip(WAYS) {
        assert!(bound(ip, hold.port(), way).is_err(), "{ip}, {way:?}");
    }
}

#[test]
fn an_owner_beside_a_tied_hold_gets_every_datagram() {
    let hold = held(&wildcards());
    let at = |ip: &str| on(ip).socket_addr(hold.port());
    let owner = |ip: &str| {
        let (address, socket) = hold
            .sockets
            .iter()
            .find(|(one, _)| one.ip == on(ip).ip)
            .unwrap();
        receive_in_gate(socket, address, hold.port()).unwrap()
    };
    assert_eq!(lost(10_000, at("127.0.0.1"), owner("0.0.0.0")), 0);
    assert_eq!(lost(10_000, at("::1"), owner("::")), 0);
    hold.open_gate().unwrap();
    let sharing = dual(hold.port(), true).unwrap();
    assert_eq!(lost(100, at("127.0.0.1"), sharing), 0);
    assert!(!has_taken(&hold));
}

#[test]
fn workers_that_share_beside_a_tied_hold_get_every_datagram() {
    let hold = held(&loopback());
    hold.open_gate().unwrap();
    let at = on("127.0.0.1").socket_addr(hold.port());
    let worker = || UdpSocket::from(bound("127.0.0.1", hold.port(), (false, true)).unwrap());
    let workers: Vec<UdpSocket> = (0..3).map(|_| worker()).collect();
    // The kernel chooses the worker by the port of the client.
    let clients: Vec<UdpSocket> = (0..100)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    for client in &clients {
        client.send_to(b"x", at).unwrap();
    }
    let mut got = 0;
    for worker in &workers {
        worker
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        while worker.recv(&mut [0]).is_ok() {
            got += 1;
        }
    }
    assert_eq!(got, clients.len());
    assert!(!has_taken(&hold));
}

#[test]
fn an_owners_socket_shares_its_port_no_longer_than_it_takes_to_bind() {
    let hold = held(&loopback());
    let (address, beneath) = &hold.sockets[0];
    let owner = receive_in_gate(beneath, address, hold.port()).unwrap();
    for socket in [&owner, beneath] {
        assert!(!socket.reuse_address().unwrap());
        assert!(!socket.reuse_port().unwrap());
    }
    for way in WAYS {
        assert!(
            bound("127.0.0.1", hold.port(), way).is_err(),
            "beside the owner, {way:?}"
        );
    }
    drop(owner);
    for way in WAYS {
        assert!(
            bound("127.0.0.1", hold.port(), way).is_err(),
            "after it, {way:?}"
        );
    }
}

#[test]
fn a_hold_comes_beneath_an_owner_that_shares_and_no_other() {
    let group = loopback();
    let beneath = |port| {
        let (how, clock) = (Take::BesideOwner, Clock::system());
        Hold::take(how, &group, Protocol::Udp, port, &clock, &mut |_, _| {})
    };
    for way in WAYS {
        let port = held(&group).port();
        let owner = bound("127.0.0.1", port, way).unwrap();
        let hold = beneath(port);
        if way == (false, false) {
            assert_eq!(hold.unwrap_err(), Outcome::InUse);
            continue;
        }
        let hold = hold.unwrap();
        assert_eq!(lost(100, on("127.0.0.1").socket_addr(port), owner), 0);
        assert!(!has_taken(&hold));
        assert!(
            bound("127.0.0.1", port, way).is_err(),
            "after the owner, {way:?}"
        );
    }
}

/// The documentation says so: it is the one way past a tied hold.
#[test]
fn a_binder_of_an_interface_is_let_in() {
    let hold = held(&loopback());
    let socket = socket_for(&on("127.0.0.1"), Protocol::Udp).unwrap();
    socket.bind_device_by_index_v4(NonZeroU32::new(1)).unwrap();
    let at = on("127.0.0.1").socket_addr(hold.port());
    socket.bind(&at.into()).unwrap();
}

#[test]
fn a_link_local_address_keeps_its_interface() {
    let address = BindAddress {
        scope: 1,
        ..on("127.0.0.1")
    };
    assert!(!can_stay_beneath(&AddressGroup::new([address.clone()])));
    let socket = socket_for(&address, Protocol::Udp).unwrap();
    tie(&socket, &address).unwrap();
    assert!(!is_tied(&socket));
    share(&socket, Protocol::Udp, true).unwrap();
}
