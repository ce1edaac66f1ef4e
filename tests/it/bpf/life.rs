//! Cgroups and the guard through the life of a service: crashes, take-overs, a supervisor's store, and the end.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use super::{
    STRICT, Tidy, assert_strictly_held, greeted, is_active, lease, python, rival, run, served,
};
use crate::succession::{Spoken, hammer, supervised, won};
use crate::support::{Place, Server, port};
use crate::tools::{Running, ended, eventually};

/// Has the server close its listener, and waits until the service has its hold; then it listens again.
fn listens_again(server: &Server, owner: &mut Running, port: u16) {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"r").unwrap();
    assert_eq!(owner.line(), "closed");
    lease(server, "web", |lease| lease["guard"] == "hold");
    assert_strictly_held(port);
    writeln!(owner.0.stdin.as_mut().unwrap()).unwrap();
    assert_eq!(owner.line(), "1");
    greeted(port).unwrap();
    assert_strictly_held(port);
}

/// Cgroups that a place's service has made.
pub(super) fn cgroups(place: &Place) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::metadata(place.data_dir()) else {
        return Vec::new();
    };
    let prefix = format!("portbook-{:x}.{:x}-", folder.dev(), folder.ino());
    let mut find = Command::new("find");
    find.args([
        "/sys/fs/cgroup",
        "-type",
        "d",
        "-name",
        &format!("{prefix}*"),
    ]);
    let found = find.output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    found.lines().map(PathBuf::from).collect()
}

/// Number of links that a process has open (`fdinfo` in `proc(5)`).
pub(super) fn links(pid: u32) -> usize {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = infos.filter_map(|info| std::fs::read_to_string(info.ok()?.path()).ok());
    infos.filter(|info| info.contains("link_type:")).count()
}

fn owner_of(place: &Place, server: &Server) -> (Running, u16) {
    let mut owner = python(place, STRICT);
    owner.line();
    let port = port(&lease(server, "web", is_active));
    (owner, port)
}

#[test]
fn server_goes_on_and_comes_back_after_a_crash_of_the_service() {
    let Some((place, server)) = served("crash") else {
        return;
    };
    let (mut owner, port) = owner_of(&place, &server);
    let before = cgroups(&place);
    assert_eq!(before.len(), 1);
    server.kill();
    greeted(port).unwrap();
    assert_strictly_held(port);
    let server = place.serve();
    assert_eq!(cgroups(&place), before);
    assert_eq!(links(server.child.id()), 2);
    assert_strictly_held(port);
    listens_again(&server, &mut owner, port);
    assert!(server.stop().success());
    greeted(port).unwrap();
    let server = place.serve();
    listens_again(&server, &mut owner, port);
}

#[test]
fn cgroup_of_a_program_that_ended_without_a_service_is_removed() {
    let Some((place, server)) = served("leftovers") else {
        return;
    };
    let (owner, port) = owner_of(&place, &server);
    server.kill();
    drop(owner);
    assert_eq!(cgroups(&place).len(), 1);
    let server = place.serve();
    assert!(cgroups(&place).is_empty());
    assert_eq!(links(server.child.id()), 0);
    let (_owner, again) = owner_of(&place, &server);
    assert_eq!(again, port);
}

#[test]
fn successor_lets_the_server_in_as_its_predecessor_did() {
    let Some((place, mut first)) = served("take-over") else {
        return;
    };
    let (mut owner, port) = owner_of(&place, &first);
    let second = place.serve_with(&["--takeover"]);
    assert!(first.child.wait().unwrap().success());
    assert_eq!(links(second.child.id()), 2);
    assert_eq!(lease(&second, "web", is_active)["guard"], "hold");
    listens_again(&second, &mut owner, port);
}

#[test]
fn guard_kept_by_a_supervisor_survives_a_crash() {
    let place = Tidy(Place::with_ports(2));
    let mut supervisor = supervised(&place);
    let ask = |path: &str| {
        let socket = place.data_dir().join("portbook.sock");
        crate::support::ask(&socket, "GET", path, None)
            .unwrap()
            .json()
    };
    if super::hand_over(&ask("/api/v1/status")).contains("falls back") {
        return crate::host::skipped("a supervised guard", "no hand-over by bind here");
    }
    let mut owner = python(&place, STRICT);
    owner.line();
    let port = port(&ask("/api/v1/leases?name=web")["leases"][0]);
    // A lease on two families, and the guard.
    stored(&mut supervisor, 4);
    for _ in 0..2 {
        supervisor.say("kill");
        supervisor.hear();
        greeted(port).unwrap();
        assert_strictly_held(port);
        stored(&mut supervisor, 4);
    }
    drop(owner);
    stored(&mut supervisor, 2);
}

pub(super) fn stored(supervisor: &mut Spoken, count: usize) {
    let expected = format!("store {count}");
    eventually(&expected, || {
        supervisor.say("count");
        (supervisor.hear() == expected).then_some(())
    });
}

#[test]
fn nothing_is_left_behind_after_a_release() {
    let Some((place, server)) = served("release") else {
        return;
    };
    let (owner, port) = owner_of(&place, &server);
    let pid = server.child.id();
    assert_eq!((cgroups(&place).len(), links(pid)), (1, 2));
    let id = lease(&server, "web", is_active)["id"].clone();
    // While its program runs, which goes on.
    assert_eq!(server.release(id.as_str().unwrap()).status, 204);
    assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
    greeted(port).unwrap();
    drop(owner);
    let (owner, _) = owner_of(&place, &server);
    drop(owner);
    lease(&server, "web", |lease| lease["state"] == "reserved");
    assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
}

#[test]
fn rival_never_comes_in_between_two_programs() {
    let Some((place, server)) = served("rivals between programs") else {
        return;
    };
    let port = place.ports[0];
    let body = serde_json::json!({"name": "web", "port": port, "reserve": true});
    assert_eq!(server.allocate(&body).status, 201);
    let mut hammer = hammer(port);
    for _ in 0..20 {
        let output = ended(run(&place, "web", &["true"]));
        assert!(output.status.success(), "{output:?}");
        lease(&server, "web", |lease| lease["state"] == "reserved");
    }
    assert_eq!(won(&mut hammer), 0);
}

#[test]
fn rival_never_comes_in_when_a_program_takes_the_place_of_another() {
    // What SO_REUSEPORT leaves behind lets sockets of one user in past a shut gate.
    const PROGRAM: &str = r#"
import socket, sys
input()
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("0.0.0.0", int(sys.argv[1])))
    s.listen()
print("closed", flush=True)
input()
"#;
    let Some((place, server)) = served("rivals at a change of programs") else {
        return;
    };
    let port = place.ports[0];
    let body = serde_json::json!({"name": "web", "port": port, "reserve": true});
    assert_eq!(server.allocate(&body).status, 201);
    let mut rival = rival(&[port]);
    let mut last = Running::start(Command::new("true"));
    for _ in 0..20 {
        let mut program = Command::new("python3");
        program.args(["-c", PROGRAM, &port.to_string()]);
        let mut program = Running::piped(program);
        let owner = program.pid();
        let body = serde_json::json!({"name": "web", "handover": "bind", "owner_pid": owner});
        // So that the service learns of the end of the last one and of this one at the same time.
        server.signal(Signal::STOP);
        drop(last);
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| server.allocate(&body));
            server.signal(Signal::CONT);
            asked.join().unwrap()
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        writeln!(program.0.stdin.as_mut().unwrap()).unwrap();
        assert_eq!(program.line(), "closed");
        last = program;
    }
    drop(rival.0.stdin.take());
    let counts = rival.line();
    assert!(counts.starts_with("0 "), "{counts}");
    drop(last);
    eventually("no cgroup", || cgroups(&place).is_empty().then_some(()));
}

#[test]
fn two_leases_of_one_program_share_its_cgroup() {
    const BOTH: &str = r#"
import os, socket
for name in ("A_PORT", "B_PORT"):
    s = socket.socket()
    s.bind(("127.0.0.1", int(os.environ[name])))
    s.listen()
    globals()[name] = s
print("listens", flush=True)
input()
"#;
    let Some((place, server)) = served("two leases") else {
        return;
    };
    let mut command = place.command();
    command.args([
        "run",
        "--name",
        "a",
        "--name",
        "b",
        "--handover",
        "bind",
        "--",
    ]);
    command.args(["python3", "-c", BOTH]);
    let mut owner = Running::piped(command);
    assert_eq!(owner.line(), "listens");
    let pid = server.child.id();
    assert_eq!((cgroups(&place).len(), links(pid)), (1, 2));
    let id = lease(&server, "a", is_active)["id"].clone();
    assert_eq!(server.release(id.as_str().unwrap()).status, 204);
    assert_eq!((cgroups(&place).len(), links(pid)), (1, 2));
    drop(owner);
    lease(&server, "b", |lease| lease["state"] == "reserved");
    assert_eq!((cgroups(&place).len(), links(pid)), (0, 0));
}
