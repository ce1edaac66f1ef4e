use super::occupancy::{rows, state_on};
use super::*;
use crate::answers::ports::Socket;
use crate::dashboard::part::badge::Tone;
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::lease::tests_support::lease;
use crate::host::occupancy::Entry;

/// A user without a name on any host.
const OTHER: u32 = 4_000_000_007;

/// A socket of a known process.
fn socket(local: &str, state: SocketState) -> Socket {
    let occupant = Occupant {
        pid: Some(42),
        uid: Some(OTHER),
        command: Some("nc\u{1b}".into()),
        state,
    };
    Socket::new(entry(local, state), Some(occupant))
}

fn entry(local: &str, state: SocketState) -> Entry {
    Entry {
        protocol: Protocol::Tcp,
        local: local.parse().unwrap(),
        scope: 0,
        dual: false,
        port: Port::new(8080).unwrap(),
        state,
        uid: Some(OTHER),
        inode: 0,
        queue: 0,
    }
}

fn on(ip: &str) -> BindAddress {
    BindAddress {
        interface: "eth0".into(),
        ip: ip.parse().unwrap(),
        scope: 0,
    }
}

#[test]
fn each_address_names_its_occupant() {
    let mut web = lease(8080);
    web.name = Some("web".parse().unwrap());
    web.addresses = AddressGroup::new([on("127.0.0.1")]);
    let leases = [Arc::new(web)];
    let sockets = [
        socket("127.0.0.1", SocketState::Listening),
        socket("10.0.0.1", SocketState::Listening),
        socket("10.0.0.2", SocketState::Lingering),
    ];
    let told = |address: &str, uid| {
        let viewer = Viewer::Reader { of: uid };
        let (state, who) = state_on(&on(address), &leases, &sockets, &viewer);
        format!("{} {who}", state.word)
    };
    assert_eq!(told("127.0.0.1", 1000), "handed lease web");
    assert_eq!(told("127.0.0.1", 1), "handed a lease of uid 1000");
    let hidden = format!("taken a socket, listening, uid {OTHER}");
    assert_eq!(told("10.0.0.1", 1), hidden);
    let named = format!("taken nc{} (pid 42), listening, uid {OTHER}", '\u{fffd}');
    assert_eq!(told("10.0.0.1", OTHER), named);
    assert_eq!(told("10.0.0.2", 1), "free closing connections only");
    assert_eq!(told("10.0.0.3", 1), "free no occupant");
    let wildcard = BindAddress::wildcard(Family::Ipv6);
    let viewer = Viewer::Reader { of: 1 };
    let (state, _) = state_on(&wildcard, &leases, &sockets, &viewer);
    assert_eq!(state.word, "free");
}

#[test]
fn lost_lease_is_taken_only_where_the_outsider_listens() {
    let mut lost = lease(8080);
    lost.state = State::Lost;
    let leases = [Arc::new(lost)];
    let sockets = [socket("127.0.0.1", SocketState::Listening)];
    let viewer = Viewer::Reader { of: OTHER };
    let told = |address: &str| state_on(&on(address), &leases, &sockets, &viewer);
    let (state, who) = told("127.0.0.1");
    assert_eq!(state.word, "lost");
    assert!(who.starts_with("nc"), "{who}");
    let (state, who) = told("10.0.0.1");
    assert_eq!(state.word, "not taken");
    assert!(who.ends_with("does not listen here"), "{who}");
}

#[test]
fn addresses_that_say_the_same_are_one_row() {
    let free = || (Badge::new(Tone::Good, "free"), String::new());
    let taken = || (Badge::new(Tone::Bad, "taken"), "nc".to_owned());
    let told = [
        (on("10.0.0.1"), free()),
        (on("10.0.0.2"), taken()),
        (on("10.0.0.3"), free()),
    ];
    let rows = rows(told.into_iter());
    let counts: Vec<usize> = rows.iter().map(|row| row.addresses.len()).collect();
    assert_eq!(counts, [2, 1]);
}

#[test]
fn only_ports_have_a_page() {
    let path = |protocol: &str, port: &str| parsed(&(protocol.to_owned(), port.to_owned()));
    assert!(path("udp", "53").is_ok());
    for (protocol, port) in [("sctp", "53"), ("tcp", "0"), ("tcp", "65536"), ("tcp", "x")] {
        assert_eq!(path(protocol, port).unwrap_err().status, 400);
    }
}
