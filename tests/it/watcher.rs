//! A watcher restarts its server again and again under one `run`: the gate stays open for it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Place, Server};
use crate::tools::eventually;

/// Starts a server, waits until a client came, kills it with the connection open, and starts the
/// next one at once.
const WATCHER: &str = r#"
import os, subprocess, sys
SERVER = """
import os, socket, sys
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
print("serves", flush=True)
client = s.accept()[0]
client.sendall(b"hello")
print("served", flush=True)
sys.stdin.read()
"""
print(os.environ["PORT"], flush=True)
while True:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = server.stdout.readline()
    if said != b"serves\n":
        sys.exit("the server did not start")
    print("serves", flush=True)
    server.stdout.readline()
    server.kill()
    server.wait()
"#;

const RESTARTS: usize = 10;

/// The watcher; it and its server are killed when dropped.
struct Watcher {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Watcher {
    fn start(place: &Place) -> Self {
        let mut child = place
            .command()
            .args(["run", "--", "python3", "-c", WATCHER])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("a port");
        Self { child, said, port }
    }

    fn wait_for_server(&mut self) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "serves\n", "a server could not bind");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its server waits for a client or for the end of its stdin; one of both comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn only_lease(server: &Server) -> Value {
    let list = server.get("/api/v1/leases?pool=default");
    list.json()["leases"][0].clone()
}

#[test]
fn a_watcher_restarts_its_server_under_one_run() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut watcher = Watcher::start(&place);
    let before = only_lease(&server);
    let mut visitors = Vec::new();
    for _ in 0..RESTARTS {
        watcher.wait_for_server();
        let mut visitor = TcpStream::connect(("127.0.0.1", watcher.port)).unwrap();
        let mut greeting = [0; 5];
        visitor.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"hello");
        visitors.push(visitor);
    }
    watcher.wait_for_server();
    let active = eventually("an active lease", || {
        let now = only_lease(&server);
        (now["state"] == "active").then_some(now)
    });
    assert_eq!(active["id"], before["id"]);
    assert_eq!(active["owner"]["pid"], watcher.child.id());
    assert_eq!(active["guard"], "hold");
    assert!(!server.log().contains("an outsider"), "{}", server.log());
}
