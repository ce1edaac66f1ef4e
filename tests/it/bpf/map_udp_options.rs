//! What may be asked of `portbook run --map` for UDP, rivals, and where it is refused.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use serde_json::Value;

use super::life::links;
use super::map::{asked_for, own_pid, reaches};
use super::map_udp::{ECHO, assert_refused, mapped, own};
use super::{Tidy, is_active, lease, served, served_with};
use crate::support::{Place, Server, port};
use crate::tools::Running;

/// Told so, binds its port and closes again, 200 times, strictly or with SO_REUSEPORT.
const STARTS: &str = r#"
import os, socket, sys
lost = 0
print("starts", flush=True)
input()
for turn in range(200):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, turn % 2)
        try:
            s.bind(("0.0.0.0", int(sys.argv[1])))
        except OSError:
            lost += 1
print("lost", lost, flush=True)
input()
"#;

/// Binds a port as fast as it can: strictly, with SO_REUSEADDR and with SO_REUSEPORT, or on an interface. Says so after
/// the first round, and the number of its successes once its stdin ends.
const RIVAL: &str = r#"
import select, socket, sys
port, won, tried = int(sys.argv[1]), 0, 0
options = socket.SO_REUSEADDR, None, socket.SO_REUSEPORT
if sys.argv[2] == "device":
    options = [socket.SO_BINDTODEVICE]
while not select.select([sys.stdin], [], [], 0)[0]:
    for option in options:
        for at in ("0.0.0.0", "127.0.0.1"):
            with socket.socket(type=socket.SOCK_DGRAM) as s:
                if option:
                    value = b"lo" if option == socket.SO_BINDTODEVICE else 1
                    s.setsockopt(socket.SOL_SOCKET, option, value)
                tried += 1
                try:
                    s.bind((at, port))
                    won += 1
                except OSError:
                    pass
    if tried <= 2 * len(options):
        print("begins", flush=True)
print(won, tried, flush=True)
"#;

#[test]
fn tight_rivals_win_none_of_many_udp_starts() {
    let Some((place, server)) = served("UDP rivals") else {
        return;
    };
    let (_, word) = asked_for(&place);
    let leased = place.ports[0];
    let body =
        serde_json::json!({"name": "dns", "port": leased, "reserve": true, "protocol": "udp"});
    assert_eq!(server.allocate(&body).status, 201);
    let rival = |kind: &str| {
        let mut rival = Command::new("python3");
        rival.args(["-c", RIVAL, &leased.to_string(), kind]);
        let mut rival = Running::piped(rival);
        assert_eq!(rival.line(), "begins");
        rival
    };
    let sharing = rival("sharing");
    let map = [
        "--scope",
        "user",
        "--protocol",
        "udp",
        "--map",
        &format!("{word}=dns"),
    ];
    let program = ["python3", "-c", STARTS, &word];
    let mut owner = Running::piped(mapped(&place, "one", &map, &program));
    assert_eq!(owner.line(), "starts");
    // The guard keeps it out; a hold for UDP does not.
    let on_an_interface = rival("device");
    assert_eq!(reaches(&mut owner, ""), "lost 0");
    let held = lease(&server, "dns", |lease| lease["mapped_from"].is_u64());
    assert_eq!(port(&held), leased);
    for mut rival in [sharing, on_an_interface] {
        drop(rival.0.stdin.take().unwrap());
        let counts = rival.line();
        let (won, tried) = counts.split_once(' ').unwrap();
        assert_eq!(won, "0", "of {tried} tries");
        assert_ne!(tried, "0");
    }
}

/// A server for both protocols: it prints the ports that it has.
const BOTH: &str = r"
import socket, sys
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
for s in tcp, udp:
    s.bind(('', int(sys.argv[1])))
tcp.listen()
print(tcp.getsockname()[1], udp.getsockname()[1], flush=True)
input()
";

#[test]
fn map_of_both_protocols_has_one_number() {
    let Some((place, server)) = served("a map of both protocols") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let map = ["--map", &word, "--protocol", "both"];
    let mut owner = Running::piped(mapped(&place, "one", &map, &["python3", "-c", BOTH, &word]));
    let (tcp, udp) = own_pid(&owner.line());
    assert_eq!(tcp, udp.to_string());
    assert_eq!(links(server.child.id()), 10);
    let list = server.get(&format!("/api/v1/leases?name={word}")).json();
    let leases = list["leases"].as_array().unwrap();
    let protocols: Vec<&Value> = leases.iter().map(|lease| &lease["protocol"]).collect();
    assert_eq!(protocols.len(), 2);
    assert_ne!(protocols[0], protocols[1]);
    for lease in leases {
        assert_eq!((port(lease), &lease["mapped_from"]), (udp, &asked.into()));
    }
    assert_refused(udp);
    super::assert_strictly_held(udp);
}

#[test]
fn udp_map_of_a_project_file_is_in_force() {
    let Some((place, server)) = served("a project's UDP map") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let folder = place.data_dir().join("project");
    std::fs::create_dir_all(&folder).unwrap();
    let file = format!("[services.dns]\nmap = {asked}\nprotocol = \"udp\"\n");
    std::fs::write(folder.join("portbook.toml"), file).unwrap();
    let program = ["python3", "-c", ECHO, &word, "0.0.0.0"];
    let service = ["--service", "dns"];
    let mut owner = Running::piped(mapped(&place, "project", &service, &program));
    let (pid, leased) = own_pid(&owner.line());
    assert_ne!(leased, asked);
    assert_eq!(reaches(&mut owner, ""), own(&pid, asked, &["127.0.0.1"]));
    let found = lease(&server, "dns", is_active);
    assert_eq!(
        (&found["mapped_from"], &found["protocol"]),
        (&asked.into(), &"udp".into())
    );
}

/// A port that the kernel might give out by itself.
fn ephemeral() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn udp_port_that_the_kernel_gives_out_is_not_mapped() {
    let usual = Place::with_ports(1);
    let consoles = usual.console_ports.clone();
    let place = Tidy(Place::on(vec![ephemeral()], consoles));
    let server: Server = place.serve();
    let detail = super::hand_over(&server.get("/api/v1/status").json());
    if detail.contains("falls back") {
        return crate::host::skipped("ephemeral ports", &detail);
    }
    let (_, word) = asked_for(&place);
    let options = ["--map", &word, "--protocol", "udp"];
    let refused = mapped(&place, "one", &options, &["echo", "started"]);
    let refused = crate::tools::ended(refused);
    let said = crate::support::text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(
        said.contains("cannot be mapped") && said.contains("ip_local_port_range"),
        "{said}"
    );
    assert_eq!(links(server.child.id()), 0);
    let options = ["--handover", "bind", "--protocol", "udp"];
    let instead = mapped(&place, "one", &options, &["true"]);
    let instead = crate::tools::ended(instead);
    let said = crate::support::text(&instead.stderr);
    assert!(
        instead.status.success() && said.contains("by release instead"),
        "{said}"
    );
}

/// Binds ports for TCP and UDP, and prints those that it has.
const MIXED: &str = r"
import socket, sys
kept = []
for place in sys.argv[1:]:
    port, kind = place.split('/')
    s = socket.socket(type=socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', int(port)))
    kept.append(s)
print(*(s.getsockname()[1] for s in kept), flush=True)
input()
";

#[test]
fn udp_map_goes_beside_a_map_of_all_tcp_ports() {
    let Some((place, server)) = served_with("a UDP map beside all", 12) else {
        return;
    };
    let (_, word) = asked_for(&place);
    let other = place.console_ports[2];
    let map = ["--map", &format!("{word}/udp=dns"), "--map", "all"];
    let wanted = [
        format!("{word}/udp"),
        format!("{word}/tcp"),
        format!("{other}/udp"),
    ];
    let program = ["python3", "-c", MIXED, &wanted[0], &wanted[1], &wanted[2]];
    let mut owner = Running::piped(mapped(&place, "one", &map, &program));
    let had = owner.line();
    let had: Vec<u16> = had.split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(had[0], port(&lease(&server, "dns", is_active)));
    assert!(place.ports.contains(&had[1]));
    // Not named, so it is left alone.
    assert_eq!(had[2], other);
}
