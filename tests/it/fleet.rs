//! Hosts of a fleet over a real etcd: two portbooks with records, names and ports of their own.

mod admission;
mod boot;
mod drill;
mod etcd;
mod everyday;
mod everywhere;
mod faults;
mod fence;
mod hostile;
mod prior;
mod tls;
mod unique;

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Place, Server, text};
use crate::tools::{Running, eventually};
use etcd::Etcd;

/// Exit code of an answer that does not come from the engine.
const NOT_FRESH: i32 = 3;

/// A host of the fleet, with sessions that end within seconds.
fn host(etcd: &Etcd, name: &str) -> Place {
    place_with(&etcd.address, name)
}

fn place_with(engine: &str, name: &str) -> Place {
    let mut place = Place::with_ports(3);
    place.set("PORTBOOK_FLEET__ENGINE", engine);
    place.set("PORTBOOK_FLEET__HOST", name);
    place.set("PORTBOOK_FLEET__SESSION", "2s");
    place.set("PORTBOOK_FLEET__ADDRESS", "192.0.2.1");
    place
}

fn status(server: &Server) -> Value {
    server.get("/api/v1/fleet/status").json()
}

fn reaches(server: &Server, state: &str) -> Value {
    eventually(state, || {
        Some(status(server)).filter(|status| status["state"] == state)
    })
}

/// Rows of a name, once they hold.
fn resolved(server: &Server, name: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually("the name is resolved", || {
        let answer = server.get(&format!("/api/v1/fleet/names/{name}"));
        let names = answer.json()["names"].as_array()?.clone();
        holds(&names).then_some(names)
    })
}

#[test]
fn two_hosts_see_each_other_and_resolve_names_across() {
    let Some(etcd) = Etcd::start("two hosts in a fleet") else {
        return;
    };
    let (one, two) = (host(&etcd, "one"), host(&etcd, "two"));
    let (first, second) = (one.serve(), two.serve());
    reaches(&first, "joined");
    reaches(&second, "joined");
    let hosts = one.json(&["fleet", "hosts"]);
    let names: Vec<&str> = hosts["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["host"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["one", "two"], "{hosts}");
    let port = one.ok(&["alloc", "--name", "billing", "--label", "team=shop"]);
    let port: u64 = port.trim().parse().unwrap();
    two.ok(&["alloc", "--name", "other"]);
    two.ok(&["alloc"]);
    let rows = resolved(&second, "billing", |rows| !rows.is_empty());
    assert_eq!(
        (&rows[0]["host"], &rows[0]["port"]),
        (&json!("one"), &json!(port))
    );
    assert_eq!(
        (&rows[0]["live"], &rows[0]["addresses"]),
        (&json!(true), &json!(["192.0.2.1"]))
    );
    let table = two.ok(&["resolve", "billing", "--live", "--fresh"]);
    assert!(table.contains(&format!("one   {port}")), "{table}");
    let nowhere = two.run(&["resolve", "nosuch"]);
    assert_eq!(nowhere.status.code(), Some(1));
    resolved(&first, "other", |rows| !rows.is_empty());
    // A lease without a name stays at home.
    let listed = one.ok(&["list", "--fleet"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let on = two.json(&["who", "--fleet", &port.to_string()]);
    assert_eq!(on["names"].as_array().unwrap().len(), 1, "{on}");
    one.ok(&["release", "billing"]);
    resolved(&second, "billing", <[Value]>::is_empty);
}

#[test]
fn host_without_its_engine_is_alone_and_works_on() {
    let Some(mut etcd) = Etcd::start("an engine that goes and comes back") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    place.ok(&["alloc", "--name", "web"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    etcd.stop();
    let alone = reaches(&server, "alone");
    assert!(alone["why"].as_str().unwrap().contains("etcd"), "{alone}");
    place.ok(&["alloc", "--name", "late"]);
    eventually("the name that waits is counted", || {
        (status(&server)["pending"] == 1).then_some(())
    });
    let stale = place.run(&["resolve", "web", "--fresh"]);
    assert_eq!(stale.status.code(), Some(NOT_FRESH), "{stale:?}");
    assert!(
        text(&stale.stdout).contains("web") && text(&stale.stderr).contains("ago"),
        "{stale:?}"
    );
    assert_eq!(place.run(&["resolve", "web"]).status.code(), Some(0));
    let never = place.run(&["resolve", "nosuch"]);
    assert_eq!(never.status.code(), Some(NOT_FRESH), "{never:?}");
    assert_eq!(
        place.run(&["fleet", "status"]).status.code(),
        Some(NOT_FRESH)
    );
    assert_eq!(server.get("/readyz").status, 200);
    etcd.start_again();
    reaches(&server, "joined");
    resolved(&server, "late", |rows| {
        rows.iter().any(|row| row["live"] == true)
    });
    resolved(&server, "web", |rows| {
        rows.iter().any(|row| row["live"] == true)
    });
    let events = server.log();
    assert!(
        events.contains("fleet: alone") && events.contains("fleet: joined"),
        "{events}"
    );
}

#[test]
fn stopped_engine_delays_no_local_request() {
    let Some(etcd) = Etcd::start("an engine that hangs") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    etcd.signal(Signal::STOP);
    // The client's own limit is the judge.
    for number in 0..3 {
        let name = format!("n{number}");
        place.ok(&["--timeout", "5s", "alloc", "--name", &name]);
        place.ok(&["--timeout", "5s", "release", &name]);
    }
    reaches(&server, "alone");
    etcd.signal(Signal::CONT);
    reaches(&server, "joined");
}

#[test]
fn killed_service_renews_the_same_session_and_a_successor_too() {
    let Some(etcd) = Etcd::start("a session across restarts") else {
        return;
    };
    let mut place = host(&etcd, "one");
    place.set("PORTBOOK_FLEET__SESSION", "30s");
    let server = place.serve();
    let session = reaches(&server, "joined")["session"].clone();
    place.ok(&["alloc", "--name", "web", "--ttl", "1h"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    server.kill();
    let again = place.serve();
    assert_eq!(reaches(&again, "joined")["session"], session);
    resolved(&again, "web", |rows| {
        rows.len() == 1 && rows[0]["live"] == true
    });
    let next = place.serve_with(&["--takeover"]);
    assert_eq!(reaches(&next, "joined")["session"], session);
    assert_eq!(etcd.keys("/portbook/v1/session/").len(), 1);
}

#[test]
fn second_host_of_a_name_is_refused_until_the_first_is_gone() {
    let Some(etcd) = Etcd::start("two hosts of one name") else {
        return;
    };
    let (one, two) = (host(&etcd, "same"), host(&etcd, "same"));
    let first = one.serve();
    reaches(&first, "joined");
    let second = two.serve();
    let refused = reaches(&second, "alone");
    let why = refused["why"].as_str().unwrap();
    assert!(
        why.contains("192.0.2.1") && why.contains("fleet.host"),
        "{why}"
    );
    let join = two.run(&["fleet", "join"]);
    assert!(text(&join.stderr).contains("192.0.2.1"), "{join:?}");
    assert_eq!(status(&first)["state"], "joined");
    one.ok(&["fleet", "leave"]);
    reaches(&second, "joined");
    assert_eq!(status(&first)["state"], "off");
}

#[test]
fn host_that_leaves_takes_its_names_along() {
    let Some(etcd) = Etcd::start("a host that leaves") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    place.ok(&["alloc", "--name", "web"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    place.ok(&["fleet", "leave"]);
    assert_eq!(etcd.keys("/portbook/v1/"), [""; 0]);
    let off = place.run(&["resolve", "web"]);
    assert!(text(&off.stderr).contains("fleet join"), "{off:?}");
    place.ok(&["alloc", "--name", "local"]);
}

#[test]
fn join_looks_first_and_then_writes_the_settings() {
    let Some(etcd) = Etcd::start("fleet join") else {
        return;
    };
    let place = Place::with_ports(2);
    let file = place.folder().join("config.toml");
    std::fs::write(&file, "# mine\n").unwrap();
    let file = file.to_str().unwrap();
    let dead = place.run(&["--config", file, "fleet", "join", "http://127.0.0.1:1"]);
    assert_eq!(dead.status.code(), Some(1), "{dead:?}");
    let far = place.run(&["--config", file, "fleet", "join", "http://192.0.2.9:2379"]);
    assert_eq!(far.status.code(), Some(2));
    assert!(text(&far.stderr).contains("https://"), "{far:?}");
    place.ok(&[
        "--config",
        file,
        "fleet",
        "join",
        &etcd.address,
        "--host",
        "one",
    ]);
    let written = std::fs::read_to_string(file).unwrap();
    assert!(
        written.starts_with("# mine\n") && written.contains("host = \"one\""),
        "{written}"
    );
    assert_eq!(
        etcd.keys("/portbook/"),
        [""; 0],
        "the look leaves nothing behind"
    );
    let server = place.serve_with(&["--config", file]);
    assert_eq!(reaches(&server, "joined")["host"], "one");
    let role = place.ok(&["fleet", "role", "two"]);
    assert!(role.contains("session/two/"), "{role}");
}

#[test]
fn watch_prints_each_change() {
    let Some(etcd) = Etcd::start("resolve --watch") else {
        return;
    };
    let (one, two) = (host(&etcd, "one"), host(&etcd, "two"));
    let (_first, second) = (one.serve(), two.serve());
    reaches(&second, "joined");
    let mut command = two.command();
    command.args(["--json", "resolve", "web", "--watch"]);
    let mut watching = Running::piped(command);
    let mut line = || serde_json::from_str::<Value>(&watching.line()).unwrap();
    assert_eq!(line()["names"], json!([]));
    // A watch delays no successor, and goes on with it.
    let next = two.serve_with(&["--takeover"]);
    let log = next.log();
    assert!(!log.contains("take too long"), "{log}");
    one.ok(&["alloc", "--name", "web"]);
    let found = line();
    assert_eq!(found["names"][0]["host"], "one", "{found}");
    one.ok(&["release", "web"]);
    assert_eq!(line()["names"], json!([]));
}

#[test]
fn watch_tells_an_outage_and_goes_on_after_a_restart() {
    let Some(mut etcd) = Etcd::start("resolve --watch through an outage") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    let port = place.ok(&["alloc", "--name", "web", "--ttl", "1h"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    let notes = place.folder().join("notes");
    let mut command = place.command();
    command.args(["--json", "resolve", "web", "--watch"]);
    command.stderr(std::fs::File::create(&notes).unwrap());
    let mut watching = Running::piped(command);
    let mut line = || {
        let line = serde_json::from_str::<Value>(&watching.line()).unwrap();
        assert_eq!(line["names"][0]["port"].to_string(), port.trim(), "{line}");
        line["fresh"].as_bool().unwrap()
    };
    assert!(line());
    etcd.stop();
    assert!(!line(), "etcd is away");
    etcd.start_again();
    assert!(line(), "etcd is back");
    server.kill();
    assert!(!line(), "the service is away");
    let _server = place.serve();
    assert!(line(), "the service is back");
    let told = std::fs::read_to_string(notes).unwrap();
    for part in ["the fleet does not answer", "again", "the watch goes on"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn services_of_all_hosts_are_targets_of_prometheus() {
    let Some(etcd) = Etcd::start("targets of a fleet") else {
        return;
    };
    let (one, two) = (host(&etcd, "one"), host(&etcd, "two"));
    let (_first, second) = (one.serve(), two.serve());
    reaches(&second, "joined");
    let mut command = one.command();
    command.args(["run", "--name", "web", "--label", "team=infra", "--"]);
    command.args(["python3", "-m", "http.server", "{port}"]);
    command.stderr(Stdio::null());
    let _program = Running::piped(command);
    one.ok(&["alloc", "--name", "silent"]);
    let targets = eventually("a target", || {
        let found = second.get("/api/v1/fleet/discovery/prometheus").json();
        (found.as_array()?.len() == 1).then_some(found)
    });
    let labels = &targets[0]["labels"];
    assert_eq!(labels["__meta_portbook_host"], "one", "{targets}");
    assert_eq!(labels["__meta_portbook_label_team"], "infra");
    assert!(
        targets[0]["targets"][0]
            .as_str()
            .unwrap()
            .starts_with("192.0.2.1:")
    );
    let listed = two.ok(&["list", "--fleet", "--format", "prometheus"]);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), targets);
}

#[test]
fn emptied_engine_gets_everything_again() {
    let Some(mut etcd) = Etcd::start("an engine that lost its data") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    place.ok(&["alloc", "--name", "web"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    etcd.stop();
    etcd.wipe();
    etcd.start_again();
    eventually("the name is there again", || {
        (etcd.keys("/portbook/v1/name/web/").len() == 1).then_some(())
    });
    reaches(&server, "joined");
}
