//! Many clients at once: each gets a port of its own, and the kernel holds it before its client
//! listens.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::{Place, Server, text};

const CLIENTS: usize = 200;

/// Binds every address that it reads, strictly, and prints the number of successes and of refusals as
/// in use.
const BIND_STRICTLY: &str = "
import errno, json, socket, sys
bound = busy = 0
for address in json.load(sys.stdin):
    host, port = address.rsplit(':', 1)
    v6 = host.startswith('[')
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET) as s:
        if v6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            s.bind((host.strip('[]'), int(port)))
            bound += 1
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            busy += 1
print(bound, busy)
";

/// Number of these addresses that another process could bind, and number refused to it.
fn bind_strictly(addresses: &[&str]) -> (usize, usize) {
    let mut child = Command::new("python3")
        .args(["-c", BIND_STRICTLY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let stdin = child.stdin.take().unwrap();
    write!(&stdin, "{}", json!(addresses)).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let printed = text(&output.stdout);
    let (bound, busy) = printed.trim().split_once(' ').unwrap();
    (bound.parse().unwrap(), busy.parse().unwrap())
}

/// Asks for a lease from every client at the same moment.
fn grant_to_all(server: &Server) -> Vec<Value> {
    let start = Barrier::new(CLIENTS);
    let ask = || {
        start.wait();
        let granted = server.allocate(&json!({}));
        assert_eq!(granted.status, 201, "{granted:?}");
        granted.json()["leases"][0].clone()
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let leases = clients.into_iter().map(|client| client.join().unwrap());
        leases.collect()
    })
}

fn release_all(server: &Server, leases: &[Value]) {
    let release = |lease: &Value| {
        let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
        assert_eq!(server.api("DELETE", &path, None).status, 204);
    };
    std::thread::scope(|scope| {
        for lease in leases {
            scope.spawn(|| release(lease));
        }
    });
}

#[test]
fn two_hundred_clients_get_distinct_held_ports() {
    let place = Place::with_ports(CLIENTS + 20);
    let server = place.serve();
    let leases = grant_to_all(&server);
    let ports: BTreeSet<u64> = leases
        .iter()
        .map(|lease| lease["port"].as_u64().unwrap())
        .collect();
    assert_eq!(ports.len(), CLIENTS, "a port was granted twice");

    let addresses: Vec<&str> = leases
        .iter()
        .flat_map(|lease| lease["addresses"].as_array().unwrap())
        .map(|address| address.as_str().unwrap())
        .collect();
    assert!(addresses.len() >= CLIENTS);
    assert_eq!(bind_strictly(&addresses), (0, addresses.len()));
    release_all(&server, &leases);
    assert_eq!(bind_strictly(&addresses), (addresses.len(), 0));
}

#[test]
fn commands_without_a_service_take_turns() {
    let place = Place::with_ports(8);
    let commands: Vec<_> = (0..8)
        .map(|_| {
            let mut command = place.command();
            command.arg("alloc").stdout(Stdio::piped());
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ports: BTreeSet<String> = commands
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
        })
        .collect();
    assert_eq!(ports.len(), 8, "{ports:?}");
}

#[test]
fn concurrent_requests_for_one_name_get_one_lease() {
    let place = Place::with_ports(20);
    let server = place.serve();
    let start = Barrier::new(CLIENTS / 4);
    let ask = || {
        start.wait();
        let answer = server.allocate(&json!({"name": "web"}));
        (answer.status, answer.json()["leases"][0]["id"].to_string())
    };
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS / 4).map(|_| scope.spawn(ask)).collect();
        let answers = clients.into_iter().map(|client| client.join().unwrap());
        answers.collect()
    });
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    let ids: BTreeSet<&String> = answers.iter().map(|(_, id)| id).collect();
    assert_eq!((created, ids.len()), (1, 1), "{answers:?}");
}
