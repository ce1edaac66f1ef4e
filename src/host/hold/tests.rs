//! The hold on the running kernel.

use super::socket::socket_for;
use super::*;
use std::net::{Ipv4Addr, TcpStream};

/// Makes a hold on a port that the kernel chose (`bind(0)`).
pub(super) fn hold_on(group: &AddressGroup) -> Hold {
    for _ in 0..100 {
        let probe = socket_for(&group.addresses()[0], Protocol::Tcp).unwrap();
        let ip = group.addresses()[0].ip;
        probe
            .bind(&std::net::SocketAddr::from((ip, 0)).into())
            .unwrap();
        let port = probe.local_addr().unwrap().as_socket().unwrap().port();
        drop(probe);
        let port = Port::new(port).unwrap();
        if let Ok(hold) = take(group, port) {
            return hold;
        }
    }
    panic!("no port could be held in 100 tries");
}

pub(super) fn take(group: &AddressGroup, port: Port) -> Result<Hold, Outcome> {
    let clock = Clock::system();
    Hold::take(
        Take::Strictly,
        group,
        Protocol::Tcp,
        port,
        &clock,
        &mut |_, _| {},
    )
}

pub(super) fn on(ip: &str) -> BindAddress {
    BindAddress {
        interface: "lo".into(),
        ip: ip.parse().unwrap(),
        scope: 0,
    }
}

pub(super) fn loopback() -> AddressGroup {
    AddressGroup::new([on("127.0.0.1")])
}

pub(super) fn wildcards() -> AddressGroup {
    AddressGroup::new([on("0.0.0.0"), on("::")])
}

/// Listens as most servers do; `std` sets SO_REUSEADDR.
pub(super) fn serve(port: Port) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.get()))
}

/// Listens as servers do that spread connections over processes.
fn serve_reuseport(port: Port) -> io::Result<Socket> {
    let socket = socket_for(&on("127.0.0.1"), Protocol::Tcp)?;
    socket.set_reuse_port(true)?;
    socket.bind(&on("127.0.0.1").socket_addr(port).into())?;
    socket.listen(1)?;
    Ok(socket)
}

#[test]
fn a_shut_gate_refuses_every_binder() {
    let hold = hold_on(&loopback());
    assert_eq!(take(&loopback(), hold.port()).unwrap_err(), Outcome::InUse);
    assert!(serve(hold.port()).is_err());
    drop(hold);
}

#[test]
fn an_open_gate_lets_the_owner_in_and_strict_binders_not() {
    for group in [loopback(), wildcards()] {
        let hold = hold_on(&group);
        hold.open_gate().unwrap();
        assert_eq!(take(&group, hold.port()).unwrap_err(), Outcome::InUse);
        let owner = serve(hold.port()).unwrap();
        assert!(serve(hold.port()).is_err(), "a second listener came in");
        TcpStream::connect(owner.local_addr().unwrap()).unwrap();
        owner.accept().unwrap();
        drop(owner);
        serve(hold.port()).expect("the owner could not restart past TIME_WAIT");
    }
}

#[test]
fn shutting_ends_the_permission_that_reuseport_left_behind() {
    for group in [loopback(), wildcards()] {
        let hold = hold_on(&group);
        hold.open_gate().unwrap();
        // Both options: REUSEADDR to pass the gate, REUSEPORT to leave its permission.
        let owner = socket_for(&on("127.0.0.1"), Protocol::Tcp).unwrap();
        owner.set_reuse_address(true).unwrap();
        owner.set_reuse_port(true).unwrap();
        owner
            .bind(&on("127.0.0.1").socket_addr(hold.port()).into())
            .unwrap();
        owner.listen(1).unwrap();
        drop(owner);
        hold.set_gate(false).unwrap();
        assert!(
            serve_reuseport(hold.port()).is_ok(),
            "the kernel no longer needs the throwaway bind"
        );
        hold.shut_gate().unwrap();
        assert!(serve_reuseport(hold.port()).is_err());
    }
}

#[test]
fn a_hold_goes_past_lingering_connections() {
    let port = hold_on(&loopback()).port();
    let owner = serve(port).unwrap();
    let client = TcpStream::connect(owner.local_addr().unwrap()).unwrap();
    let (accepted, _) = owner.accept().unwrap();
    drop((accepted, client, owner));
    assert_eq!(take(&loopback(), port).unwrap_err(), Outcome::InUse);
    let clock = Clock::system();
    let mut attempts = Vec::new();
    let how = Take::PastLingering;
    let hold = Hold::take(
        how,
        &loopback(),
        Protocol::Tcp,
        port,
        &clock,
        &mut |attempt, _| attempts.push(attempt),
    )
    .unwrap();
    assert_eq!(attempts[0].outcome, Outcome::Lingering);
    assert!(serve(port).is_err(), "the re-taken hold left a hole");
    drop(hold);
}

#[test]
fn the_first_refusal_lets_go_of_the_rest() {
    let both = AddressGroup::new([on("127.0.0.1"), on("127.0.0.2")]);
    let other = hold_on(&AddressGroup::new([on("127.0.0.2")]));
    let clock = Clock::system();
    let mut attempts = Vec::new();
    let how = Take::Strictly;
    let port = other.port();
    let refused = Hold::take(
        how,
        &both,
        Protocol::Tcp,
        port,
        &clock,
        &mut |attempt, _| attempts.push(attempt),
    );
    assert_eq!(refused.unwrap_err(), Outcome::InUse);
    let outcomes: Vec<Outcome> = attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Bound, Outcome::InUse]);
    take(&loopback(), port).expect("127.0.0.1 was not let go");
}

#[test]
fn a_missing_address_is_not_a_busy_port() {
    let group = AddressGroup::new([on("198.51.100.254")]);
    let refused = take(&group, Port::new(20000).unwrap());
    assert_eq!(refused.unwrap_err(), Outcome::AddressNotAvailable);
}

#[test]
fn a_hold_becomes_the_listener() {
    let hold = hold_on(&loopback());
    let port = hold.port();
    let listeners = hold.into_listeners().unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port.get())).unwrap();
    assert_eq!(listeners.len(), 1);
}
