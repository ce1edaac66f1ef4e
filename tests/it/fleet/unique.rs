//! Unique numbers of hosts that share an etcd. Their addresses differ, so that the kernel would give both
//! of them every number.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::etcd::Etcd;
use super::{host, reaches, status};
use crate::support::{Place, Server, ports, ranges, text};
use crate::tools::{Running, eventually};

/// Number of ports of the pool.
const PORTS: usize = 6;

const CLAIMS: &str = "/portbook/v1/claim/";

/// A host with a unique pool on a loopback address of its own.
fn edge(etcd: &Etcd, name: &str, address: &str, ports: &[u16]) -> Place {
    let mut place = host(etcd, name);
    place.set("PORTBOOK_POOLS__EDGE__RANGES", &ranges(ports));
    place.set("PORTBOOK_POOLS__EDGE__INTERFACES", address);
    place.set("PORTBOOK_POOLS__EDGE__STRATEGY", "ordered");
    place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
    place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "manual");
    place
}

pub(super) fn sorted_ports() -> Vec<u16> {
    let mut ports = ports(PORTS);
    ports.sort_unstable();
    ports
}

pub(super) fn pair(etcd: &Etcd, ports: &[u16]) -> (Place, Place) {
    let one = edge(etcd, "one", "127.0.0.1", ports);
    (one, edge(etcd, "two", "127.0.0.2", ports))
}

/// A service that is in its fleet.
pub(super) fn joined(place: &Place) -> Server {
    let server = place.serve();
    reaches(&server, "joined");
    server
}

pub(super) fn alloc(place: &Place, more: &[&str]) -> u16 {
    let arguments = [&["alloc", "--pool", "edge"][..], more].concat();
    place.ok(&arguments).trim().parse().unwrap()
}

fn lease(server: &Server, port: u16) -> Value {
    let leases = server.living("edge");
    let found = leases.into_iter().find(|lease| lease["port"] == port);
    found.unwrap()
}

#[test]
fn two_hosts_never_get_one_number() {
    let Some(etcd) = Etcd::start("unique numbers of two hosts") else {
        return;
    };
    let ports = sorted_ports();
    let (one, two) = pair(&etcd, &ports);
    let (first, second) = (joined(&one), joined(&two));
    let mut granted = BTreeSet::new();
    for _ in 0..PORTS / 2 {
        assert!(granted.insert(alloc(&one, &[])));
        assert!(granted.insert(alloc(&two, &[])));
    }
    assert_eq!(granted, ports.iter().copied().collect());
    let full = first.allocate(&json!({"pool": "edge"})).json();
    assert_eq!(full["code"], "pool_exhausted", "{full}");
    assert!(
        full["detail"]
            .as_str()
            .unwrap()
            .contains("claimed in the fleet"),
        "{full}"
    );
    let attempts = second.get("/api/v1/attempts?outcome=claimed").json();
    let attempts = attempts["attempts"].as_array().unwrap();
    assert_eq!(
        attempts[0]["occupant"]["command"], "host one",
        "{attempts:?}"
    );
    // A number that is left out is told with its host as well as one that was tried.
    let late = edge(&etcd, "three", "127.0.0.3", &ports);
    let third = joined(&late);
    assert!(!late.run(&["alloc", "--pool", "edge"]).status.success());
    let tried = third.get("/api/v1/attempts?outcome=claimed").json();
    let allocation = tried["attempts"][0]["allocation"].as_str().unwrap();
    let told = late.ok(&["explain", allocation]);
    assert!(
        told.contains("are claimed by host one of the fleet")
            && told.contains("are claimed by host two of the fleet"),
        "{told}"
    );
    let theirs = second.living("edge")[0]["port"]
        .as_u64()
        .unwrap()
        .to_string();
    let refused = one.run(&["alloc", "--pool", "edge", "--port", &theirs]);
    // There is nothing to wait for: it is not said to have taken too long.
    let told = text(&refused.stderr);
    assert!(
        told.contains("is leased to host two of the fleet") && !told.contains("timeout"),
        "{refused:?}"
    );
    let attempts = first.get("/api/v1/attempts?outcome=claimed").json();
    assert_eq!(
        attempts["attempts"][0]["port"].to_string(),
        theirs,
        "{attempts}"
    );
    let claims = one.json(&["fleet", "claims"]);
    let rows = claims["claims"].as_array().unwrap();
    assert_eq!(rows.len(), PORTS);
    assert!(
        rows.iter()
            .all(|row| row["live"] == true && row["fence"] == "none"),
        "{claims}"
    );
    let of_two = one.json(&["fleet", "claims", "--host", "two", &theirs]);
    assert_eq!(of_two["claims"].as_array().unwrap().len(), 1, "{of_two}");
    let metrics = first.get("/metrics").body;
    assert!(
        metrics.contains("portbook_fleet_claims{state=\"held\"} 3"),
        "{metrics}"
    );
    assert!(metrics.contains("portbook_fleet_commit_duration_seconds_count{outcome=\"done\"}"));
}

#[test]
fn many_requests_at_once_get_a_number_each() {
    let Some(etcd) = Etcd::start("unique numbers at once") else {
        return;
    };
    let ports = sorted_ports();
    let (one, two) = pair(&etcd, &ports);
    let _servers = (joined(&one), joined(&two));
    let mut asking = Vec::new();
    for _ in 0..PORTS / 2 {
        for place in [&one, &two] {
            let mut command = place.command();
            command.args(["alloc", "--pool", "edge"]);
            asking.push(Running::piped(command));
        }
    }
    let granted: BTreeSet<String> = asking.iter_mut().map(Running::line).collect();
    assert_eq!(granted.len(), PORTS, "{granted:?}");
    assert_eq!(etcd.keys(CLAIMS).len(), PORTS);
}

#[test]
fn host_without_its_engine_claims_nothing_and_gives_back_later() {
    let Some(mut etcd) = Etcd::start("unique numbers without an engine") else {
        return;
    };
    let (one, _) = pair(&etcd, &sorted_ports());
    let server = joined(&one);
    let port = alloc(&one, &["--name", "web"]);
    let token = lease(&server, port)["fence_token"].clone();
    assert!(token.as_u64().unwrap() > 0 && lease(&server, port)["fence"] == "none");
    etcd.stop();
    reaches(&server, "alone");
    let refused = server.allocate(&json!({"pool": "edge"}));
    assert_eq!(refused.status, 503);
    let problem = refused.json();
    assert_eq!(problem["code"], "fleet_away");
    assert!(
        problem["detail"].as_str().unwrap().contains("away since"),
        "{problem}"
    );
    one.ok(&["alloc", "--name", "local"]);
    assert_eq!(
        alloc(&one, &["--name", "web"]),
        port,
        "a name has its number"
    );
    one.ok(&["release", "web"]);
    let open = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(open.is_ok(), "the port is free on the host at once");
    drop(open);
    assert_eq!(status(&server)["claims"]["releasing"], 1);
    let leave = one.run(&["fleet", "leave"]);
    assert!(text(&leave.stderr).contains("not given back"), "{leave:?}");
    etcd.start_again();
    eventually("the claim is withdrawn", || {
        etcd.keys(CLAIMS).is_empty().then_some(())
    });
    reaches(&server, "joined");
    assert_eq!(status(&server)["claims"]["releasing"], 0);
    let again = alloc(&one, &["--port", &port.to_string()]);
    assert!(lease(&server, again)["fence_token"].as_u64() > token.as_u64());
}

#[test]
fn killed_service_keeps_its_claims() {
    let Some(etcd) = Etcd::start("unique numbers across a crash") else {
        return;
    };
    let (one, two) = pair(&etcd, &sorted_ports());
    let (server, _second) = (one.serve(), two.serve());
    reaches(&server, "joined");
    let port = alloc(&one, &["--name", "web", "--ttl", "1h"]);
    let token = lease(&server, port)["fence_token"].clone();
    server.kill();
    // Its session ends, and nothing else does.
    eventually("the session has ended", || {
        etcd.keys("/portbook/v1/session/one/")
            .is_empty()
            .then_some(())
    });
    assert_ne!(alloc(&two, &[]), port);
    let again = joined(&one);
    assert_eq!(lease(&again, port)["fence_token"], token);
    eventually("the claim is one of the new session", || {
        let rows = two.json(&["fleet", "claims", "--host", "one"]);
        (rows["claims"][0]["live"] == true).then_some(())
    });
    let next = one.serve_with(&["--takeover"]);
    reaches(&next, "joined");
    assert_eq!(lease(&next, port)["fence_token"], token);
    one.ok(&["release", "web"]);
    eventually("one claim is left", || {
        (etcd.keys(CLAIMS).len() == 1).then_some(())
    });
}

#[test]
fn successors_answer_for_their_fleet_from_the_first_request_on() {
    let Some(etcd) = Etcd::start("unique numbers after a take-over") else {
        return;
    };
    let one = edge(&etcd, "one", "127.0.0.1", &sorted_ports());
    let _first = joined(&one);
    let successors: Vec<Server> = (0..4)
        .map(|round| {
            let next = one.serve_with(&["--takeover"]);
            let known = one.json(&["fleet", "claims"]);
            assert_eq!(known["claims"].as_array().unwrap().len(), round, "{known}");
            alloc(&one, &[]);
            next
        })
        .collect();
    let state = &status(successors.last().unwrap())["state"];
    assert_eq!(state, "joined");
}

#[test]
fn evicted_host_loses_its_numbers_once_its_session_has_ended() {
    let Some(etcd) = Etcd::start("an evicted host") else {
        return;
    };
    let (one, two) = pair(&etcd, &sorted_ports());
    let (server, _second) = (one.serve(), two.serve());
    reaches(&server, "joined");
    let port = alloc(&one, &["--name", "web", "--ttl", "1h"]).to_string();
    let evict = ["fleet", "evict", "one", "--yes"];
    let refused = two.run(&evict);
    assert!(text(&refused.stderr).contains("lives"), "{refused:?}");
    server.kill();
    eventually("the session has ended", || {
        etcd.keys("/portbook/v1/session/one/")
            .is_empty()
            .then_some(())
    });
    let unasked = two.run(&["fleet", "evict", "one"]);
    assert!(text(&unasked.stderr).contains("--yes"), "{unasked:?}");
    assert_eq!(etcd.keys(CLAIMS).len(), 1);
    let evicted = two.json(&evict);
    assert_eq!(evicted["evicted"][0]["port"].to_string(), port);
    let again = two.run(&evict);
    assert!(
        text(&again.stderr).contains("no unique number"),
        "{again:?}"
    );
    assert_eq!(alloc(&two, &["--port", &port]).to_string(), port);
    let again = joined(&one);
    eventually("the lease of the evicted host is lost", || {
        (status(&again)["claims"]["lost"] == 1).then_some(())
    });
    let doctor = text(&one.run(&["doctor"]).stdout);
    assert!(doctor.contains("host two has it now"), "{doctor}");
    two.ok(&["release", &port]);
    let by_operator = "an operator took it with";
    eventually("the doctor tells that an operator took it", || {
        let doctor = text(&one.run(&["doctor"]).stdout);
        doctor.contains(by_operator).then_some(())
    });
}

#[test]
fn number_that_was_taken_is_lost_and_said_so() {
    let Some(etcd) = Etcd::start("a number that was taken") else {
        return;
    };
    let ports = sorted_ports();
    let (one, two) = pair(&etcd, &ports);
    let (first, _second) = (joined(&one), joined(&two));
    let mine = alloc(&one, &["--name", "web"]);
    let key = format!("{CLAIMS}tcp/{mine}");
    assert!(etcd.ctl(&["del", &key]).status.success());
    assert_eq!(alloc(&two, &["--port", &mine.to_string()]), mine);
    let theirs = alloc(&two, &[]).to_string();
    // A refused claim makes a host look at its own.
    let refused = one.run(&["alloc", "--pool", "edge", "--port", &theirs]);
    assert!(!refused.status.success());
    let lost = eventually("the lease is lost", || {
        Some(lease(&first, mine)).filter(|lease| lease["state"] == "lost")
    });
    assert_eq!(lost["fence_token"], Value::Null);
    assert_eq!(lost["hint"]["kind"], "claim_lost", "{lost}");
    let hint = format!(
        "host two has {mine} in the fleet now: stop its program; `portbook alloc --pool edge --name web` gets another number"
    );
    let page = first.get(&format!("/leases/{}", lost["id"].as_str().unwrap()));
    assert!(page.body.contains("host two has"), "{}", page.body);
    for words in [&["list"][..], &["who", &mine.to_string()]] {
        let told = one.run(words);
        let told = text(&told.stdout) + &text(&told.stderr);
        assert!(told.contains(&hint), "{words:?}: {told}");
    }
    super::resolved(&first, "web", <[Value]>::is_empty);
    // The log is written once the port is shut.
    eventually("the log tells who has it", || {
        first.log().contains("taken by host two").then_some(())
    });
    let doctor = one.run(&["doctor"]);
    let told = text(&doctor.stdout);
    assert!(
        told.contains("host two has it now") && told.contains("fence: none"),
        "{told}"
    );
    // Its number would be open again without the fleet.
    let leave = one.run(&["fleet", "leave"]);
    assert!(
        text(&leave.stderr).contains("1 number of this host is unique in the fleet"),
        "{leave:?}"
    );
    let moved = alloc(&one, &["--name", "web"]);
    assert_ne!(moved, mine);
    let leave = two.run(&["fleet", "leave"]);
    assert!(
        text(&leave.stderr).contains("unique in the fleet"),
        "{leave:?}"
    );
}

#[test]
fn emptied_engine_gets_claims_again_before_any_new_one() {
    let Some(mut etcd) = Etcd::start("unique numbers of an engine that lost its data") else {
        return;
    };
    let (one, two) = pair(&etcd, &sorted_ports());
    let _server = joined(&one);
    alloc(&one, &["--name", "web"]);
    let before = etcd.keys(CLAIMS);
    etcd.stop();
    etcd.wipe();
    etcd.start_again();
    eventually("the claim is there again", || {
        (etcd.keys(CLAIMS) == before).then_some(())
    });
    assert_eq!(etcd.keys("/portbook/v1/hold").len(), 1);
    let second = joined(&two);
    let held = second.allocate(&json!({"pool": "edge"}));
    assert_eq!(held.status, 503, "{:?}", held.json());
    assert!(held.json()["detail"].as_str().unwrap().contains("restored"));
}

#[test]
fn claim_that_was_released_after_a_snapshot_is_withdrawn_again() {
    let Some(etcd) = Etcd::start("a restored claim without a lease") else {
        return;
    };
    let (one, _) = pair(&etcd, &sorted_ports());
    let server = joined(&one);
    let port = alloc(&one, &["--name", "web"]);
    let key = format!("{CLAIMS}tcp/{port}");
    let value = text(&etcd.ctl(&["get", "--print-value-only", &key]).stdout);
    one.ok(&["release", "web"]);
    eventually("the claim is withdrawn", || {
        etcd.keys(CLAIMS).is_empty().then_some(())
    });
    etcd.put(&key, value.trim());
    let occupant = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let wanted = port.to_string();
    let refused = one.run(&["alloc", "--pool", "edge", "--port", &wanted]);
    assert!(!refused.status.success());
    drop(occupant);
    // The first that finds it in its way is refused.
    let refused = one.run(&["alloc", "--pool", "edge", "--port", &wanted]);
    assert!(text(&refused.stderr).contains("host one"), "{refused:?}");
    eventually("the stray claim is withdrawn", || {
        etcd.keys(CLAIMS).is_empty().then_some(())
    });
    // The log tells it after etcd.
    eventually("that is told", || {
        server.log().contains("have no lease").then_some(())
    });
    eventually("the number is granted", || {
        let again = one.run(&["alloc", "--pool", "edge", "--port", &wanted]);
        again.status.success().then_some(())
    });
}

#[test]
fn program_is_told_its_fencing_token() {
    let Some(etcd) = Etcd::start("a fencing token") else {
        return;
    };
    let (one, _) = pair(&etcd, &sorted_ports());
    let _server = joined(&one);
    let told = one.ok(&[
        "run",
        "--pool",
        "edge",
        "--",
        "sh",
        "-c",
        "echo $PORTBOOK_FENCE",
    ]);
    assert!(told.trim().parse::<u64>().unwrap() > 0, "{told}");
    let local = one.ok(&["run", "--", "sh", "-c", "echo fence=$PORTBOOK_FENCE"]);
    assert_eq!(local.trim(), "fence=");
}

#[test]
fn settings_that_promise_too_much_are_refused() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_POOLS__EDGE__RANGES", "40000-40010");
    place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
    let said = |place: &Place| {
        let checked = place.run(&["config", "check"]);
        assert!(!checked.status.success());
        text(&checked.stdout) + &text(&checked.stderr)
    };
    assert!(said(&place).contains("fleet join"));
    place.set("PORTBOOK_FLEET__ENGINE", "http://127.0.0.1:1");
    assert!(said(&place).contains("reclaim = \"manual\""));
    place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "9m");
    let times = said(&place);
    assert!(times.contains("10m"), "{times}");
}

#[test]
fn claim_that_cannot_be_read_is_told_and_taken_by_an_operator() {
    let Some(etcd) = Etcd::start("a claim that cannot be read") else {
        return;
    };
    let ports = sorted_ports();
    let (one, _) = pair(&etcd, &ports);
    let _server = joined(&one);
    let key = format!("{CLAIMS}tcp/{}", ports[0]);
    etcd.put(&key, "not json");
    let way_out = "portbook fleet evict '?'";
    let number = ports[0].to_string();
    let told = one.run(&["fleet", "claims"]);
    let said = text(&told.stderr);
    assert!(said.contains(way_out) && said.contains(&number), "{told:?}");
    let doctor = text(&one.run(&["doctor"]).stdout);
    assert!(doctor.contains(way_out), "{doctor}");
    let reserve = one.run(&["fleet", "reserve", &number, "--name", "agent"]);
    assert!(text(&reserve.stderr).contains(way_out), "{reserve:?}");
    assert_eq!(alloc(&one, &[]), ports[1]);
    let unasked = one.run(&["fleet", "evict", "?"]);
    assert!(text(&unasked.stderr).contains("--yes"), "{unasked:?}");
    assert_eq!(etcd.keys(&key).len(), 1);
    let evicted = one.json(&["fleet", "evict", "?", "--yes"]);
    assert_eq!(
        evicted["evicted"],
        json!([{"port": ports[0], "protocol": "tcp"}])
    );
    assert_eq!(etcd.keys(CLAIMS).len(), 1, "the claim of the host stays");
    assert_eq!(alloc(&one, &["--port", &number]), ports[0]);
    let none = one.run(&["fleet", "evict", "?"]);
    let said = text(&none.stderr);
    assert!(
        none.status.success() && said.contains("none was deleted"),
        "{none:?}"
    );
}

#[test]
fn hold_that_no_host_wrote_is_told_with_the_way_out() {
    let Some(etcd) = Etcd::start("a hold that no host wrote") else {
        return;
    };
    let (one, _) = pair(&etcd, &sorted_ports());
    let server = joined(&one);
    etcd.put("/portbook/v1/hold", "not json");
    let way_out = "etcdctl del /portbook/v1/hold";
    let refused = one.run(&["alloc", "--pool", "edge"]);
    assert!(text(&refused.stderr).contains(way_out), "{refused:?}");
    let told = one.ok(&["fleet", "status"]);
    assert!(told.contains(way_out), "{told}");
    let doctor = text(&one.run(&["doctor"]).stdout);
    assert!(doctor.contains(way_out), "{doctor}");
    assert!(etcd.ctl(&["del", "/portbook/v1/hold"]).status.success());
    alloc(&one, &[]);
    eventually("the trouble is over", || {
        (status(&server)["troubles"] == json!([])).then_some(())
    });
}
