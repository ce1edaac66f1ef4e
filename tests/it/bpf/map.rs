//! `portbook run --map`: programs with one port in their code run side by side, each on a leased port.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value;

use super::life::{cgroups, links};
use super::{Tidy, assert_strictly_held, is_active, lease, served};
use crate::probe::{self, How};
use crate::succession::supervised;
use crate::support::{Place, Server, port};
use crate::tools::{Running, eventually, fetch};

/// A web server of the standard library, on the port in its arguments.
const SERVER: [&str; 3] = ["python3", "-m", "http.server"];

/// Listens on the port of its argument, on an address, and serves its own pid. For each line it says which pid it
/// reaches on each loopback address at that port; told `again`, it listens anew first.
pub(super) const COPY: &str = r#"
import os, socket, sys, threading
port, bound = int(sys.argv[1]), sys.argv[2]
def serve(s):
    while True:
        try:
            with s.accept()[0] as client:
                client.sendall(b"%d" % os.getpid())
        except OSError:
            return
def listen():
    s = socket.socket()
    s.bind((bound, port))
    s.listen()
    threading.Thread(target=serve, args=[s], daemon=True).start()
    return s
def reached(at):
    try:
        with socket.create_connection((at, port), 5) as s:
            return s.recv(20).decode()
    except OSError as error:
        return error.strerror
s = listen()
print(os.getpid(), s.getsockname()[1], flush=True)
for line in sys.stdin:
    if line == "again\n":
        s.shutdown(socket.SHUT_RDWR)
        s.close()
        s = listen()
    print(reached("127.0.0.1"), reached("localhost"), flush=True)
"#;

/// `portbook run --map` with a program, in a folder.
pub(super) fn mapped(place: &Place, folder: &str, map: &str, program: &[&str]) -> Command {
    let folder = place.data_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = place.command();
    command.current_dir(folder);
    command.args(["run", "--map", map, "--"]).args(program);
    command
}

/// A port that programs have in their code, as number and text: the console's last, which no lease is on.
pub(super) fn asked_for(place: &Place) -> (u16, String) {
    let port = place.console_ports[3];
    (port, port.to_string())
}

fn copy(place: &Place, folder: &str) -> Running {
    let (_, asked) = asked_for(place);
    let program = ["python3", "-c", COPY, &asked, "0.0.0.0"];
    Running::piped(mapped(place, folder, &asked, &program))
}

/// What a copy reaches at the port that it asks for.
pub(super) fn reaches(copy: &mut Running, word: &str) -> String {
    use std::io::Write;
    writeln!(copy.0.stdin.as_mut().unwrap(), "{word}").unwrap();
    copy.line()
}

pub(super) fn own_pid(line: &str) -> (String, u16) {
    let (pid, port) = line.split_once(' ').expect("the copy listens");
    (pid.to_owned(), port.parse().unwrap())
}

fn active(server: &Server, name: &str, count: usize) -> Vec<Value> {
    eventually("active leases", || {
        let list = server.get(&format!("/api/v1/leases?name={name}")).json();
        let leases = list["leases"].as_array().unwrap().clone();
        (leases.iter().filter(|lease| is_active(lease)).count() == count).then_some(leases)
    })
}

#[test]
fn two_servers_with_one_port_in_their_code_run_side_by_side() {
    let Some((place, server)) = served("side by side") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let program = [&SERVER[..], &[&word]].concat();
    let _copies = ["one", "two"].map(|folder| {
        let mut command = mapped(&place, folder, &word, &program);
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        Running::start(command)
    });
    let leases = active(&server, &word, 2);
    let ports: Vec<u16> = leases.iter().map(port).collect();
    assert_ne!(ports[0], ports[1]);
    for lease in &leases {
        assert_eq!(
            (&lease["mapped_from"], &lease["handover"]),
            (&asked.into(), &"bind".into())
        );
        assert!(fetch(port(lease)).is_some());
        assert_strictly_held(port(lease));
        let who = place.ok(&["who", &port(lease).to_string()]);
        assert!(who.contains(&format!("asks for {asked}")), "{who}");
    }
    probe::bind(Ipv4Addr::UNSPECIFIED.into(), asked, How::Strictly).unwrap();
}

#[test]
fn own_connects_reach_the_own_copy_and_others_are_left_alone() {
    let Some((place, _server)) = served("own connects") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let mut copies = ["one", "two"].map(|folder| copy(&place, folder));
    for copy in &mut copies {
        let (pid, port) = own_pid(&copy.line());
        assert!(place.ports.contains(&port));
        assert_eq!(reaches(copy, ""), format!("{pid} {pid}"));
    }
    // Of a program in another cgroup, such as this one.
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, asked)).is_err());
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, asked)).unwrap();
    assert_eq!(other.local_addr().unwrap().port(), asked);
    // Through a shell that stays.
    let script = format!("python3 -c '{COPY}' {word} 127.0.0.1; true");
    let mut shell = Running::piped(mapped(&place, "three", &word, &["sh", "-c", &script]));
    let (pid, port) = own_pid(&shell.line());
    assert_ne!(port, asked);
    assert_eq!(reaches(&mut shell, ""), format!("{pid} {pid}"));
}

#[test]
fn mapped_program_comes_back_to_its_port_and_leaves_nothing_behind() {
    let Some((place, server)) = served("a map's end") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let pid = server.child.id();
    let mut ports = Vec::new();
    for _ in 0..2 {
        let mut owner = copy(&place, "one");
        ports.push(own_pid(&owner.line()).1);
        assert_eq!((cgroups(&place).len(), links(pid)), (1, 6));
        drop(owner);
        let away = lease(&server, &word, |lease| lease["state"] == "reserved");
        assert_eq!(away["mapped_from"], Value::Null);
        assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
    }
    assert_eq!(ports[0], ports[1]);
    let mut owner = copy(&place, "one");
    own_pid(&owner.line());
    let id = lease(&server, &word, is_active)["id"].clone();
    assert_eq!(server.release(id.as_str().unwrap()).status, 204);
    assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
    // It goes on, and its port is nobody's now.
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok());
    assert_eq!(
        reaches(&mut owner, ""),
        "Connection refused Connection refused"
    );
    probe::bind(Ipv4Addr::UNSPECIFIED.into(), asked, How::Strictly).unwrap();
}

#[test]
fn map_is_in_force_again_after_a_crash_and_a_takeover() {
    let Some((place, first)) = served("a map's service") else {
        return;
    };
    let mut owner = copy(&place, "one");
    let (pid, port) = own_pid(&owner.line());
    let own = format!("{pid} {pid}");
    first.kill();
    // Nothing is in force; the server keeps its port.
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    assert!(reaches(&mut owner, "").contains("refused"));
    let mut second = place.serve();
    assert_eq!(links(second.child.id()), 6);
    assert_eq!(reaches(&mut owner, "again"), own);
    let third = place.serve_with(&["--takeover"]);
    assert!(second.child.wait().unwrap().success());
    assert_eq!(links(third.child.id()), 6);
    assert_eq!(reaches(&mut owner, "again"), own);
    assert_strictly_held(port);
}

#[test]
fn map_kept_by_a_supervisor_survives_a_crash() {
    let place = Tidy(Place::with_ports(2));
    let mut supervisor = supervised(&place);
    let ask = |path: &str| {
        let socket = place.data_dir().join("portbook.sock");
        crate::support::ask(&socket, "GET", path, None)
            .unwrap()
            .json()
    };
    if super::hand_over(&ask("/api/v1/status")).contains("falls back") {
        return crate::host::skipped("a supervised map", "no hand-over by bind here");
    }
    let mut owner = copy(&place, "one");
    let (pid, _) = own_pid(&owner.line());
    // A lease on two families, the guard, and the map.
    super::life::stored(&mut supervisor, 8);
    for _ in 0..2 {
        supervisor.say("kill");
        supervisor.hear();
        assert_eq!(reaches(&mut owner, "again"), format!("{pid} {pid}"));
        super::life::stored(&mut supervisor, 8);
    }
    drop(owner);
    super::life::stored(&mut supervisor, 2);
}
