//! One named port, its program killed and started again at once, with a client's connection left
//! behind each time, while others take ports all around: always the same port. The benchmark
//! `race` does the same a thousand times.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::host::Host;
use crate::support::Place;
use crate::tools::Running;

const RESTARTS: usize = 30;

/// Serves on a port as most servers do, greets each client, and keeps every connection.
const SERVE: &str = r#"
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(sys.argv[1], flush=True)
kept = []
while True:
    kept.append(s.accept()[0])
    kept[-1].sendall(b"hello")
"#;

/// Connects, and stays connected until its stdin ends.
const VISIT: &str = r#"
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
assert s.recv(5) == b"hello"
print("visited", flush=True)
sys.stdin.read()
"#;

/// Takes ports in every way that does not aim: port 0, a connection, strictly, and by binding,
/// closing and binding again.
const TAKE: &str = r#"
import random, socket, sys, time
first, last = int(sys.argv[1]), int(sys.argv[2])
target = socket.create_server(("127.0.0.1", 9100), backlog=1000)
def bind(port):
    s = socket.socket()
    s.bind(("0.0.0.0", port)); s.listen()
    return s
def check_close_bind():
    port = random.randint(first, last)
    bind(port).close(); time.sleep(0.001)
    return bind(port)
def connect():
    s = socket.create_connection(("127.0.0.1", 9100))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return s
ways = [lambda: bind(0), connect, lambda: bind(random.randint(first, last)), check_close_bind]
kept = []
print("takes", flush=True)
while True:
    try:
        kept.append(random.choice(ways)())
    except OSError:
        pass
    if len(kept) > 8:
        kept.pop(0).close()
"#;

/// Starts a Python program and returns it with its first line, which tells that it is ready.
fn started(mut command: Command) -> (Child, String) {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("it can be run");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(arguments);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[test]
fn name_returns_to_its_port_despite_open_connections() {
    let Some(host) = Host::plain("restarts of a name under load") else {
        return;
    };
    // The pool lies where the kernel chooses from, as no sensible pool does.
    host.sysctl("ip_local_port_range", "20000 20099");
    let place = Place::on((20000..20100).collect(), vec![8888]);
    let _server = host.serve(&place);
    let taking = host.enter(&python(TAKE, &["20000", "20099"]));
    let _taking = Running(started(taking).0);
    let mut ports = Vec::new();
    let mut kept = Vec::new();
    for round in 0..RESTARTS {
        let mut run = place.command();
        run.args(["run", "--name", "web", "--", "python3", "-c", SERVE]);
        let (program, port) = started(host.enter(run.arg("{port}")));
        let program = Running(program);
        let (visitor, said) = started(host.enter(&python(VISIT, &[&port])));
        assert_eq!(said, "visited", "on port {port}");
        drop(program);
        // Ended, its connection becomes a TIME_WAIT; the others' stay open.
        let mut visitor = Running(visitor);
        if round % 2 == 0 {
            drop(visitor.0.stdin.take());
            visitor
                .0
                .stdout
                .take()
                .unwrap()
                .read_to_end(&mut Vec::new())
                .unwrap();
        } else {
            kept.push(visitor);
        }
        ports.push(port);
    }
    ports.dedup();
    assert_eq!(ports.len(), 1, "it moved: {ports:?}");
}
