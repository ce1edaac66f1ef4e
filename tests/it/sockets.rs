//! Hand-over `fd`: the owner gets listening sockets, and no other process can bind in between.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::host::skipped;
use crate::probe::{How, bind};
use crate::support::{Place, Server, text};
use crate::tools::eventually;

const LEASES: &str = "/api/v1/leases";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Serves on the sockets that it was started with, as a program under socket activation does: it
/// says what it was told of them, and greets each client.
const ACTIVATED: &str = r#"
import os, select, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()), "not meant for this process"
count = int(os.environ["LISTEN_FDS"])
sockets = [socket.socket(fileno=3 + n) for n in range(count)]
for s in sockets:
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
print(os.environ["LISTEN_FDNAMES"], *(s.getsockname()[1] for s in sockets), flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        s.accept()[0].sendall(b"hello")
"#;

/// Asks for the sockets of a lease as any program can, and serves on the first of them.
const FETCH: &str = r#"
import json, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(json.dumps({"lease": sys.argv[2]}).encode() + b"\n")
    answer, fds, _, _ = socket.recv_fds(s, 65536, 64)
print(answer.decode().strip(), flush=True)
if not fds:
    sys.exit(1)
serving = socket.socket(fileno=fds[0])
if len(sys.argv) > 3:
    sys.stdin.read()
else:
    while True:
        serving.accept()[0].sendall(b"hello")
"#;

struct Program {
    child: Child,
    /// Its first line.
    said: String,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        let said = said.trim().to_owned();
        Self { child, said }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", script]);
    command
}

fn activated(place: &Place, options: &[&str]) -> Program {
    let mut command = place.command();
    command.args(["run", "--handover", "fd"]).args(options);
    command.args(["--", "python3", "-c", ACTIVATED]);
    Program::start(command)
}

fn greets(port: u16) -> bool {
    let mut heard = [0; 5];
    let connected = TcpStream::connect((LOCALHOST, port));
    connected.is_ok_and(|mut stream| stream.read_exact(&mut heard).is_ok() && &heard == b"hello")
}

fn is_shut(port: u16) -> bool {
    let refused = |how| bind(LOCALHOST, port, how).is_err();
    refused(How::Strictly) && refused(How::AsServersDo)
}

fn lease(server: &Server, body: &Value) -> (String, u16) {
    let granted = server.allocate(body);
    assert_eq!(granted.status, 201, "{granted:?}");
    let lease = &granted.json()["leases"][0];
    let port = lease["port"].as_u64().unwrap().try_into().unwrap();
    (lease["id"].as_str().unwrap().to_owned(), port)
}

fn fetch(server: &Server, id: &str) -> Command {
    let mut command = python(FETCH);
    command.arg(server.socket().with_extension("fds.sock"));
    command.arg(id);
    command
}

fn fetched(mut command: Command) -> Output {
    command.arg("once").stdin(Stdio::null()).output().unwrap()
}

#[test]
fn run_gives_its_program_listening_sockets() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let program = activated(&place, &["--name", "web", "--name", "api"]);
    let words: Vec<&str> = program.said.split(' ').collect();
    assert_eq!(words[0], "web:api", "one dual-stack socket each");
    let ports: Vec<u16> = words[1..]
        .iter()
        .map(|word| word.parse().unwrap())
        .collect();
    assert_eq!(ports, place.ports);
    for port in &place.ports {
        assert!(greets(*port) && is_shut(*port));
    }
    let leases = place.json(&["list"]);
    let web = leases["leases"].as_array().unwrap().iter();
    for lease in web.filter(|lease| lease["pool"] == "default") {
        assert_eq!(
            (&lease["guard"], &lease["handover"]),
            (&json!("hold"), &json!("fd"))
        );
    }
    for port in &place.ports {
        eventually("it is seen to serve", || is_active(&server, *port));
    }
}

fn is_active(server: &Server, port: u16) -> Option<()> {
    let mut leases = server.living("default").into_iter();
    let lease = leases.find(|lease| lease["port"] == port)?;
    (lease["state"] == "active").then_some(())
}

#[test]
fn program_with_one_socket_answers_both_families() {
    const ONE: &str = r#"
import socket
s = socket.socket(fileno=3)
print("serves", flush=True)
while True:
    s.accept()[0].sendall(b"hello")
"#;
    let place = Place::with_ports(1);
    let _server = place.serve();
    let mut command = place.command();
    command.args(["run", "--handover", "fd", "--", "python3", "-c", ONE]);
    let program = Program::start(command);
    assert_eq!(program.said, "serves");
    for host in ["127.0.0.1", "::1"] {
        let host: IpAddr = host.parse().unwrap();
        let mut stream = TcpStream::connect((host, place.ports[0])).unwrap();
        let patience = Some(std::time::Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello", "{host}");
        for how in [How::Strictly, How::AsServersDo] {
            assert!(bind(host, place.ports[0], how).is_err(), "{host} is shut");
        }
    }
}

#[test]
fn sockets_of_several_addresses_have_distinct_names() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let on = ["--name", "web", "-i", "127.0.0.1", "-i", "::1"];
    let program = activated(&place, &on);
    let port = place.ports[0];
    assert_eq!(program.said, format!("web:web.2 {port} {port}"));
}

#[test]
fn fds_gives_a_socket_for_each_family() {
    for has_service in [true, false] {
        let place = Place::with_ports(1);
        let _server = has_service.then(|| place.serve());
        let port = place.ports[0];
        let mut command = place.command();
        command.args(["run", "--fds", "--name", "web", "--"]);
        command.args(["python3", "-c", ACTIVATED]);
        let program = Program::start(command);
        assert_eq!(program.said, format!("web:web.2 {port} {port}"));
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            let mut stream = TcpStream::connect((host, port)).unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"hello", "{host}");
            assert!(
                bind(host, port, How::AsServersDo).is_err(),
                "{host} is shut"
            );
        }
    }
}

#[test]
fn fds_is_refused_with_another_hand_over() {
    let place = Place::with_ports(1);
    let output = place.run(&["run", "--fds", "--handover", "gate", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let said = text(&output.stderr);
    assert!(said.contains("--handover fd"), "{said}");
}

#[test]
fn listen_pid_is_right_behind_a_shell_that_uses_exec() {
    for script in [
        "cd /; exec python3 -c \"$0\"",
        // A shell between them can say that it is the server.
        "exec timeout 60 sh -c 'LISTEN_PID=$$ exec python3 -c \"$0\"' \"$0\"",
    ] {
        let place = Place::with_ports(1);
        let _server = place.serve();
        let mut command = place.command();
        command.args(["run", "--handover", "fd", "--", "sh", "-c"]);
        command.args([script, ACTIVATED]).stderr(Stdio::piped());
        let mut program = Program::start(command);
        let port = place.ports[0];
        assert_eq!(program.said, format!("portbook {port}"), "{script}");
        assert!(greets(port), "{script}");
        // timeout(1) passes it on.
        let pid = rustix::process::Pid::from_child(&program.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut said = String::new();
        let stderr = program.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert!(!said.contains("LISTEN_PID"), "{said}");
    }
}

#[test]
fn shell_that_stays_is_told_whose_the_sockets_are() {
    let place = Place::with_ports(1);
    let output = place.run(&["run", "--handover", "fd", "--", "sh", "-c", "true; true"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("LISTEN_PID") && said.contains("exec"),
        "{said}"
    );
}

#[test]
fn without_a_service_the_program_has_sockets_and_hold() {
    let place = Place::with_ports(1);
    let program = activated(&place, &[]);
    let port = place.ports[0];
    assert_eq!(program.said, format!("portbook {port}"));
    assert!(greets(place.ports[0]) && is_shut(place.ports[0]));
    drop(program);
    // The visitor's connection may linger, which refuses strict binds alone.
    eventually("free", || bind(LOCALHOST, port, How::AsServersDo).ok());
}

#[test]
fn inherited_descriptors_give_way_to_sockets() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let script = place.folder().join("activated.py");
    std::fs::write(&script, ACTIVATED).unwrap();
    let script = script.display();
    let line =
        format!("exec portbook run --handover fd -- python3 {script} 3</dev/null 5</dev/null");
    let program = Program::start(place.shell(&line));
    let port = place.ports[0];
    assert_eq!(program.said, format!("portbook {port}"));
    assert!(greets(port));
}

#[test]
fn a_name_restarts_on_its_sockets() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let first = activated(&place, &["--name", "web"]);
    let port = place.ports[0];
    let mut visitor = TcpStream::connect((LOCALHOST, port)).unwrap();
    visitor.read_exact(&mut [0; 5]).unwrap();
    drop(first);
    eventually("put away", || {
        let list = server.get("/api/v1/leases?name=web").json();
        (list["leases"][0]["state"] == "reserved").then_some(())
    });
    assert!(is_shut(port));
    let again = activated(&place, &["--name", "web"]);
    assert_eq!(again.said, format!("web {port}"));
    assert!(greets(port));
}

#[test]
fn any_program_of_the_user_can_ask_for_the_sockets() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let (id, port) = lease(&server, &json!({"handover": "fd"}));
    assert!(is_shut(port), "shut before it is fetched");
    let program = Program::start(fetch(&server, &id));
    let answer: Value = serde_json::from_str(&program.said).unwrap();
    assert_eq!(answer["port"], port);
    assert_eq!(answer["addresses"], json!([format!("[::]:{port}")]));
    assert!(greets(port) && is_shut(port));
    // They have an owner now: no process gets them twice.
    let again = fetched(fetch(&server, &id));
    let said: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(said["problem"]["code"], "port_in_use");
    let active = eventually("its owner", || {
        let lease = server.get(&format!("{LEASES}/{id}")).json();
        (lease["state"] == "active").then_some(lease)
    });
    assert_eq!(active["owner"]["pid"], program.child.id());
}

#[test]
fn sockets_can_be_requested_again_after_closing() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let (id, port) = lease(&server, &json!({"handover": "fd", "name": "web"}));
    for _ in 0..2 {
        let output = fetched(fetch(&server, &id));
        assert!(output.status.success(), "{output:?}");
        eventually("closed", || (!greets(port)).then_some(()));
        assert!(is_shut(port), "shut beneath");
    }
}

#[test]
fn sockets_are_refused_where_they_are_not_due() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let (gate, _) = lease(&server, &json!({}));
    let unknown = "018f0000-0000-7000-8000-000000000000";
    for (id, code) in [
        (&*gate, "invalid_request"),
        (unknown, "not_found"),
        ("x", "invalid_request"),
    ] {
        let output = fetched(fetch(&server, id));
        assert_eq!(output.status.code(), Some(1));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["problem"]["code"], code, "{id}");
    }
}

#[test]
fn a_udp_owner_is_given_a_socket_above_the_hold() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let (id, port) = lease(&server, &json!({"handover": "fd", "protocol": "udp"}));
    let strictly = || std::net::UdpSocket::bind((LOCALHOST, port));
    assert!(strictly().is_err(), "not held before it is fetched");
    let mut command = fetch(&server, &id);
    command.arg("keep");
    let program = Program::start(command);
    assert!(strictly().is_err(), "not the owner's");
    drop(program);
    assert!(strictly().is_err(), "not held after the owner");
    server.release(&id);
    eventually("free again", || strictly().ok());
}

/// A command as a user without privileges, who may run it.
fn as_unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(program);
    command
}

#[test]
fn a_privileged_port_reaches_a_user_without_privilege() {
    if !rustix::process::geteuid().is_root() {
        skipped(
            "a privileged port for another user",
            "only root can grant one",
        );
        return;
    }
    let mut place = Place::with_ports(0);
    place.set("PORTBOOK_POOLS__LOW__RANGES", "600-799");
    place.set("PORTBOOK_POOLS__LOW__STRATEGY", "random");
    place.set("PORTBOOK_SOCKET_MODE", "0660");
    // Files made in it belong to the folder's group, as under a service's own directory.
    let folder = place.folder();
    std::os::unix::fs::chown(folder, None, Some(65534)).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2755)).unwrap();
    let socket = folder.join("api.sock");
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    let _server = place.serve();
    let mut command = as_unprivileged(Path::new("/usr/bin/env"));
    command
        .args([
            "-i",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "HOME=/nonexistent",
        ])
        .arg(format!("PORTBOOK_SOCKET={}", socket.display()))
        .arg(crate::support::PORTBOOK)
        .args(["run", "--pool", "low", "--handover", "fd", "--"])
        .args(["python3", "-c", ACTIVATED])
        .stderr(Stdio::piped());
    let mut program = Program::start(command);
    if program.said.is_empty() {
        let mut said = String::new();
        program
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        if said.contains("Permission denied") && said.contains("setpriv") {
            skipped("a privileged port for another user", said.trim());
            return;
        }
        panic!("{said}");
    }
    let port = program.said.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((600..800).contains(&port), "{}", program.said);
    assert!(greets(port));
    let output = text(&place.run(&["list"]).stdout);
    assert!(output.contains("active"), "{output}");
}
