//! What the rewriter does to binds and connects, checked on the running kernel. It is on the cgroup of this process,
//! for a number that this process holds alone.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

use super::folder::{Folder, of_process};
use super::{Guard, Mapping, Mappings, Permit, Rewriter, obstacle};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::{Port, Protocol};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Two ports that this process holds on all addresses, of which the second stands for the first.
struct Place {
    held: Vec<Socket>,
    mapping: Mapping,
    rewriter: Rewriter,
}

impl Place {
    /// A lease on these addresses, whose gate is open. `None`, and says so, where no rewriter can be had.
    fn on(ips: &[IpAddr]) -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            eprintln!("SKIPPED: no hand-over by bind here: {obstacle}");
            return None;
        }
        let (from, to) = (held(), held());
        to.set_reuse_address(true).unwrap();
        let mapping = Mapping {
            protocol: Protocol::Tcp,
            from: port(&from),
            to: port(&to),
            group: AddressGroup::new(ips.iter().map(|ip| BindAddress {
                interface: "lo".into(),
                ip: *ip,
                scope: 0,
            })),
            uid: 0,
        };
        let own = of_process(std::process::id()).and_then(Folder::open);
        let own = own.unwrap();
        let rewriter = Rewriter::on(&own, &only(mapping.clone())).unwrap();
        Some(Self {
            held: vec![from, to],
            mapping,
            rewriter,
        })
    }

    /// Has a server ask for the mapped port, and returns its true address.
    fn bind(&self, ip: IpAddr) -> io::Result<(Socket, SocketAddr)> {
        let server = Socket::new(Domain::for_address((ip, 0).into()), Type::STREAM, None)?;
        server.set_reuse_address(true)?;
        server.bind(&SocketAddr::new(ip, self.mapping.from.get()).into())?;
        server.listen(16)?;
        let at = server.local_addr()?.as_socket().unwrap();
        Ok((server, at))
    }

    /// Connects to the mapped port, and returns the true address of the server.
    fn connect(&self, ip: IpAddr) -> io::Result<SocketAddr> {
        TcpStream::connect((ip, self.mapping.from.get()))?.peer_addr()
    }

    fn to(&self, ip: IpAddr) -> SocketAddr {
        (ip, self.mapping.to.get()).into()
    }
}

pub(super) fn only(mapping: Mapping) -> Mappings {
    Mappings {
        known: vec![mapping],
        all: None,
    }
}

/// A port on all addresses, which nothing else can bind.
pub(super) fn held() -> Socket {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&SocketAddr::from((ANY6, 0)).into()).unwrap();
    socket
}

pub(super) fn port(socket: &Socket) -> Port {
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    Port::new(at.port()).unwrap()
}

fn mapped(ip: Ipv4Addr) -> IpAddr {
    ip.to_ipv6_mapped().into()
}

#[test]
fn binds_and_connects_go_to_the_port_of_the_lease() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    for ip in [ANY4, V4, OTHER, ANY6, V6, mapped(Ipv4Addr::LOCALHOST)] {
        let (_server, at) = place.bind(ip).unwrap();
        assert_eq!(at, place.to(ip));
        let reached = if ip.is_unspecified() { V4 } else { ip };
        assert_eq!(place.connect(reached).unwrap(), place.to(reached), "{ip}");
    }
    let (_server, _) = place.bind(ANY6).unwrap();
    for ip in [V6, mapped(Ipv4Addr::LOCALHOST), OTHER] {
        assert_eq!(place.connect(ip).unwrap(), place.to(ip));
    }
    // The kernel takes them for loopback.
    assert_eq!(place.connect(ANY4).unwrap(), place.to(V4));
    assert_eq!(place.connect(ANY6).unwrap(), place.to(V6));
}

#[test]
fn only_address_of_the_lease_stands_for_wildcard_and_localhost() {
    let Some(place) = Place::on(&[OTHER]) else {
        return;
    };
    for ip in [ANY4, ANY6, mapped(Ipv4Addr::UNSPECIFIED)] {
        let (_server, at) = place.bind(ip).unwrap();
        assert_eq!(at.port(), place.mapping.to.get());
        assert_eq!(at.ip().to_canonical(), OTHER);
        for ip in [V4, V6, OTHER, ANY4, mapped(Ipv4Addr::LOCALHOST)] {
            let reached = place.connect(ip).unwrap();
            assert_eq!(reached.ip().to_canonical(), OTHER, "{ip}");
        }
    }
    // A program may still ask for an address by itself.
    let (_server, at) = place.bind("127.0.0.3".parse().unwrap()).unwrap();
    assert_eq!(at.ip().to_string(), "127.0.0.3");
}

#[test]
fn processes_of_other_users_are_left_alone() {
    let Some(mut place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let of_user = |uid| Mapping {
        uid,
        ..place.mapping.clone()
    };
    let own = rustix::process::getuid().as_raw();
    place.rewriter.change_to(&only(of_user(own))).unwrap();
    place.bind(ANY4).unwrap();
    place.rewriter.change_to(&only(of_user(own + 1))).unwrap();
    assert!(place.bind(ANY4).is_err());
}

#[test]
fn address_of_ipv4_is_nothing_for_sockets_of_ipv6_alone() {
    let Some(place) = Place::on(&[OTHER]) else {
        return;
    };
    let server = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    server.set_only_v6(true).unwrap();
    let at = SocketAddr::new(ANY6, place.mapping.from.get());
    let refused = server.bind(&at.into()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn other_ports_addresses_and_protocols_are_left_alone() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let from = place.mapping.from.get();
    let udp = std::net::UdpSocket::bind((V4, from)).unwrap();
    assert_eq!(udp.local_addr().unwrap().port(), from);
    let other = TcpListener::bind((V4, 0)).unwrap();
    let at = other.local_addr().unwrap();
    assert_eq!(TcpStream::connect(at).unwrap().peer_addr().unwrap(), at);
    let (_server, _) = place.bind(ANY6).unwrap();
    // An address of documentation (RFC 5737), which no host has.
    let away = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    away.set_nonblocking(true).unwrap();
    let foreign = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), from));
    let _ = away.connect(&foreign.into());
    let peer = away.peer_addr().ok().and_then(|peer| peer.as_socket());
    assert!(peer.is_none_or(|peer| peer == foreign), "{peer:?}");
}

/// Binds the port of its argument and prints the one that it has, or the error's number, for each line.
const BINDS: &str = "
import socket, sys
for line in sys.stdin:
    with socket.socket() as s:
        try:
            s.bind(('127.0.0.1', int(sys.argv[1])))
            print(s.getsockname()[1], flush=True)
        except OSError as error:
            print(error.errno, flush=True)
";

#[test]
fn guard_at_the_root_sees_the_port_that_was_put_in() {
    let Some(place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    let mut program = Command::new("python3");
    program.args(["-c", BINDS, &place.mapping.from.to_string()]);
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut program) = program.spawn() else {
        return eprintln!("SKIPPED: no python3");
    };
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut said = || {
        let mut line = String::new();
        writeln!(program.stdin.as_ref().unwrap()).unwrap();
        stdout.read_line(&mut line).unwrap();
        line.trim().parse::<i32>().unwrap()
    };
    let name = format!("portbook-fact-{}", program.id());
    let inside = Folder::below_that_of(program.id(), &name).unwrap();
    inside.take_in(program.id()).unwrap();
    drop(place.rewriter);
    let in_use = nix::libc::EADDRINUSE;
    assert_eq!(said(), in_use);
    let Mapping { to, group, .. } = place.mapping.clone();
    let own = inside.permit(Protocol::Tcp, to, group);
    let stranger = Permit {
        cgroup: u64::MAX,
        ..own.clone()
    };
    let mut guard = Guard::on(&[own], 0).unwrap();
    let rewriter = Rewriter::on(&inside, &only(place.mapping.clone())).unwrap();
    // Strictly, so that only the guard lets it in.
    assert_eq!(said(), i32::from(place.mapping.to.get()));
    guard.change_to(&[stranger]).unwrap();
    assert_eq!(said(), in_use);
    drop((guard, rewriter, place.held));
    drop(program.stdin.take());
    program.wait().unwrap();
    inside.remove().unwrap();
}

#[test]
fn mapping_ends_with_its_links() {
    let Some(mut place) = Place::on(&[ANY4, ANY6]) else {
        return;
    };
    place.bind(ANY4).unwrap();
    place.rewriter.change_to(&Mappings::default()).unwrap();
    assert!(place.bind(ANY4).is_err());
    let again = only(place.mapping.clone());
    place.rewriter.change_to(&again).unwrap();
    place.bind(ANY4).unwrap();
    assert!(place.rewriter.descriptors().all(super::is_link));
    let Place { held, rewriter, .. } = place;
    drop(rewriter);
    let from = port(&held[0]).get();
    let refused = TcpListener::bind((V4, from)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}
