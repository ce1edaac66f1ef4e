//! Ports that the kernel hands out by itself: `bind(0)`, `bind(address, 0)` and `connect()` never
//! give a port that a lease holds, and give it again once it is released.
//!
//! Each test has a kernel whose ephemeral range is eight ports, so that asking until there is
//! nothing left shows every port that can be had.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::host::Host;
use crate::support::{Place, Server};
use crate::tools::eventually;

const EPHEMERAL: std::ops::RangeInclusive<u16> = 40000..=40007;
const LEASED: [u16; 4] = [40001, 40002, 40004, 40007];

/// Takes ports in every way that lets the kernel choose, until none is left, and prints the ports that
/// each way gave.
const TAKE_ALL: &str = r#"
import errno, json, socket, struct, sys

LINGER_NOT = struct.pack("ii", 1, 0)  # close by reset, so that nothing lingers on the port
EXHAUSTED = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN)
IP_BIND_ADDRESS_NO_PORT = 24

def tcp(family, *options):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    for level, option in options:
        s.setsockopt(level, option, 1)
    return s

def until_exhausted(take):
    taken = []
    try:
        while len(taken) < 100:
            taken.append(take())
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
    ports = sorted(s.getsockname()[1] for s in taken)
    for s in taken:
        s.close()
    return ports

def bound(make, address):
    def take():
        s = make()
        s.bind((address, 0))
        return s
    return lambda: until_exhausted(take)

def connected(make, target, source=None):
    def take():
        s = make()
        if source:
            s.bind((source, 0))
        s.connect(target)
        return s
    return lambda: until_exhausted(take)

REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
LATE = (socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)
four, six = socket.AF_INET, socket.AF_INET6
server4, server6 = socket.create_server(("127.0.0.1", 5000), backlog=100), socket.create_server(("::1", 5000), family=six, backlog=100)
ways = {
    "tcp": {
        "bind 0.0.0.0": bound(lambda: tcp(four), "0.0.0.0"),
        "bind 127.0.0.1": bound(lambda: tcp(four), "127.0.0.1"),
        "bind ::": bound(lambda: tcp(six), "::"),
        "bind ::1": bound(lambda: tcp(six), "::1"),
        "bind with SO_REUSEADDR": bound(lambda: tcp(four, REUSE), "127.0.0.1"),
        "bind :: with SO_REUSEADDR": bound(lambda: tcp(six, REUSE), "::"),
        "connect": connected(lambda: tcp(four), ("127.0.0.1", 5000)),
        "connect IPv6": connected(lambda: tcp(six), ("::1", 5000)),
        "connect from an address": connected(lambda: tcp(four, LATE), ("127.0.0.1", 5000), "127.0.0.1"),
    },
    "udp": {
        "bind 0.0.0.0": bound(lambda: socket.socket(four, socket.SOCK_DGRAM), "0.0.0.0"),
        "bind 127.0.0.1": bound(lambda: socket.socket(four, socket.SOCK_DGRAM), "127.0.0.1"),
        "bind ::": bound(lambda: socket.socket(six, socket.SOCK_DGRAM), "::"),
        "connect": connected(lambda: socket.socket(four, socket.SOCK_DGRAM), ("127.0.0.1", 5000)),
        "connect IPv6": connected(lambda: socket.socket(six, socket.SOCK_DGRAM), ("::1", 5000)),
    },
}
print(json.dumps({way: take() for way, take in ways[sys.argv[1]].items()}))
"#;

/// Binds as servers do, listens, and answers one connection of its own, which it resets so that
/// nothing lingers on either port.
const SERVE_ONCE: &str = r#"
import json, socket, struct, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
a, _ = s.accept()
a.sendall(b"hello")
print(json.dumps(c.recv(5).decode()))
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()
"#;

fn host_with_eight_ports(test: &str) -> Option<Host> {
    let host = Host::plain(test)?;
    let range = format!("{} {}", EPHEMERAL.start(), EPHEMERAL.end());
    host.sysctl("ip_local_port_range", &range);
    Some(host)
}

/// Ports of the ephemeral range: at most sixteen of them, or one in twenty, are ever leased.
fn place() -> Place {
    Place::on(LEASED.to_vec(), vec![8888])
}

/// Checks that every way of letting the kernel choose gives exactly these ports.
fn assert_kernel_gives(host: &Host, protocol: &str, expected: &[u16]) {
    let taken = host.python(TAKE_ALL, &[protocol]);
    for (way, ports) in taken.as_object().unwrap() {
        assert_eq!(*ports, serde_json::json!(expected), "{protocol}, {way}");
    }
}

fn all() -> Vec<u16> {
    EPHEMERAL.collect()
}

fn others() -> Vec<u16> {
    EPHEMERAL.filter(|port| !LEASED.contains(port)).collect()
}

fn ports_of(granted: &Value) -> BTreeSet<u64> {
    let leases = granted["leases"].as_array().unwrap();
    leases
        .iter()
        .map(|lease| lease["port"].as_u64().unwrap())
        .collect()
}

fn release_all(server: &Server, granted: &Value) {
    for lease in granted["leases"].as_array().unwrap() {
        let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
        assert_eq!(server.api("DELETE", &path, None).status, 204);
    }
}

#[test]
fn the_kernel_never_gives_a_leased_tcp_port() {
    let Some(host) = host_with_eight_ports("ephemeral TCP ports") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    let granted = host.json(&place, &["alloc", "--count", "4"]);
    assert_eq!(ports_of(&granted), LEASED.map(u64::from).into());

    assert_kernel_gives(&host, "tcp", &others());
    let said = host.python(SERVE_ONCE, &[&LEASED[1].to_string()]);
    assert_eq!(said, "hello", "the owner binds and listens at once");

    release_all(&server, &granted);
    assert_kernel_gives(&host, "tcp", &all());
}

/// A UDP lease is handed over by release: from the answer until the owner binds, only the books keep its
/// port, and the lease says so. The kernel holds the port of a name whose owner is away.
#[test]
fn the_kernel_never_gives_a_reserved_udp_port() {
    let Some(host) = host_with_eight_ports("ephemeral UDP ports") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    let names = ["--name=a", "--name=b", "--name=c", "--name=d"];
    let mut alloc = vec!["alloc", "--protocol", "udp", "--claim-within", "1s"];
    alloc.extend(names);
    let granted = host.json(&place, &alloc);
    assert_eq!(ports_of(&granted), LEASED.map(u64::from).into());
    assert_eq!(granted["leases"][0]["guard"], "none");

    eventually("four reserved leases", || {
        let leases = server.get("/api/v1/leases?state=reserved");
        (leases.json()["leases"].as_array()?.len() == 4).then_some(())
    });
    assert_kernel_gives(&host, "udp", &others());

    release_all(&server, &granted);
    assert_kernel_gives(&host, "udp", &all());
}
