//! `portbook run --map` for UDP: programs with one port in their code run side by side, each on a leased port.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::life::{cgroups, links, stored};
use super::map::{asked_for, own_pid, reaches};
use super::{Tidy, is_active, lease, served};
use crate::succession::supervised;
use crate::support::Place;
use crate::tools::{Running, eventually};

/// Answers each datagram to the port of its argument, on an address, with its own pid. For each line it says what it
/// reaches at that port on loopback addresses, and from where the answer comes: by a socket that is not connected, and
/// by one that is. Told `again`, it binds anew first.
pub(super) const ECHO: &str = r#"
import os, socket, sys, threading
port, bound = int(sys.argv[1]), sys.argv[2]
family = socket.AF_INET6 if ":" in bound else socket.AF_INET
def serve(s):
    while True:
        data, peer = s.recvfrom(20)
        if not peer:
            return s.close()
        s.sendto(b"%d" % os.getpid(), peer)
def listen():
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((bound, port))
    thread = threading.Thread(target=serve, args=[s], daemon=True)
    thread.start()
    return s, thread
def reached(at, connects):
    client = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    try:
        if connects:
            client.connect((at, port))
            client.send(b"x")
        else:
            client.sendto(b"x", (at, port))
        data, peer = client.recvfrom(20)
        return "%s from %s %d" % (data.decode(), peer[0], peer[1])
    except OSError as error:
        return error.strerror or "nothing"
s, thread = listen()
print(os.getpid(), s.getsockname()[1], flush=True)
ats = ["127.0.0.1"] + ["::1"] * (family == socket.AF_INET6)
for line in sys.stdin:
    if line == "again\n":
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        thread.join()
        s, thread = listen()
    print(*(reached(at, connects) for at in ats for connects in (0, 1)), sep=", ", flush=True)
"#;

/// `portbook run --map` with a program, in a folder.
pub(super) fn mapped(place: &Place, folder: &str, options: &[&str], program: &[&str]) -> Command {
    let folder = place.data_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = place.command();
    command.current_dir(folder);
    command.arg("run").args(options).arg("--").args(program);
    command
}

/// A program that answers on an address.
fn echo_on(place: &Place, folder: &str, bound: &str) -> Running {
    let (_, asked) = asked_for(place);
    let options = ["--map", &asked, "--protocol", "udp"];
    let program = ["python3", "-c", ECHO, &asked, bound];
    Running::piped(mapped(place, folder, &options, &program))
}

pub(super) fn echo(place: &Place, folder: &str) -> Running {
    echo_on(place, folder, "0.0.0.0")
}

/// Report of a program that reaches its own server by each way, and sees it at these addresses.
pub(super) fn own(pid: &str, asked: u16, ats: &[&str]) -> String {
    let ways = ats.iter().flat_map(|at| [at; 2]);
    let ways: Vec<String> = ways.map(|at| format!("{pid} from {at} {asked}")).collect();
    ways.join(", ")
}

/// Answer of the server on a port. `None` if none answers.
fn answer(port: u16) -> Option<String> {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.send(b"x").ok()?;
    let mut answer = [0; 20];
    let size = client.recv(&mut answer).ok()?;
    String::from_utf8(answer[..size].to_vec()).ok()
}

pub(super) fn assert_refused(port: u16) {
    for shares in [false, true] {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
        let socket = socket.unwrap();
        socket.set_reuse_address(shares).unwrap();
        let refused = socket.bind(&at.into()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "{port}, {shares}");
    }
}

/// Whether a socket for UDP is on a port (`ss(8)`).
fn is_bound(port: u16) -> bool {
    let mut ss = Command::new("ss");
    ss.args(["-Hlun", &format!("sport = :{port}")]);
    let found = ss.output().unwrap();
    assert!(found.status.success(), "{found:?}");
    !found.stdout.is_empty()
}

#[test]
fn two_udp_servers_with_one_port_in_their_code_run_side_by_side() {
    let Some((place, server)) = served("UDP side by side") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let mut copies = ["one", "two"].map(|folder| echo(&place, folder));
    let copies = copies.each_mut().map(|copy| own_pid(&copy.line()));
    assert_ne!(copies[0].1, copies[1].1);
    for (pid, port) in &copies {
        assert!(place.ports.contains(port));
        assert_eq!(answer(*port).as_ref(), Some(pid));
        assert_refused(*port);
        let who = place.ok(&["who", &port.to_string()]);
        assert!(who.contains(&format!("asks for {asked}")), "{who}");
        assert!(!who.contains("outsider"), "{who}");
    }
    assert!(!is_bound(asked) && is_bound(copies[0].1));
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, asked)).unwrap();
    let active = eventually("active leases", || {
        let list = server.get(&format!("/api/v1/leases?name={word}")).json();
        let leases = list["leases"].as_array().unwrap().clone();
        (leases.iter().filter(|lease| is_active(lease)).count() == 2).then_some(leases)
    });
    for lease in &active {
        let shown = ["protocol", "mapped_from", "handover", "guard"].map(|field| &lease[field]);
        let wanted: [Value; 4] = ["udp".into(), asked.into(), "bind".into(), "hold".into()];
        assert_eq!(shown, wanted.each_ref());
    }
}

#[test]
fn own_datagrams_reach_the_own_copy_and_see_the_address_they_went_to() {
    let Some((place, _server)) = served("own datagrams") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let mut four = echo(&place, "one");
    let (pid, _) = own_pid(&four.line());
    assert_eq!(reaches(&mut four, ""), own(&pid, asked, &["127.0.0.1"]));
    let mut six = echo_on(&place, "two", "::");
    let (pid, port) = own_pid(&six.line());
    let both = own(&pid, asked, &["127.0.0.1", "::1"]);
    assert_eq!(reaches(&mut six, ""), both);
    assert_eq!(reaches(&mut six, "again"), both);
    // Of a program in another cgroup, such as this one.
    assert_eq!(answer(port), Some(pid));
    assert_eq!(answer(asked), None);
    let one = ["-i", "127.0.0.1", "--map", &format!("{word}/udp")];
    let program = ["python3", "-c", ECHO, &word, "0.0.0.0"];
    let mut one = Running::piped(mapped(&place, "three", &one, &program));
    let (pid, _) = own_pid(&one.line());
    assert_eq!(reaches(&mut one, ""), own(&pid, asked, &["127.0.0.1"]));
}

#[test]
fn mapped_udp_program_comes_back_to_its_port_and_leaves_nothing_behind() {
    let Some((place, server)) = served("a UDP map's end") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let pid = server.child.id();
    let mut ports = Vec::new();
    for _ in 0..2 {
        let mut owner = echo(&place, "one");
        ports.push(own_pid(&owner.line()).1);
        // The guard's two, and eight of the map.
        assert_eq!((cgroups(&place).len(), links(pid)), (1, 10));
        drop(owner);
        let away = lease(&server, &word, |lease| lease["state"] == "reserved");
        assert_eq!(away["mapped_from"], Value::Null);
        assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
        assert_refused(ports[0]);
    }
    assert_eq!(ports[0], ports[1]);
    let mut owner = echo(&place, "one");
    own_pid(&owner.line());
    let id = lease(&server, &word, is_active)["id"].clone();
    assert_eq!(server.release(id.as_str().unwrap()).status, 204);
    assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
    // It goes on, and its port is nobody's now.
    assert!(answer(ports[0]).is_some());
    let lost = reaches(&mut owner, "");
    assert!(lost.contains("refused") && !lost.contains("from"), "{lost}");
    drop(owner);
    eventually("no socket on the port", || {
        (!is_bound(ports[0])).then_some(())
    });
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, asked)).unwrap();
}

#[test]
fn udp_map_is_in_force_again_after_a_crash_and_a_takeover() {
    let Some((place, first)) = served("a UDP map's service") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let mut owner = echo(&place, "one");
    let (pid, port) = own_pid(&owner.line());
    let own = own(&pid, asked, &["127.0.0.1"]);
    first.kill();
    assert_eq!(answer(port), Some(pid));
    assert!(reaches(&mut owner, "").contains("refused"));
    let mut second = place.serve();
    assert_eq!(links(second.child.id()), 10);
    assert_eq!(reaches(&mut owner, "again"), own);
    lease(&second, &word, |lease| lease["guard"] == "hold");
    assert_refused(port);
    let third = place.serve_with(&["--takeover"]);
    assert!(second.child.wait().unwrap().success());
    assert_eq!(links(third.child.id()), 10);
    assert_eq!(reaches(&mut owner, "again"), own);
    assert_refused(port);
}

#[test]
fn udp_map_kept_by_a_supervisor_survives_a_crash() {
    let place = Tidy(Place::with_ports(2));
    let mut supervisor = supervised(&place);
    let socket = place.data_dir().join("portbook.sock");
    let status = crate::support::ask(&socket, "GET", "/api/v1/status", None);
    if super::hand_over(&status.unwrap().json()).contains("falls back") {
        return crate::host::skipped("a supervised map", "no hand-over by bind here");
    }
    let mut owner = echo(&place, "one");
    let (pid, _) = own_pid(&owner.line());
    let own = own(&pid, asked_for(&place).0, &["127.0.0.1"]);
    // A lease on two families, the guard, and the map.
    stored(&mut supervisor, 12);
    supervisor.say("kill");
    supervisor.hear();
    assert_eq!(reaches(&mut owner, "again"), own);
    stored(&mut supervisor, 12);
    drop(owner);
    stored(&mut supervisor, 2);
}
