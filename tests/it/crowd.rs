//! Other users of the host, who try to take all connections, descriptors or ports (D6, D7, H4).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::host::{Host, skipped};
use crate::support::{Place, Server, ask};
use crate::tools::Running;

/// Opens event streams on a port as another user, says how many are still open, and waits.
const CROWD: &str = r#"
import os, select, socket, sys
os.setuid(12345)
streams = []
for _ in range(int(sys.argv[2])):
    stream = socket.socket()
    try:
        stream.connect(("127.0.0.1", int(sys.argv[1])))
        stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if stream.recv(1):
            streams.append(stream)
    except OSError:
        pass
print(len(streams), flush=True)
sys.stdin.read()
"#;

/// Asks for leases as another user until one is refused; prints the number of leases and the detail.
const GREED: &str = r#"
import http.client, json, os, socket, sys
os.setuid(12345)
leases = 0
while True:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request("POST", "/api/v1/leases", json.dumps({"count": 100}), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    if "leases" not in answer:
        break
    leases += len(answer["leases"])
print(json.dumps({"leases": leases, "code": answer["code"], "detail": answer["detail"]}))
"#;

fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped(test, "only root can act as another user");
    }
    is_root
}

/// A service with this limit on descriptors.
fn serve(place: &Place, descriptors: u32) -> Server {
    let own = place.command();
    let mut command = Command::new("prlimit");
    let own_envs = own.get_envs();
    command
        .env_clear()
        .envs(own_envs.filter_map(|(name, value)| Some((name, value?))))
        .arg(format!("--nofile={descriptors}:{descriptors}"))
        .arg(own.get_program())
        .arg("serve");
    Server::start(command, &place.data_dir())
}

#[test]
fn connections_of_another_user_leave_the_owner_served() {
    if !is_root("a crowd") {
        return;
    }
    let place = Place::with_ports(8);
    let server = serve(&place, 600);
    let mut crowd = Command::new("python3");
    crowd
        .args(["-c", CROWD, &server.console_port().to_string(), "700"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut crowd = Running::start(crowd);
    let mut line = String::new();
    let mut told = BufReader::new(crowd.0.stdout.take().unwrap());
    told.read_line(&mut line).unwrap();
    let open: usize = line.trim().parse().unwrap();
    for _ in 0..5 {
        let granted = ask(&server.socket(), "POST", "/api/v1/leases", Some(&json!({})));
        assert_eq!(granted.unwrap().status, 201);
    }
    // The owner's own browser has no such limit.
    assert_eq!(server.web("GET", "/livez", &[]).status, 200);
    assert!((1..=32).contains(&open), "{open} streams are open");
    assert!(
        server.log().contains("too many connections"),
        "{}",
        server.log()
    );
}

#[test]
fn body_that_never_ends_is_cut_off() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let head =
        b"POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 99\r\n\r\n{";
    stream.write_all(head).unwrap();
    let mut answer = String::new();
    // To its end: the connection is closed.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn another_user_has_a_limit_of_leases_by_default() {
    if !is_root("a greedy user") {
        return;
    }
    let Some(host) = Host::plain("a greedy user") else {
        return;
    };
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", "20000-21499");
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "ordered");
    // The other user stays in the group of root.
    place.set("PORTBOOK_SOCKET_MODE", "0660");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("shared.sock");
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    let _server = host.serve(&place);
    let told = host.python(GREED, &[socket.to_str().unwrap()]);
    assert_eq!(
        (&told["leases"], &told["code"]),
        (&json!(1000), &json!("quota_exceeded")),
        "{told}"
    );
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .contains("max_leases_per_user"),
        "{told}"
    );
}
