//! The table that a boot loads before any service, and the ways to a number that it shuts: both families and
//! protocols, ports that are forwarded, and connections that are open.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::host::{Host, skipped};
use crate::tools::{Running, eventually};

/// The file as it is shipped. Its last line shows where the ranges go.
const TABLE: &str = include_str!("../../../static/fence.nft");

/// Answers on 20000 in every way, and on 9000, to which 20001 is forwarded as by a container engine.
const ANSWER: &str = "
import selectors, socket
every = selectors.DefaultSelector()
for port in (20000, 9000):
    server = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    every.register(server, selectors.EVENT_READ, 'server')
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(('::', 20000))
every.register(udp, selectors.EVENT_READ, 'udp')
while True:
    for key, _ in every.select():
        if key.data == 'server':
            every.register(key.fileobj.accept()[0], selectors.EVENT_READ, 'client')
        elif key.data == 'udp':
            data, address = udp.recvfrom(9)
            udp.sendto(data, address)
        else:
            data = key.fileobj.recv(9)
            if data:
                key.fileobj.sendall(data)
            else:
                every.unregister(key.fileobj)
                key.fileobj.close()
";

const FORWARD: &str = "
add table ip forward
add chain ip forward in { type nat hook prerouting priority dstnat; }
add rule ip forward in tcp dport 20001 redirect to :9000
";

/// Prints which ways an answer comes.
const PROBE: &str = "
import json, socket
def ask(family, kind, address, port):
    probe = socket.socket(family, kind)
    probe.settimeout(0.4)
    try:
        probe.connect((address, port))
        probe.send(b'x')
        return probe.recv(9) == b'x'
    except OSError:
        return False
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
v4, v6 = (socket.AF_INET, '10.77.0.1'), (socket.AF_INET6, 'fd77::1')
print(json.dumps([
    ask(v4[0], tcp, v4[1], 20000), ask(v6[0], tcp, v6[1], 20000), ask(v4[0], udp, v4[1], 20000),
    ask(v6[0], udp, v6[1], 20000), ask(v4[0], tcp, v4[1], 20001),
]))
";

/// Connects while it may, says so, and prints whether answers on that connection ended.
const STAY: &str = "
import socket
probe = socket.create_connection(('10.77.0.1', 20000), 5)
probe.settimeout(1)
answers, cut = 0, False
try:
    for _ in range(5_000_000):
        probe.send(b'x')
        if probe.recv(9) != b'x': break
        answers += 1
except TimeoutError:
    cut = True
print('true' if cut and answers else 'false')
";

/// A host whose numbers a boot has shut, and one that asks it.
struct Pair {
    host: Host,
    peer: Host,
    _answering: Running,
}

impl Pair {
    /// `None`, reported on stderr, if this machine cannot have them.
    fn new(test: &str) -> Option<Self> {
        let (host, peer) = (Host::plain(test)?, Host::plain(test)?);
        if Command::new("nft").arg("--version").output().is_err() {
            skipped(test, "nft is not installed");
            return None;
        }
        let other = peer.id().to_string();
        let link = ["link", "add", "to-peer", "type", "veth", "peer", "name"];
        host.ok("ip", &[&link[..], &["to-host", "netns", &other]].concat());
        for (host, device, number) in [(&host, "to-peer", "1"), (&peer, "to-host", "2")] {
            let (v4, v6) = (format!("10.77.0.{number}/24"), format!("fd77::{number}/64"));
            host.ok("ip", &["address", "add", &v4, "dev", device]);
            host.ok("ip", &["address", "add", &v6, "dev", device, "nodad"]);
            host.ok("ip", &["link", "set", device, "up"]);
        }
        let mut answering = Command::new("python3");
        answering.args(["-c", ANSWER]).stdout(Stdio::null());
        let answering = Running::start(host.enter(&answering));
        nft(&host, FORWARD);
        let pair = Self {
            host,
            peer,
            _answering: answering,
        };
        eventually("the program answers", || {
            (pair.ways() == json!([true, true, true, true, true])).then_some(())
        });
        let ranges = TABLE.replace("30000-30999", "20000-20001");
        let last = ranges.trim_end().lines().last().unwrap();
        nft(
            &pair.host,
            &ranges.replace(last, last.trim_start_matches("# ")),
        );
        Some(pair)
    }

    fn ways(&self) -> Value {
        self.peer.python(PROBE, &[])
    }
}

fn nft(host: &Host, script: &str) {
    host.ok("nft", &[script]);
}

#[test]
fn boot_shuts_every_way_to_a_number_until_it_is_permitted() {
    let Some(pair) = Pair::new("the table of a boot") else {
        return;
    };
    let numbers = "tcp . 20000 timeout 1h, udp . 20000 timeout 1h, tcp . 20001 timeout 1h";
    assert_eq!(pair.ways(), json!([false, false, false, false, false]));
    nft(
        &pair.host,
        &format!("add element inet portbook may {{ {numbers} }}"),
    );
    assert_eq!(pair.ways(), json!([true, true, true, true, true]));
    nft(
        &pair.host,
        "delete element inet portbook may { udp . 20000 }",
    );
    assert_eq!(pair.ways(), json!([true, true, false, false, true]));
    nft(&pair.host, "flush set inet portbook may");
    assert_eq!(pair.ways(), json!([false, false, false, false, false]));
}

#[test]
fn open_connection_ends_with_the_permit_of_its_number() {
    let Some(pair) = Pair::new("connections behind the fence") else {
        return;
    };
    nft(
        &pair.host,
        "add element inet portbook may { tcp . 20000 timeout 2s }",
    );
    assert_eq!(pair.peer.python(STAY, &[]), Value::Bool(true));
}
