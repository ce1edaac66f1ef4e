//! What guard and rewriter do to UDP, checked on the running kernel. They are on the cgroup of this process, for numbers
//! that this process holds alone. `ip(7)` and `udp(7)` have the calls, `bpf_sock_addr` in `linux/bpf.h` the hooks.

mod guard;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::facts_of_mapping::only;
use super::folder::{Folder, of_process};
use super::{Mapping, Mappings, Permit, Rewriter, obstacle};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::{Port, Protocol};
use crate::host::hold::NO_INTERFACE;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const MAPPED4: IpAddr = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());

/// Two ports that this process holds on all addresses. The second, with its gate open, stands for the first.
struct Place {
    _held: [Socket; 2],
    mapping: Mapping,
    permit: Permit,
}

impl Place {
    /// `None`, and says so, where neither guard nor rewriter can be had.
    fn on(ips: &[IpAddr]) -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            eprintln!("SKIPPED: no hand-over by bind here: {obstacle}");
            return None;
        }
        let (from, to) = (held(), held());
        to.bind_device_by_index_v4(NonZeroU32::new(NO_INTERFACE))
            .unwrap();
        to.set_reuse_address(true).unwrap();
        let group = AddressGroup::new(ips.iter().map(|ip| BindAddress {
            interface: "lo".into(),
            ip: *ip,
            scope: 0,
        }));
        let mapping = Mapping {
            protocol: Protocol::Udp,
            from: port(&from),
            to: port(&to),
            group: group.clone(),
            uid: 0,
        };
        Some(Self {
            permit: own().permit(Protocol::Udp, mapping.to, group),
            _held: [from, to],
            mapping,
        })
    }

    fn rewriter(&self) -> Rewriter {
        Rewriter::on(&own(), &only(self.mapping.clone())).unwrap()
    }

    fn from(&self) -> u16 {
        self.mapping.from.get()
    }

    fn to(&self) -> u16 {
        self.mapping.to.get()
    }

    /// Has a server ask for the mapped port.
    fn bind(&self, ip: IpAddr) -> io::Result<UdpSocket> {
        bound(ip, self.from(), true)
    }
}

fn own() -> Folder {
    of_process(std::process::id())
        .and_then(Folder::open)
        .unwrap()
}

/// A port on all addresses, which nothing else can bind.
fn held() -> Socket {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&SocketAddr::from((ANY6, 0)).into()).unwrap();
    socket
}

fn port(socket: &Socket) -> Port {
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    Port::new(at.port()).unwrap()
}

fn bound(ip: IpAddr, port: u16, shares: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address((ip, 0).into()), Type::DGRAM, None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(shares)?;
    socket.bind(&SocketAddr::new(ip, port).into())?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket.into())
}

/// A client for an address, on a port of the kernel's choice.
fn client(ip: IpAddr) -> UdpSocket {
    bound(if ip.is_ipv4() { ANY4 } else { ANY6 }, 0, false).unwrap()
}

/// Has a server answer a datagram. Returns the address that the answer seems to come from.
fn answered(client: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    let (mut asked, mut answer) = ([0; 4], [0; 4]);
    let (_, peer) = server.recv_from(&mut asked).unwrap();
    assert_eq!(&asked, b"asks");
    server.send_to(b"told", peer).unwrap();
    let (_, from) = client.recv_from(&mut answer).unwrap();
    assert_eq!(&answer, b"told");
    from
}

/// Addresses at which a client may ask for a server on this host, with those that the answers come from.
const ASKED: [(IpAddr, IpAddr); 7] = [
    (V4, V4),
    (ANY4, V4),
    // The kernel answers for a wildcard socket from the address that clients have.
    (OTHER, V4),
    (V6, V6),
    (ANY6, V6),
    (MAPPED4, MAPPED4),
    (IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()), MAPPED4),
];

#[test]
fn binds_go_to_the_port_of_the_lease() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let rewriter = place.rewriter();
    for ip in [ANY4, V4, OTHER, ANY6, V6, MAPPED4] {
        let server = place.bind(ip).unwrap();
        let at = server.local_addr().unwrap();
        assert_eq!(at, (ip, place.to()).into());
    }
    // A map for UDP is none for TCP.
    let tcp = TcpListener::bind((V4, place.from())).unwrap();
    assert_eq!(tcp.local_addr().unwrap().port(), place.from());
    assert!(rewriter.descriptors().all(super::is_link));
    drop(rewriter);
    let refused = place.bind(V4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn datagrams_reach_the_own_server_which_seems_to_be_where_they_were_sent() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let _rewriter = place.rewriter();
    let server = place.bind(ANY6).unwrap();
    for (ip, from) in ASKED {
        let seen = SocketAddr::from((from, place.from()));
        let unconnected = client(ip);
        for _ in 0..2 {
            unconnected.send_to(b"asks", (ip, place.from())).unwrap();
            assert_eq!(answered(&unconnected, &server), seen, "{ip}");
        }
        if ip == OTHER {
            // A connected socket hears no other address, mapped or not.
            continue;
        }
        let connected = client(ip);
        connected.connect((ip, place.from())).unwrap();
        connected.send(b"asks").unwrap();
        assert_eq!(answered(&connected, &server), seen, "{ip}, connected");
    }
}

#[test]
fn answers_of_the_leased_port_stay_for_those_that_ask_for_it() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let _rewriter = place.rewriter();
    let server = place.bind(ANY6).unwrap();
    for ip in [V4, V6, MAPPED4] {
        let (mapped, direct) = (client(ip), client(ip));
        mapped.send_to(b"asks", (ip, place.from())).unwrap();
        answered(&mapped, &server);
        let at = SocketAddr::from((ip, place.to()));
        direct.send_to(b"asks", at).unwrap();
        assert_eq!(answered(&direct, &server), at);
    }
    // Another server, on a port that is not mapped.
    let other = bound(V4, 0, false).unwrap();
    let client = client(V4);
    client
        .send_to(b"asks", other.local_addr().unwrap())
        .unwrap();
    assert_eq!(answered(&client, &other), other.local_addr().unwrap());
}

#[test]
fn only_address_of_a_lease_is_that_of_the_server() {
    let Some(place) = Place::on(&[OTHER]) else {
        return;
    };
    let _rewriter = place.rewriter();
    for any in [ANY4, ANY6] {
        let server = place.bind(any).unwrap();
        let at = server.local_addr().unwrap();
        assert_eq!((at.ip().to_canonical(), at.port()), (OTHER, place.to()));
        for ip in [V4, OTHER, ANY4, MAPPED4] {
            let client = client(ip);
            client.send_to(b"asks", (ip, place.from())).unwrap();
            let seen = if ip.is_unspecified() { V4 } else { ip };
            assert_eq!(answered(&client, &server), (seen, place.from()).into());
        }
        let connected = client(V6);
        connected.connect((V6, place.from())).unwrap();
        connected.send(b"asks").unwrap();
        assert_eq!(answered(&connected, &server), (V6, place.from()).into());
        // Not connected, it has no way to an address of IPv4, but goes to no other program either.
        let away = client(V6).send_to(b"asks", (V6, place.from()));
        assert_eq!(away.unwrap(), 4);
    }
}

#[test]
fn only_address_of_a_lease_may_be_of_ipv6() {
    let Some(place) = Place::on(&[V6]) else {
        return;
    };
    let _rewriter = place.rewriter();
    let server = place.bind(ANY6).unwrap();
    assert_eq!(server.local_addr().unwrap(), (V6, place.to()).into());
    for ip in [V6, ANY6] {
        let client = client(ip);
        client.send_to(b"asks", (ip, place.from())).unwrap();
        assert_eq!(answered(&client, &server), (V6, place.from()).into());
    }
}

#[test]
fn datagrams_of_other_users_and_to_other_hosts_are_left_alone() {
    let Some(mut place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    // An address of documentation (RFC 5737), which no host has.
    let away = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), place.from()));
    let rewriter = place.rewriter();
    let client = client(V4);
    if client.connect(away).is_ok() {
        assert_eq!(client.peer_addr().unwrap(), away);
    }
    drop(rewriter);
    place.mapping.uid = rustix::process::getuid().as_raw() + 1;
    let _rewriter = place.rewriter();
    assert!(place.bind(ANY4).is_err());
}

#[test]
fn rewriter_for_tcp_gives_way_to_one_for_udp() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let tcp = Mapping {
        protocol: Protocol::Tcp,
        ..place.mapping.clone()
    };
    let mut rewriter = Rewriter::on(&own(), &only(tcp.clone())).unwrap();
    assert_eq!(rewriter.descriptors().count(), 4);
    let both = Mappings {
        known: vec![tcp, place.mapping.clone()],
        all: None,
    };
    let refused = rewriter.change_to(&both).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(!rewriter.suits(&both) && place.rewriter().suits(&both));
    assert_eq!(place.rewriter().descriptors().count(), 8);
}
