//! Numbers that are reserved on every host. The hosts have addresses of their own, so that each can hold every
//! number.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::etcd::Etcd;
use super::{host, reaches};
use crate::support::{Place, Server, ports, text};
use crate::tools::{Running, eventually};

const NAME: &str = "node-exporter";

/// A host whose ports are on a loopback address of its own.
fn on(etcd: &Etcd, name: &str, address: &str) -> Place {
    let mut place = host(etcd, name);
    place.set("PORTBOOK_POOLS__DEFAULT__INTERFACES", address);
    place
}

fn pair(etcd: &Etcd) -> (Place, Place) {
    (on(etcd, "one", "127.0.0.1"), on(etcd, "two", "127.0.0.2"))
}

fn joined(place: &Place) -> Server {
    let server = place.serve();
    reaches(&server, "joined");
    server
}

fn reserve(place: &Place, port: u16) -> Value {
    place.json(&["fleet", "reserve", &port.to_string(), "--name", NAME])
}

/// Answers of all hosts to the only reservation.
fn answers(place: &Place) -> Vec<(String, String)> {
    let listed = place.json(&["fleet", "everywhere"]);
    let numbers = listed["everywhere"].as_array().unwrap();
    assert!(numbers.len() <= 1, "{listed}");
    let hosts = numbers
        .iter()
        .flat_map(|number| number["hosts"].as_array().unwrap());
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    hosts
        .map(|host| (word(&host["host"]), word(&host["state"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected
        .iter()
        .map(|(host, state)| ((*host).to_owned(), (*state).to_owned()));
    owned.collect()
}

/// The living lease on a port. `None` if there is none.
fn lease(server: &Server, port: u16) -> Option<Value> {
    let leases = server.living("default").into_iter();
    let mut of_port = leases.filter(|lease| lease["port"] == port);
    of_port.next()
}

/// Port that a program gets under the name.
fn run(place: &Place) -> u16 {
    let told = place.ok(&["run", "--name", NAME, "--", "sh", "-c", "echo $PORT"]);
    told.trim().parse().unwrap()
}

#[test]
fn every_host_holds_a_reserved_number_for_its_name_until_it_is_released() {
    let Some(etcd) = Etcd::start("a number on every host") else {
        return;
    };
    let (one, two) = pair(&etcd);
    let (first, second) = (joined(&one), joined(&two));
    let port = ports(1)[0];
    let reserved = reserve(&one, port);
    assert_eq!(reserved["taken_back"], false);
    assert_eq!(
        answers(&two),
        pairs(&[("one", "held"), ("two", "held")]),
        "{reserved}"
    );
    for (server, address) in [(&first, "127.0.0.1"), (&second, "127.0.0.2")] {
        let lease = lease(server, port).unwrap();
        assert_eq!(
            (&lease["name"], &lease["state"]),
            (&json!(NAME), &json!("reserved"))
        );
        assert!(
            TcpListener::bind((address, port)).is_err(),
            "the gate is shut"
        );
    }
    let refused = one.run(&["alloc", "--name", "other", "--port", &port.to_string()]);
    assert!(
        text(&refused.stderr).contains("is leased to"),
        "{refused:?}"
    );
    assert_eq!((run(&one), run(&two)), (port, port));
    let claims = two.json(&["fleet", "claims"]);
    let claim = &claims["claims"][0];
    assert_eq!(
        (&claim["host"], &claim["live"]),
        (&json!("*"), &json!(true))
    );

    // Again is no failure, another name or number is.
    reserve(&two, port);
    let taken = one.run(&["fleet", "reserve", &port.to_string(), "--name", "other"]);
    let why = format!("reserved on every host for {NAME}");
    assert!(text(&taken.stderr).contains(&why), "{taken:?}");
    let moved = one.run(&["fleet", "reserve", "9", "--name", NAME]);
    assert!(
        text(&moved.stderr).contains("release that first"),
        "{moved:?}"
    );

    // A lease that is released by hand comes back.
    one.ok(&["release", NAME]);
    eventually("the number is kept again", || lease(&first, port));

    let released = two.json(&["fleet", "release", NAME]);
    assert_eq!(
        released["released"],
        json!({"port": port, "protocol": "tcp"})
    );
    eventually("both hosts let go", || {
        let gone = lease(&first, port).is_none() && lease(&second, port).is_none();
        (gone && etcd.keys("/portbook/v1/host/").is_empty()).then_some(())
    });
    assert!(etcd.keys("/portbook/v1/claim/").is_empty());
    assert!(etcd.keys("/portbook/v1/everywhere/").is_empty());
    let again = two.run(&["fleet", "release", &port.to_string()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is not reserved"), "{again:?}");
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
}

#[test]
fn busy_host_objects_and_takes_the_number_once_it_is_free() {
    let Some(etcd) = Etcd::start("a host that objects") else {
        return;
    };
    let (one, two) = pair(&etcd);
    let (first, second) = (joined(&one), joined(&two));
    let port = ports(1)[0];
    let occupant = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let number = port.to_string();
    let arguments = ["fleet", "reserve", &number, "--name", NAME];
    let nothing = one.run(&[&arguments[..], &["--all-or-nothing"]].concat());
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    assert!(text(&nothing.stderr).contains("taken back"), "{nothing:?}");
    eventually("nothing is left", || {
        let prefixes = [
            "/portbook/v1/everywhere/",
            "/portbook/v1/claim/",
            "/portbook/v1/host/",
        ];
        let is_empty = prefixes.iter().all(|prefix| etcd.keys(prefix).is_empty());
        (is_empty && lease(&first, port).is_none()).then_some(())
    });
    let objected = one.run(&[&["--json"][..], &arguments].concat());
    assert_eq!(objected.status.code(), Some(1), "{objected:?}");
    assert!(
        text(&objected.stderr).contains("1 host objects"),
        "{objected:?}"
    );
    // One that was there before stays.
    let again = one.run(&[&arguments[..], &["--all-or-nothing"]].concat());
    assert!(text(&again.stderr).contains("stays so"), "{again:?}");
    assert_eq!(etcd.keys("/portbook/v1/everywhere/").len(), 1);
    let told: Value = serde_json::from_str(&text(&objected.stdout)).unwrap();
    let hosts = told["hosts"].as_array().unwrap();
    let states: Vec<&Value> = hosts.iter().map(|host| &host["state"]).collect();
    assert_eq!(states, ["held", "busy"], "{told}");
    assert!(!hosts[1]["why"].as_str().unwrap().is_empty(), "{told}");
    let metrics = second.get("/metrics").body;
    assert!(
        metrics.contains("portbook_fleet_everywhere{state=\"busy\"} 1"),
        "{metrics}"
    );
    let page = second.web("GET", "/fleet", &[("Accept", "text/html")]).body;
    assert!(
        page.contains("id=\"everywhere\"") && page.contains(NAME),
        "{page}"
    );
    let doctor = text(&two.run(&["doctor"]).stdout);
    let finding = format!("port {port}/tcp is reserved on every host for {NAME}");
    assert!(doctor.contains(&finding), "{doctor}");
    // Tries that fail are on no record.
    let refused = second.get("/api/v1/attempts?outcome=in_use").json();
    assert_eq!(refused["attempts"], json!([]));
    drop(occupant);
    eventually("the host takes it", || lease(&second, port));
    eventually("both hosts have it", || {
        (answers(&one) == pairs(&[("one", "held"), ("two", "held")])).then_some(())
    });
    assert_eq!(run(&two), port);
}

#[test]
fn host_that_joins_later_or_returns_follows_the_reservations() {
    let Some(etcd) = Etcd::start("a host that joins a reservation") else {
        return;
    };
    let (one, two) = pair(&etcd);
    let first = joined(&one);
    let told = one.json(&["fleet", "reserve", "--name", NAME]);
    let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
    assert!(one.ports.contains(&port), "{told}");
    assert_eq!(answers(&one), pairs(&[("one", "held")]));
    let second = joined(&two);
    eventually("the second host has it", || lease(&second, port));
    second.kill();
    eventually("it is away", || {
        (answers(&one) == pairs(&[("one", "held"), ("two", "away")])).then_some(())
    });
    // A host that is away objects to nothing.
    reserve(&one, port);
    one.ok(&["fleet", "release", &port.to_string()]);
    eventually("the first host lets go", || {
        lease(&first, port).is_none().then_some(())
    });
    let second = joined(&two);
    eventually("the second host lets go once it is back", || {
        let says_nothing = etcd.keys("/portbook/v1/host/").is_empty();
        (lease(&second, port).is_none() && says_nothing).then_some(())
    });
    // A host that leaves says nothing any more, and keeps its lease.
    reserve(&one, port);
    two.ok(&["fleet", "leave"]);
    assert_eq!(answers(&one), pairs(&[("one", "held")]));
    assert!(lease(&second, port).is_some());
}

#[test]
fn program_that_uses_a_released_number_keeps_its_lease() {
    let Some(etcd) = Etcd::start("a released number in use") else {
        return;
    };
    let one = on(&etcd, "one", "127.0.0.1");
    let server = joined(&one);
    let port = ports(1)[0];
    reserve(&one, port);
    let mut command = one.command();
    command.args([
        "run",
        "--name",
        NAME,
        "--",
        "sh",
        "-c",
        "echo $PORT; exec sleep 600",
    ]);
    let mut running = Running::piped(command);
    assert_eq!(running.line(), port.to_string());
    one.ok(&["fleet", "release", NAME]);
    eventually("the host says nothing of it any more", || {
        etcd.keys("/portbook/v1/host/").is_empty().then_some(())
    });
    assert_eq!(lease(&server, port).unwrap()["name"], NAME);
}

#[test]
fn emptied_engine_leaves_the_leases_and_no_host_invents_a_reservation() {
    let Some(mut etcd) = Etcd::start("reservations of an engine that lost its data") else {
        return;
    };
    let one = on(&etcd, "one", "127.0.0.1");
    let server = joined(&one);
    let port = ports(1)[0];
    reserve(&one, port);
    let status = || server.get("/api/v1/fleet/status").json();
    let session = status()["session"].clone();
    etcd.stop();
    etcd.wipe();
    etcd.start_again();
    eventually("a new session is open", || {
        let status = status();
        (status["state"] == "joined" && status["session"] != session).then_some(())
    });
    assert_eq!(answers(&one), []);
    assert_eq!(lease(&server, port).unwrap()["name"], NAME);
    reserve(&one, port);
    assert_eq!(answers(&one), pairs(&[("one", "held")]));
}

#[test]
fn reserved_number_of_a_unique_pool_is_told_to_be_left_out() {
    let Some(etcd) = Etcd::start("a reserved number of a unique pool") else {
        return;
    };
    let mut place = on(&etcd, "one", "127.0.0.1");
    let number = ports(1)[0];
    place.set("PORTBOOK_POOLS__EDGE__RANGES", &number.to_string());
    place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
    place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "manual");
    let _server = joined(&place);
    let reserved = place.run(&["fleet", "reserve", &number.to_string(), "--name", NAME]);
    assert!(reserved.status.success(), "{reserved:?}");
    let told = text(&reserved.stderr);
    assert!(told.contains("is in the range of pool edge"), "{told}");
    let refused = place.run(&["alloc", "--pool", "edge"]);
    assert!(!refused.status.success(), "{refused:?}");
}
