//! Real sockets, looked up in this kernel's tables.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;

fn on(ip: &str) -> BindAddress {
    BindAddress {
        interface: "lo".into(),
        ip: ip.parse().unwrap(),
        scope: 0,
    }
}

/// Occupants of these addresses, each once.
fn occupants(protocol: Protocol, port: Port, overlapping: &[BindAddress]) -> Vec<Occupant> {
    let mut entries = Occupancy::on_port(protocol, port).unwrap();
    entries.retain(|entry| overlapping.iter().any(|address| entry.overlaps(address)));
    let mut found: Vec<Occupant> = Vec::new();
    for (_, occupant) in behind(entries) {
        if !found.contains(&occupant) {
            found.push(occupant);
        }
    }
    found
}

fn port_of(address: SocketAddr) -> Port {
    Port::new(address.port()).unwrap()
}

/// Binds the IPv6 wildcard. `None`, with a message, on a host without IPv6.
fn on_ipv6_wildcard(only_v6: bool) -> Option<(Socket, Port)> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)
        .inspect_err(|error| eprintln!("skipped: no IPv6 here ({error})"))
        .ok()?;
    socket.set_only_v6(only_v6).unwrap();
    let any: SocketAddr = "[::]:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let port = port_of(socket.local_addr().unwrap().as_socket().unwrap());
    Some((socket, port))
}

fn inode_of(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

/// Finds the entry of this very socket: connections of other tests may be on that number too, in
/// another family or left in TIME_WAIT.
fn entry_of(socket: impl AsFd, protocol: Protocol, port: Port) -> Entry {
    let inode = inode_of(socket);
    let mut found = Occupancy::on_port(protocol, port).unwrap();
    assert!(found.iter().all(|entry| entry.port == port), "{found:?}");
    found.retain(|entry| entry.inode == inode);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Waits for a condition. Closing takes effect a little later if the child of another test, between
/// fork and exec, still has a copy of the descriptor.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let tries = std::iter::repeat_n(Duration::from_millis(5), 1000);
    let holds = tries.into_iter().any(|pause| {
        let holds = condition();
        if !holds {
            std::thread::sleep(pause);
        }
        holds
    });
    assert!(holds, "{what}: not within five seconds");
}

/// Whether this kernel lists sockets that are only bound; prints a message if it does not.
fn lists_bound_sockets() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let lists = version >= (6, 8);
    if !lists {
        eprintln!("skipped: Linux {release} does not list sockets that are only bound");
    }
    lists
}

#[test]
fn a_listener_is_found_with_its_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let found = entry_of(&listener, Protocol::Tcp, port);
    assert_eq!(found.local.to_string(), "127.0.0.1");
    assert_eq!(found.state, SocketState::Listening);
    assert!(!found.overlaps(&on("127.0.0.2")) && !found.overlaps(&on("::")));

    let me = std::process::id();
    let expected = Occupant {
        pid: Some(me),
        uid: Some(rustix::process::geteuid().as_raw()),
        command: Some(crate::host::process::command(me).unwrap()),
        state: SocketState::Listening,
    };
    assert_eq!(
        occupants(Protocol::Tcp, port, &[on("0.0.0.0")])[0],
        expected
    );
    for (protocol, elsewhere) in [(Protocol::Tcp, "127.0.0.2"), (Protocol::Udp, "127.0.0.1")] {
        assert!(!occupants(protocol, port, &[on(elsewhere)]).contains(&expected));
    }
}

#[test]
fn listeners_on_a_port_leave_out_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    let inodes = |found: Vec<Entry>| found.iter().map(|entry| entry.inode).collect::<Vec<_>>();
    let alone = inodes(Occupancy::listeners_on(port).unwrap());
    assert_eq!(alone, [inode_of(&listener)]);
    let all = inodes(Occupancy::on_port(Protocol::Tcp, port).unwrap());
    assert!(all.contains(&inode_of(&accepted)), "{all:?}");
    drop(client);
}

#[test]
fn a_closed_listener_is_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let inode = inode_of(&listener);
    drop(listener);
    eventually("the listener is gone", || {
        let left = Occupancy::on_port(Protocol::Tcp, port).unwrap();
        left.iter().all(|entry| entry.inode != inode)
    });
}

#[test]
fn a_socket_that_is_only_bound_is_found() {
    if !lists_bound_sockets() {
        return;
    }
    for (domain, ip) in [(Domain::IPV4, "127.0.0.1"), (Domain::IPV6, "::1")] {
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        let address = SocketAddr::new(ip.parse().unwrap(), 0);
        if let Err(error) = socket.bind(&address.into()) {
            eprintln!("skipped for {ip}: {error}");
            continue;
        }
        let port = port_of(socket.local_addr().unwrap().as_socket().unwrap());
        assert_eq!(
            entry_of(&socket, Protocol::Tcp, port).state,
            SocketState::Bound
        );
        let first = &occupants(Protocol::Tcp, port, &[on(ip)])[0];
        assert_eq!(first.state, SocketState::Bound);
        assert_eq!(first.pid, Some(std::process::id()));
    }
}

#[test]
fn a_dual_stack_listener_covers_both_families() {
    let Some((socket, port)) = on_ipv6_wildcard(false) else {
        return;
    };
    socket.listen(1).unwrap();
    let found = entry_of(&socket, Protocol::Tcp, port);
    assert!(found.dual);
    assert!(found.overlaps(&on("127.0.0.1")) && found.overlaps(&on("::1")));
}

#[test]
fn an_ipv6_only_listener_leaves_ipv4_alone() {
    let Some((socket, port)) = on_ipv6_wildcard(true) else {
        return;
    };
    socket.listen(1).unwrap();
    let found = entry_of(&socket, Protocol::Tcp, port);
    assert!(!found.dual);
    assert!(!found.overlaps(&on("127.0.0.1")) && found.overlaps(&on("::1")));
}

#[test]
fn a_hold_on_the_ipv6_wildcard_is_not_dual() {
    if !lists_bound_sockets() {
        return;
    }
    let Some((socket, port)) = on_ipv6_wildcard(true) else {
        return;
    };
    let found = entry_of(&socket, Protocol::Tcp, port);
    assert!(found.state == SocketState::Bound && !found.dual);
}

#[test]
fn a_udp_socket_is_found_and_listens_once_bound() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = port_of(socket.local_addr().unwrap());
    let state = || entry_of(&socket, Protocol::Udp, port).state;
    assert_eq!(state(), SocketState::Listening);
    socket.connect("127.0.0.1:9").unwrap();
    assert_eq!(state(), SocketState::Connected);
    let found = &occupants(Protocol::Udp, port, &[on("127.0.0.1")])[0];
    assert_eq!(found.pid, Some(std::process::id()));
}

#[test]
fn connections_come_after_their_listener_and_linger_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = port_of(address);
    let client = TcpStream::connect(address).unwrap();
    let (served, _) = listener.accept().unwrap();
    let states = || -> Vec<SocketState> {
        let found = occupants(Protocol::Tcp, port, &[on("127.0.0.1")]);
        found.iter().map(|occupant| occupant.state).collect()
    };
    assert_eq!(states(), [SocketState::Listening, SocketState::Connected]);
    // The end that closes first keeps the port for a while.
    drop((served, listener));
    drop(client);
    let time_wait = [Occupant {
        state: SocketState::Lingering,
        ..Occupant::default()
    }];
    eventually("only TIME_WAIT is left, which has no process", || {
        occupants(Protocol::Tcp, port, &[on("127.0.0.1")]) == time_wait
    });
}

#[test]
fn an_ipv4_client_of_a_dual_stack_server_is_shown_as_ipv4() {
    let Some((socket, port)) = on_ipv6_wildcard(false) else {
        return;
    };
    socket.listen(1).unwrap();
    let _client = TcpStream::connect(("127.0.0.1", port.get())).unwrap();
    let (served, _) = socket.accept().unwrap();
    let found = entry_of(&served, Protocol::Tcp, port);
    assert_eq!(found.state, SocketState::Connected);
    assert_eq!(found.local.to_string(), "127.0.0.1");
}

#[test]
fn a_snapshot_holds_the_protocols_asked_for() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp_port = port_of(tcp.local_addr().unwrap());
    let udp_port = port_of(udp.local_addr().unwrap());
    let seen = |protocols: &[Protocol], protocol, port| {
        let entries = Occupancy::snapshot(protocols).unwrap().entries;
        let wanted = |entry: &Entry| (entry.protocol, entry.port) == (protocol, port);
        entries.iter().any(wanted)
    };
    let both = [Protocol::Tcp, Protocol::Udp];
    assert!(seen(&both, Protocol::Tcp, tcp_port) && seen(&both, Protocol::Udp, udp_port));
    assert!(!seen(&[Protocol::Tcp], Protocol::Udp, udp_port));
}

#[test]
fn both_tables_agree_on_a_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(listener.local_addr().unwrap());
    let mut found = proc_net::read(Protocol::Tcp, Some(port)).unwrap();
    found.retain(|entry| entry.inode == inode_of(&listener));
    assert_eq!(found, [entry_of(&listener, Protocol::Tcp, port)]);
}

#[test]
fn a_link_local_socket_occupies_its_own_interface_only() {
    let raw = |scope| Raw {
        protocol: Protocol::Tcp,
        local: "fe80::1".parse().unwrap(),
        scope,
        v6_only: Some(true),
        port: 80,
        state: 10,
        uid: 0,
        inode: 1,
        queue: 0,
    };
    let address = BindAddress {
        scope: 2,
        ..on("fe80::1")
    };
    assert!(raw(2).entry().unwrap().overlaps(&address));
    assert!(raw(0).entry().unwrap().overlaps(&address));
    assert!(!raw(3).entry().unwrap().overlaps(&address));
    assert!(raw(3).entry().unwrap().overlaps(&on("::")));
}

#[test]
fn every_state_of_the_kernel_has_a_meaning() {
    use SocketState::{Bound, Connected, Lingering, Listening, Unknown};
    let expected = [
        Unknown, Connected, Connected, Connected, Lingering, Lingering, Lingering, Bound,
        Connected, Lingering, Listening, Lingering, Connected, Bound, Unknown,
    ];
    for (number, state) in (0u8..).zip(expected) {
        assert_eq!(state_of(Protocol::Tcp, number), state, "{number}");
    }
}

#[test]
fn a_socket_tied_to_no_interface_is_bound_and_does_not_listen() {
    for ip in ["127.0.0.1", "::1"] {
        let Ok(socket) = UdpSocket::bind((ip, 0)) else {
            eprintln!("skipped for {ip}: this host cannot bind it");
            continue;
        };
        let at = socket.local_addr().unwrap();
        let entry = entry_of(&socket, Protocol::Udp, port_of(at));
        assert!(entry.receives(), "{entry:?}");
        let tied = Socket::from(socket);
        tied.bind_device_by_index_v4(std::num::NonZeroU32::new(NO_INTERFACE))
            .unwrap();
        let entry = entry_of(&tied, Protocol::Udp, port_of(at));
        assert_eq!(entry.state, SocketState::Bound);
        assert_eq!(entry.address(), at.to_string());
        assert!(!entry.receives());
        let listening = Occupancy::listening(Protocol::Udp).unwrap();
        assert!(!listening.contains(&entry));
    }
}

#[test]
fn a_connected_udp_socket_receives() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let at = port_of(socket.local_addr().unwrap());
    let entry = entry_of(&socket, Protocol::Udp, at);
    assert_eq!(entry.state, SocketState::Connected);
    assert!(entry.receives());
}
