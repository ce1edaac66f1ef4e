use super::*;
use crate::domain::address::{AddressGroup, Family};
use crate::domain::attempt::Occupant;
use crate::domain::lease::tests_support::lease;
use crate::host::occupancy::Entry;

/// A socket of a process that the service knows.
fn socket(local: &str, state: SocketState) -> Socket {
    let occupant = Occupant {
        pid: Some(42),
        uid: Some(7),
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
        uid: Some(7),
        inode: 0,
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
fn each_address_tells_who_has_the_port_there() {
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
    assert_eq!(told("10.0.0.1", 1), "taken a socket, listening, uid 7");
    let named = "taken nc\u{fffd} (pid 42), listening, uid 7";
    assert_eq!(told("10.0.0.1", 7), named);
    assert_eq!(told("10.0.0.2", 1), "free closing connections only");
    assert_eq!(told("10.0.0.3", 1), "free nobody");
    let wildcard = BindAddress::wildcard(Family::Ipv6);
    let viewer = Viewer::Reader { of: 1 };
    let (state, _) = state_on(&wildcard, &leases, &sockets, &viewer);
    assert_eq!(state.word, "free");
}

#[test]
fn a_past_lease_of_others_is_told_by_its_user_alone() {
    let mut ended = lease(8080);
    ended.name = Some("secret".parse().unwrap());
    ended.ended_at = Some(Timestamp::UNIX_EPOCH);
    let living = lease(8080);
    let leases = [ended, living];
    let rows = past(&leases, &Viewer::Reader { of: 1 }, Timestamp::UNIX_EPOCH);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0].name, &rows[0].href, rows[0].uid),
        (&None, &None, 1000)
    );
    let rows = past(&leases, &Viewer::Reader { of: 1000 }, Timestamp::UNIX_EPOCH);
    assert_eq!(rows[0].name.as_deref(), Some("secret"));
}

#[test]
fn only_a_port_has_a_page() {
    let path = |protocol: &str, port: &str| parsed(&(protocol.to_owned(), port.to_owned()));
    assert!(path("udp", "53").is_ok());
    for (protocol, port) in [("sctp", "53"), ("tcp", "0"), ("tcp", "65536"), ("tcp", "x")] {
        assert_eq!(path(protocol, port).unwrap_err().status, 400);
    }
}
