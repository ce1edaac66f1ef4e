//! Facts about the kernel that the hold relies on; `tests` check the hold itself.

use super::socket::socket_for;
use super::tests::{hold_on, loopback, on, serve, take, wildcards};
use super::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

fn bound(ip: &str, port: Port, reuse_address: bool) -> io::Result<Socket> {
    let socket = socket_for(&on(ip), Protocol::Tcp)?;
    socket.set_reuse_address(reuse_address)?;
    socket.bind(&on(ip).socket_addr(port).into())?;
    Ok(socket)
}

fn port_of(address: SocketAddr) -> Port {
    Port::new(address.port()).unwrap()
}

#[test]
fn a_strict_bind_is_refused_beside_any_socket() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listens = port_of(listener.local_addr().unwrap());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let connected = port_of(client.local_addr().unwrap());
    for (port, what) in [(listens, "a listener"), (connected, "a connection")] {
        let refused = take(&loopback(), port).unwrap_err();
        assert_eq!(refused, Outcome::InUse, "{what}");
        let refused = take(&wildcards(), port).unwrap_err();
        assert_eq!(refused, Outcome::InUse, "{what}, from the wildcard");
    }
    // The side that closes first keeps a TIME_WAIT.
    drop(client);
    drop((accepted, listener));
    let refused = take(&loopback(), connected).unwrap_err();
    assert_eq!(refused, Outcome::InUse, "a connection in TIME_WAIT");
}

#[test]
fn connecting_to_a_hold_is_refused() {
    for gate_is_open in [false, true] {
        let hold = hold_on(&wildcards());
        hold.set_gate(gate_is_open).unwrap();
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let at = SocketAddr::from((ip, hold.port().get()));
            let refused = TcpStream::connect(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{at}");
        }
    }
}

#[test]
fn a_socket_bound_through_the_gate_cannot_listen_after_it_shuts() {
    let hold = hold_on(&loopback());
    hold.open_gate().unwrap();
    let early = bound("127.0.0.1", hold.port(), true).unwrap();
    hold.shut_gate().unwrap();
    let refused = early.listen(1).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_gate_shuts_behind_a_listener_that_goes_on_serving() {
    for group in [loopback(), wildcards()] {
        let hold = hold_on(&group);
        hold.open_gate().unwrap();
        let owner = serve(hold.port()).unwrap();
        hold.shut_gate().unwrap();
        TcpStream::connect(owner.local_addr().unwrap()).unwrap();
        owner.accept().unwrap();
        assert!(serve(hold.port()).is_err(), "a second listener came in");
    }
}

#[test]
fn a_port_with_a_listener_cannot_be_held_again() {
    let port = hold_on(&loopback()).port();
    let _owner = serve(port).unwrap();
    for how in [Take::Strictly, Take::PastLingering] {
        let clock = Clock::system();
        let taken = Hold::take(
            how,
            &loopback(),
            Protocol::Tcp,
            port,
            &clock,
            &mut |_, _| {},
        );
        assert_eq!(taken.unwrap_err(), Outcome::InUse, "{how:?}");
    }
}

#[test]
fn two_takers_past_lingering_both_succeed() {
    let port = hold_on(&loopback()).port();
    let first = bound("127.0.0.1", port, true).unwrap();
    let second = bound("127.0.0.1", port, true).unwrap();
    drop((first, second));
}

/// Addresses from which a hold on one address keeps strict binders.
#[test]
fn the_kernel_and_the_books_agree_on_what_overlaps() {
    let addresses = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"];
    for held in addresses {
        let group = AddressGroup::new([on(held)]);
        for tried in addresses {
            // Another process may have the number on an address that does not overlap.
            let refused = (0..10).all(|_| {
                let hold = hold_on(&group);
                bound(tried, hold.port(), false).is_err()
            });
            let overlaps = group.overlaps(&AddressGroup::new([on(tried)]));
            assert_eq!(refused, overlaps, "{held} is held, {tried} is tried");
        }
    }
}

#[test]
fn a_udp_port_is_kept_from_strict_and_sharing_binders_alike() {
    let clock = Clock::system();
    let udp = |port| {
        let how = Take::Strictly;
        Hold::take(
            how,
            &loopback(),
            Protocol::Udp,
            port,
            &clock,
            &mut |_, _| {},
        )
    };
    let hold = (0..100).find_map(|_| udp(hold_on(&loopback()).port()).ok());
    let hold = hold.expect("no UDP port could be held in 100 tries");
    assert_eq!(udp(hold.port()).unwrap_err(), Outcome::InUse);
    let sharing = socket_for(&on("127.0.0.1"), Protocol::Udp).unwrap();
    sharing.set_reuse_address(true).unwrap();
    let at = on("127.0.0.1").socket_addr(hold.port());
    assert!(sharing.bind(&at.into()).is_err());
}
