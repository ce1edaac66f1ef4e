//! The log: one line for each important outcome, with its trace and without secrets.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::receiver::receiver;
use crate::support::{Place, Server, occupant};
use crate::tools::{Running, eventually};

const SECRET: &str = "hunter2";

/// The lines as JSON, which every one of them must be.
fn lines(log: &str) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    log.lines().map(parsed).collect()
}

/// The only line with this message that names this lease or allocation.
fn line<'a>(lines: &'a [Value], message: &str, id: &Value) -> &'a Value {
    let found = lines.iter().filter(|line| {
        let told = line["message"].as_str().unwrap().starts_with(message);
        told && (line["lease"] == *id || line["allocation"] == *id)
    });
    let [line] = found.collect::<Vec<_>>()[..] else {
        panic!("not one line of {message} {id}: {lines:#?}")
    };
    line
}

fn wait_for(server: &Server, words: &str) {
    eventually(words, || server.log().contains(words).then_some(()));
}

#[test]
fn each_outcome_has_a_line_with_its_trace() {
    let mut place = Place::with_ports(3);
    let (url, _posts) = receiver();
    place.set("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={SECRET}"));
    let _occupant = occupant(place.ports[0]);
    let server = place.serve_with(&["--otlp-endpoint", &url, "--log-format", "json"]);
    let granted = place.json(&["alloc", "--name", "web", "--ttl", "1h"]);
    let (allocation, lease) = (&granted["allocation"], &granted["leases"][0]["id"]);
    let id = lease.as_str().unwrap();
    place.ok(&["renew", id]);
    place.ok(&["release", id]);
    let gone = place.ok(&["run", "--", "sh", "-c", "echo $PORT"]);
    wait_for(&server, "its owner is gone");
    let short = place.json(&["alloc", "--ttl", "100ms"])["leases"][0]["id"].clone();
    wait_for(&server, "its time was up");
    let busy = place.ports[0].to_string();
    assert!(!place.run(&["alloc", "--port", &busy]).status.success());
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(foreign).status, 421);

    let log = server.log();
    let all = lines(&log);
    let grant = line(&all, "granted", lease);
    assert_eq!(grant["name"], "web");
    assert_eq!(grant["trace_id"], granted["trace_id"]);
    let conflict = line(&all, "in the way: ", allocation);
    assert_eq!(
        (&conflict["conflicts"], &conflict["trace_id"]),
        (&json!(1), &granted["trace_id"])
    );
    assert!(
        conflict["message"]
            .as_str()
            .unwrap()
            .contains(" is held by python3 (pid ")
    );
    line(&all, "renewed", lease);
    line(&all, "ended: released", lease);
    let left = all
        .iter()
        .find(|line| line["state"] == "owner_gone")
        .unwrap();
    assert_eq!(left["port"], gone.trim());
    line(&all, "ended: its time was up", &short);
    let refused = all
        .iter()
        .find(|line| line["code"] == "port_in_use")
        .unwrap();
    assert!(refused["message"].as_str().unwrap().contains(&busy));
    assert!(all.iter().any(|line| line["code"] == "misdirected_host"));
    for line in all
        .iter()
        .filter(|line| line.get("lease").or(line.get("code")).is_some())
    {
        let named = |key: &str, length| line[key].as_str().map(str::len) == Some(length);
        assert!(named("trace_id", 32) && named("span_id", 16), "{line}");
    }
    for secret in [SECRET, &server.token()] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn levels_go_by_module() {
    let place = Place::with_ports(2);
    let _occupant = occupant(place.ports[0]);
    let filter = "warn,portbook::engine::allocator=debug";
    let server = place.serve_with(&["--log", filter]);
    place.json(&["alloc"]);
    let log = server.log();
    let tried = |port: u16, outcome: &str| {
        log.lines().any(|line| {
            let words = [format!("port={port}"), format!("outcome=\"{outcome}\"")];
            words.iter().all(|word| line.contains(word.as_str()))
        })
    };
    assert!(
        tried(place.ports[0], "in_use") && tried(place.ports[1], "bound"),
        "{log}"
    );
    assert!(!log.contains("granted"), "{log}");
}

/// A server that closes its listener when it is told to, and listens again when it is told so.
const AGAIN: &str = r#"
import socket, sys
port = int(sys.argv[1])
s = socket.create_server(("127.0.0.1", port))
for _ in sys.stdin:
    if s:
        s = s.close()
    else:
        s = socket.create_server(("127.0.0.1", port))
"#;

#[test]
fn a_claim_has_one_line_however_often_its_owner_listens() {
    let place = Place::with_ports(1);
    let (url, _posts) = receiver();
    let server = place.serve_with(&["--otlp-endpoint", &url, "--log-format", "json"]);
    let granted = place.json(&["alloc"]);
    let lease = &granted["leases"][0];
    let mut owner = Command::new("python3");
    owner.args(["-c", AGAIN, &lease["port"].to_string()]);
    owner.stdin(Stdio::piped());
    let mut owner = Running::start(owner);
    wait_for(&server, "claimed");
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    for state in ["active", "handed", "active"] {
        eventually(state, || {
            let now = server.get(&path).json();
            (now["state"] == state).then_some(())
        });
        owner.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    let all = lines(&server.log());
    let claimed = line(&all, "claimed", &lease["id"]);
    assert_eq!(
        (&claimed["level"], &claimed["pid"], &claimed["command"]),
        (&json!("INFO"), &json!(owner.0.id()), &json!("python3"))
    );
    assert_eq!(claimed["port"], lease["port"].to_string());
    // Each change of a lease after its grant has its own trace.
    let named = |key: &str, length| claimed[key].as_str().map(str::len) == Some(length);
    assert!(named("trace_id", 32) && named("span_id", 16), "{claimed}");
    assert_ne!(claimed["trace_id"], granted["trace_id"]);
}
