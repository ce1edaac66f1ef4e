//! Owners: how a process becomes one, and how its end changes the lease. And leases that are never
//! claimed or renewed.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::host::skipped;
use crate::probe::{How, bind, is_kept, until_free};
use crate::support::{Place, Server, port};
use crate::tools::eventually;

const LEASES: &str = "/api/v1/leases";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Serves on a port as most servers do, greets each client, and keeps every connection. An
/// argument of its own makes it another user first.
const SERVE: &str = r#"
import os, socket, sys
if len(sys.argv) > 2:
    os.setuid(int(sys.argv[2]))
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serves", flush=True)
kept = []
while True:
    kept.append(s.accept()[0])
    kept[-1].sendall(b"hello")
"#;

/// A process that listens; killed when dropped, and not reaped before.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let mut program = Self(child);
        let mut line = String::new();
        let stdout = program.0.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "serves\n");
        program
    }

    /// A server on a port that another process asked for.
    fn serve(port: u16, user: Option<u32>) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVE, &port.to_string()]);
        command.args(user.map(|uid| uid.to_string()));
        Self::start(&mut command)
    }

    /// A server under `portbook run`.
    fn run(place: &Place, options: &[&str]) -> Self {
        let mut command = place.command();
        command.arg("run").args(options);
        Self::start(command.args(["--", "python3", "-c", SERVE, "{port}"]))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it and leaves a zombie.
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks for a lease, which must be granted.
fn lease(server: &Server, body: &Value) -> Value {
    let granted = server.allocate(body);
    assert!(matches!(granted.status, 200 | 201), "{granted:?}");
    granted.json()["leases"][0].clone()
}

fn shown(server: &Server, lease: &Value) -> Value {
    let path = format!("{LEASES}/{}", lease["id"].as_str().unwrap());
    server.get(&path).json()
}

/// The one living lease of the default pool.
fn only_lease(server: &Server) -> Value {
    let list = server.get("/api/v1/leases?pool=default");
    let list = list.json();
    assert_eq!(list["leases"].as_array().unwrap().len(), 1, "{list}");
    list["leases"][0].clone()
}

/// Waits until the lease is in this state and gives it.
fn until(server: &Server, lease: &Value, state: &str) -> Value {
    eventually(state, || {
        let now = shown(server, lease);
        (now["state"] == state).then_some(now)
    })
}

#[test]
fn an_unnamed_lease_ends_with_its_owner() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut program = Program::run(&place, &[]);
    let lease = only_lease(&server);
    assert_eq!(lease["owner"]["pid"], program.pid());
    assert_eq!(until(&server, &lease, "active")["guard"], "hold");
    // Killed and not reaped: a zombie owns nothing.
    program.kill();
    until(&server, &lease, "owner_gone");
    until_free(place.ports[0]);
}

#[test]
fn a_name_keeps_its_port_while_its_owner_is_away() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let mut program = Program::run(&place, &["--name", "web"]);
    let lease = only_lease(&server);
    let mut visitor = TcpStream::connect((LOCALHOST, port(&lease))).unwrap();
    visitor.read_exact(&mut [0; 5]).unwrap();
    program.kill();
    let reserved = until(&server, &lease, "reserved");
    assert_eq!(
        (&reserved["guard"], &reserved["owner"]),
        (&json!("hold"), &Value::Null)
    );
    for how in [How::Strictly, How::AsServersDo] {
        let refused = bind(LOCALHOST, port(&lease), how).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse, "{how:?}");
    }

    // The visitor's connection is still open on its side.
    let again = Program::run(&place, &["--name", "web"]);
    let now = only_lease(&server);
    assert_eq!((&now["id"], &now["port"]), (&lease["id"], &lease["port"]));
    assert_eq!(now["owner"]["pid"], again.pid());
    drop(visitor);
}

#[test]
fn a_name_whose_owner_lives_is_refused_to_another() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let program = Program::run(&place, &["--name", "web"]);
    let refused = place.run(&["run", "--name", "web", "--", "true"]);
    assert_eq!(refused.status.code(), Some(125));
    let said = crate::support::text(&refused.stderr);
    assert!(said.contains(&program.pid().to_string()), "{said}");
}

#[test]
fn the_first_listener_of_the_user_becomes_the_owner() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let lease = lease(&server, &json!({}));
    assert_eq!(lease["owner"], Value::Null);
    let mut program = Program::serve(port(&lease), None);
    let active = until(&server, &lease, "active");
    assert_eq!(active["owner"]["pid"], program.pid());
    assert_eq!(active.get("claim_by"), None, "claimed");
    program.kill();
    until(&server, &lease, "owner_gone");
    until_free(port(&lease));
}

#[test]
fn listener_of_another_user_is_a_conflict() {
    if !rustix::process::geteuid().is_root() {
        skipped("a listener of another user", "only root can become one");
        return;
    }
    let place = Place::with_ports(2);
    let server = place.serve();
    let taken = lease(&server, &json!({ "name": "web" }));
    let occupant = Program::serve(port(&taken), Some(65534));
    let lost = until(&server, &taken, "lost");
    assert_eq!(lost["owner"], Value::Null);
    eventually("a word in the log", || {
        server.log().contains("an outsider listens").then_some(())
    });
    // The name moves on.
    let next = lease(&server, &json!({ "name": "web" }));
    assert_ne!(port(&next), port(&taken));
    drop(occupant);
}

#[test]
fn lease_expires_on_time_and_renewal_extends_it() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let left = lease(&server, &json!({ "ttl": "1s" }));
    let [sooner, later] = [0, 1].map(|_| lease(&server, &json!({ "ttl": "30m" })));
    for (lease, ttl) in [(&sooner, "1s"), (&later, "1h")] {
        let path = format!("{LEASES}/{}/renew", lease["id"].as_str().unwrap());
        let answer = server.api("POST", &path, Some(&json!({ "ttl": ttl })));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for lease in [&left, &sooner] {
        until(&server, lease, "expired");
        until_free(port(lease));
    }
    let now = shown(&server, &later);
    assert!(now["expires_at"].as_str() > later["expires_at"].as_str());
    assert_eq!(now["state"], "handed");
    assert!(is_kept(port(&later)));
}

#[test]
fn unclaimed_lease_ends_and_its_name_is_parked() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let unnamed = lease(&server, &json!({ "claim_within": "1s" }));
    let named = lease(&server, &json!({ "claim_within": "1s", "name": "web" }));
    until(&server, &unnamed, "unclaimed");
    until_free(port(&unnamed));
    until(&server, &named, "reserved");
    assert!(bind(LOCALHOST, port(&named), How::AsServersDo).is_err());
}

#[test]
fn release_reports_an_outsider_behind_the_gate() {
    let place = Place::with_ports(2);
    let server = place.serve();
    // Its owner never listens: an outsider binds its port first.
    let owner = Program::serve(place.console_ports[3], None);
    let body = json!({ "port": place.ports[0], "owner_pid": owner.pid() });
    let lease = lease(&server, &body);
    let thief = crate::support::occupant(port(&lease));
    let path = format!("{LEASES}/{}", lease["id"].as_str().unwrap());
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    let told = format!("python3 (pid {})", thief.0.id());
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("an outsider listens"));
    assert!(line.is_some_and(|line| line.contains(&told)), "{log}");
}

#[test]
fn server_restarted_under_one_run_is_admitted_each_time() {
    const WATCHER: &str = r#"
import os, socket, sys, time
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
        c = socket.create_connection(s.getsockname())
        s.accept()[0].close()
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)
print("serves", flush=True)
time.sleep(60)
"#;
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--", "python3", "-c", WATCHER]);
    let watcher = Program::start(&mut command);
    let lease = only_lease(&server);
    assert_eq!(lease["owner"]["pid"], watcher.pid());
    assert_eq!(lease["guard"], "hold");
}
