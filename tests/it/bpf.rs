//! The hand-over `bind`: servers come in however they bind, and a guard in the kernel keeps all others out. Facts
//! of the running kernel, with real servers and rivals.

mod asking;
mod drill;
mod fall_back;
mod life;
mod map;
mod map_all;
mod map_options;
mod map_udp;
mod map_udp_options;
mod programs;

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::process::Command;

use serde_json::Value;

use crate::host::skipped;
use crate::probe::{self, How};
use crate::support::{Place, Server};
use crate::tools::{Running, eventually, lingers};

/// A server without SO_REUSEADDR, for one client at a time. Told `r` by a client, it closes its listener and
/// reads a line of stdin before it listens again.
const STRICT: &str = r#"
import os, socket, sys
while True:
    s = socket.socket()
    s.bind(("0.0.0.0", int(os.environ["PORT"])))
    s.listen()
    print(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), flush=True)
    said = b""
    while said != b"r":
        with s.accept()[0] as client:
            client.sendall(b"hi")
            said = client.recv(1)
    s.close()
    print("closed", flush=True)
    sys.stdin.readline()
"#;

/// The same in Perl, whose sockets set no option unless told to (`ReuseAddr`).
const PERL: &str = r#"
use IO::Socket::INET; $| = 1;
my $s = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 5, Proto => "tcp") or die "$@";
print "listens\n";
while (my $c = $s->accept) { print $c "hi"; close $c }
"#;

/// Listens on its port and closes again, 200 times, strictly or with SO_REUSEPORT.
const STARTS: &str = r#"
import os, socket
lost = 0
for turn in range(200):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, turn % 2)
        try:
            s.bind(("0.0.0.0", int(os.environ["PORT"])))
            s.listen()
        except OSError:
            lost += 1
print("lost", lost, flush=True)
input()
"#;

/// Binds ports as fast as it can: with SO_REUSEADDR, strictly, with SO_REUSEPORT, and on an interface. Prints
/// the number of its successes for a line.
const RIVAL: &str = r#"
import select, socket, sys
ports, won, tried = [int(port) for port in sys.argv[1:]], 0, 0
print("begins", flush=True)
while True:
    for option in (socket.SO_REUSEADDR, None, socket.SO_REUSEPORT, socket.SO_BINDTODEVICE):
        for at in [(ip, port) for ip in ("0.0.0.0", "127.0.0.1") for port in ports]:
            with socket.socket() as s:
                if option:
                    value = b"lo" if option == socket.SO_BINDTODEVICE else 1
                    s.setsockopt(socket.SOL_SOCKET, option, value)
                tried += 1
                try:
                    s.bind(at)
                    s.listen()
                    won += 1
                except OSError:
                    pass
    if select.select([sys.stdin], [], [], 0)[0]:
        print(won, tried, flush=True)
        break
"#;

/// A place whose cgroups are gone with it: its services are killed, and leave them to the next one.
struct Tidy(Place);

impl Deref for Tidy {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        for cgroup in life::cgroups(&self.0) {
            // What a program has left behind (`cgroup.kill` in `cgroups(7)`).
            let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
            let removed = || std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists();
            eventually("an empty cgroup", || removed().then_some(()));
        }
    }
}

/// A place with a service that hands over by bind. `None`, and says so, where the kernel or this user's rights do
/// not allow it.
fn served(test: &str) -> Option<(Tidy, Server)> {
    served_with(test, 3)
}

/// A place with a service, with as many ports.
fn served_with(test: &str, ports: usize) -> Option<(Tidy, Server)> {
    let place = Tidy(Place::with_ports(ports));
    let server = place.serve();
    let detail = hand_over(&server.get("/api/v1/status").json());
    if detail.contains("falls back") {
        skipped(test, &detail);
        return None;
    }
    Some((place, server))
}

/// The check of the hand-over in the state of a service.
fn hand_over(status: &Value) -> String {
    let checks = status["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "hand-over");
    check.unwrap()["detail"].as_str().unwrap().to_owned()
}

/// `portbook run --handover bind` with a program.
fn run(place: &Place, name: &str, program: &[&str]) -> Command {
    let mut command = place.command();
    command.args(["run", "--name", name, "--handover", "bind", "--"]);
    command.args(program);
    command
}

fn python(place: &Place, script: &str) -> Running {
    Running::piped(run(place, "web", &["python3", "-c", script]))
}

/// Greeting of the server on a port. `None` if none greets.
fn greeted(port: u16) -> Option<()> {
    let mut greeting = [0; 2];
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    client.read_exact(&mut greeting).ok()?;
    (greeting == *b"hi").then_some(())
}

/// The lease of a name, once it looks so.
fn lease(server: &Server, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually("the lease", || {
        let list = server.get(&format!("/api/v1/leases?name={name}")).json();
        Some(list["leases"][0].clone()).filter(&is_so)
    })
}

fn is_active(lease: &Value) -> bool {
    lease["state"] == "active"
}

fn assert_strictly_held(port: u16) {
    for how in [How::Strictly, How::AsServersDo] {
        let bound = probe::bind(Ipv4Addr::UNSPECIFIED.into(), port, how);
        assert!(bound.is_err(), "a stranger bound {port} {how:?}");
    }
}

#[test]
fn strict_servers_listen_and_strangers_do_not() {
    let Some((place, server)) = served("strict servers") else {
        return;
    };
    for program in [["python3", "-c", STRICT], ["perl", "-e", PERL]] {
        let name = program[0];
        let mut owner = Running::piped(run(&place, name, &program));
        owner.line();
        let found = lease(&server, name, is_active);
        assert_eq!(
            (&found["handover"], &found["guard"]),
            (&"bind".into(), &"hold".into())
        );
        let port = crate::support::port(&found);
        greeted(port).unwrap();
        assert_strictly_held(port);
        let said = place.ok(&["who", &port.to_string()]);
        assert!(said.contains(&format!("pid {}", owner.pid())), "{said}");
        assert!(!said.contains("outsider"), "{said}");
    }
}

#[test]
fn server_without_capabilities_is_let_in() {
    let Some((place, server)) = served("plain users") else {
        return;
    };
    // Debian's own, which every user can run.
    let mut program = vec!["/usr/bin/python3", "-c", STRICT];
    if rustix::process::geteuid().is_root() {
        let other = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ];
        program.splice(0..0, other);
    }
    let mut owner = Running::piped(run(&place, "web", &program));
    if owner.line() != "1" {
        return skipped("plain users", "no /usr/bin/python3, or no setpriv");
    }
    let port = crate::support::port(&lease(&server, "web", is_active));
    greeted(port).unwrap();
    assert_strictly_held(port);
}

#[test]
fn server_comes_back_past_an_open_and_a_closed_connection() {
    let Some((place, server)) = served("restarts") else {
        return;
    };
    let mut owner = python(&place, STRICT);
    owner.line();
    let port = crate::support::port(&lease(&server, "web", |lease| lease["port"].is_u64()));
    for _ in 0..3 {
        let mut open = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        open.read_exact(&mut [0; 2]).unwrap();
        drop(owner);
        lease(&server, "web", |lease| lease["state"] == "reserved");
        assert_strictly_held(port);
        owner = python(&place, STRICT);
        // Set for it.
        assert_eq!(owner.line(), "1");
        let mut closed = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        closed.read_exact(&mut [0; 2]).unwrap();
        // The server closes first, so its side lingers.
        std::io::Write::write_all(&mut closed, b"x").unwrap();
        closed.read_to_end(&mut Vec::new()).unwrap();
        drop(closed);
        eventually("TIME_WAIT", || lingers(port).then_some(()));
        drop(open);
    }
    let again = lease(&server, "web", is_active);
    assert_eq!(crate::support::port(&again), port);
}

/// A rival that tries these ports all the time, until its stdin closes.
fn rival(ports: &[u16]) -> Running {
    let mut rival = Command::new("python3");
    rival.args(["-c", RIVAL]);
    rival.args(ports.iter().map(ToString::to_string));
    let mut rival = Running::piped(rival);
    assert_eq!(rival.line(), "begins");
    rival
}

#[test]
fn tight_rivals_win_none_of_many_starts() {
    let Some((place, server)) = served("rivals") else {
        return;
    };
    let port = place.ports[0];
    let body = serde_json::json!({"name": "web", "port": port, "reserve": true});
    assert_eq!(server.allocate(&body).status, 201);
    let mut rival = rival(&[port]);
    let mut owner = python(&place, STARTS);
    assert_eq!(owner.line(), "lost 0");
    let stop = rival.0.stdin.take().unwrap();
    drop(stop);
    let counts = rival.line();
    let (won, tried) = counts.split_once(' ').unwrap();
    assert_eq!(won, "0", "of {tried} tries");
    assert_ne!(tried, "0");
}

#[test]
fn program_in_another_network_namespace_is_left_alone() {
    let Some((place, server)) = served("namespaces") else {
        return;
    };
    let inside = format!("ip link set lo up && exec python3 -c '{STRICT}'");
    let unshared = ["unshare", "--net", "sh", "-c", &inside];
    let mut owner = Running::piped(run(&place, "web", &unshared));
    match owner.line().as_str() {
        "0" => {}
        "" => return skipped("namespaces", "no network namespace can be made"),
        other => panic!("SO_REUSEADDR is {other}"),
    }
    let port = crate::support::port(&lease(&server, "web", |lease| lease["port"].is_u64()));
    assert_strictly_held(port);
}
