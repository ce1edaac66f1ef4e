//! Learning from attempts and snapshots, and explaining a choice.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::host::Host;
use crate::support::{Occupant, Place, Server, command_of, ranges, text};

/// A process that listens on all these ports.
fn occupants(ports: &[u16]) -> Occupant {
    let script = "import socket,sys\nkept=[]\nfor word in sys.argv[1:]:\n\
        \x20s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        \x20s.bind(('127.0.0.1', int(word))); s.listen(); kept.append(s)\n\
        print('listens', flush=True)\nsys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .args(ports.iter().map(ToString::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "listens\n");
    Occupant(child)
}

/// A place with `count` ports and the default strategy.
fn learning(ports: usize) -> Place {
    let mut place = Place::with_ports(ports);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    place
}

fn look(server: &Server) {
    let answer = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn allocate(server: &Server, wanted: &Value) -> Value {
    let answer = server.allocate(wanted);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn explanation(server: &Server, allocation: &Value) -> Value {
    let id = allocation["allocation"].as_str().unwrap();
    let answer = server.get(&format!("/api/v1/allocations/{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["explanation"].clone()
}

fn reasons(explanation: &Value) -> Vec<(String, u64)> {
    let excluded = explanation["excluded"].as_array().unwrap();
    let reason = |row: &Value| {
        let reason = row["reason"].as_str().unwrap().to_owned();
        (reason, row["ports"].as_u64().unwrap())
    };
    excluded.iter().map(reason).collect()
}

fn candidate(explanation: &Value, port: u16) -> Value {
    let choices = explanation["choices"].as_array().unwrap();
    let mut all = choices
        .iter()
        .flat_map(|weighed| weighed.as_array().unwrap());
    let found = all.find(|candidate| candidate["port"] == port);
    found
        .unwrap_or_else(|| panic!("{port} was not weighed: {explanation}"))
        .clone()
}

#[test]
fn ports_seen_busy_in_a_snapshot_are_not_tried() {
    let place = learning(24);
    let busy = &place.ports[..16];
    let _occupants = occupants(busy);
    let server = place.serve();
    look(&server);
    for _ in 0..6 {
        let granted = allocate(&server, &json!({}));
        assert_eq!(granted["attempt_count"], 1, "{granted}");
        let port = granted["leases"][0]["port"].as_u64().unwrap();
        assert!(busy.iter().all(|busy| u64::from(*busy) != port), "{port}");
    }
    let explanation = explanation(&server, &allocate(&server, &json!({})));
    assert_eq!(explanation["strategy"], "learned");
    // 16 of the 18 that are not leased yet.
    let share = explanation["random_would_meet"].as_f64().unwrap();
    assert!((share - 16.0 / 18.0).abs() < 1e-9, "{share}");
}

#[test]
fn portbooks_own_sockets_are_no_occupants() {
    let place = learning(8);
    let server = place.serve();
    let granted = allocate(&server, &json!({"count": 6}));
    look(&server);
    let id = granted["leases"][0]["id"].as_str().unwrap();
    assert_eq!(server.release(id).status, 204);
    let explanation = explanation(&server, &allocate(&server, &json!({})));
    assert_eq!(explanation["random_would_meet"], 0.0, "{explanation}");
}

#[test]
fn every_exclusion_and_penalty_is_named() {
    let mut place = learning(8);
    let ports = place.ports.clone();
    // 60179 lies in the ephemeral range of a usual host, and IANA has assigned it. It is weighed
    // and never the cheapest, so nothing is bound there.
    let pool = format!("{},6665-6669,60179", ranges(&ports));
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", &pool);
    place.set("PORTBOOK_POOLS__DEFAULT__EXCLUDE", &ports[0].to_string());
    place.set(
        "PORTBOOK_POOLS__DEFAULT__STATIC_BAND",
        &ports[1].to_string(),
    );
    place.set("PORTBOOK_POOLS__DEFAULT__BROWSER_SAFE", "true");
    let _occupants = occupants(&ports[2..3]);
    let server = place.serve();
    let refused = server.allocate(&json!({"port": ports[2]}));
    assert_eq!(refused.status, 409, "{refused:?}");
    // A port of the static band is granted by number.
    let by_number = allocate(&server, &json!({"port": ports[1]}));
    let id = by_number["leases"][0]["id"].as_str().unwrap();
    assert_eq!(server.release(id).status, 204);
    let first = allocate(&server, &json!({}));
    let released = first["leases"][0]["port"].as_u64().unwrap();
    let released = u16::try_from(released).unwrap();
    let second = allocate(&server, &json!({}));
    let id = first["leases"][0]["id"].as_str().unwrap();
    assert_eq!(server.release(id).status, 204);
    let told: Vec<Value> = (0..3)
        .map(|_| explanation(&server, &allocate(&server, &json!({}))))
        .collect();
    let expected = [
        ("configured".to_owned(), 1),
        ("browser_blocked".to_owned(), 5),
        ("static_band".to_owned(), 1),
        ("leased".to_owned(), 1),
        ("cooling_down".to_owned(), 1),
    ];
    assert_eq!(reasons(&told[0]), expected, "{}", told[0]);
    assert_ne!(second["leases"][0]["port"], u64::from(released));
    let penalties = candidate(&told[0], 60179)["penalties"].clone();
    let named: Vec<&str> = penalties
        .as_array()
        .unwrap()
        .iter()
        .map(|penalty| penalty["reason"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["ephemeral_range", "iana_assigned"]);
    let just_released = candidate(&told[0], released)["weighed"][0]["released_cost"].clone();
    assert_eq!(just_released, 0.05, "{}", told[0]);
    let id = second["allocation"].as_str().unwrap();
    let said = place.ok(&["explain", id]);
    for word in ["Chose ", "browsers", "static_band", "CHECKS"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_explanation_can_be_computed_again_from_the_record() {
    let place = learning(12);
    let occupants = occupants(&place.ports[..5]);
    let server = place.serve();
    look(&server);
    // Refused binds give the explanation some evidence.
    for port in &place.ports[..2] {
        let refused = server.allocate(&json!({"port": port}));
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    for _ in 0..3 {
        let granted = allocate(&server, &json!({}));
        let id = granted["leases"][0]["id"].as_str().unwrap();
        assert_eq!(server.release(id).status, 204);
        look(&server);
    }
    drop(occupants);
    look(&server);
    let last = allocate(&server, &json!({}));
    let id = last["allocation"].as_str().unwrap().to_owned();
    assert!(server.stop().success());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recompute.py");
    let folder = place.folder().join("exported");
    std::fs::create_dir(&folder).unwrap();
    let explained = place.ok(&["--json", "explain", &id]);
    std::fs::write(folder.join("allocation.json"), explained).unwrap();
    for kind in ["attempts", "snapshots", "sightings", "conflicts", "endings"] {
        let rows = place.ok(&["history", "export", "--format", "jsonl", "--kind", kind]);
        std::fs::write(folder.join(format!("{kind}.jsonl")), rows).unwrap();
    }
    let output = command_of("python3")
        .arg(script)
        .arg(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["compared"].as_u64().unwrap() >= 5, "{found}");
    assert_eq!(found["wrong"], json!([]), "{found:#}");
    // Without a service the record gives the same explanation.
    let said = place.json(&["explain", &id]);
    assert_eq!(said["id"], id);
    assert!(
        said["story"].as_str().unwrap().starts_with("Chose "),
        "{said}"
    );
}

#[test]
fn learned_history_survives_a_restart() {
    let place = learning(8);
    let _occupants = occupants(&place.ports[..1]);
    let server = place.serve();
    look(&server);
    let busy = place.ports[0];
    let refused = server.allocate(&json!({"port": busy}));
    assert_eq!(refused.status, 409, "{refused:?}");
    let good = allocate(&server, &json!({"name": "web"}));
    let port = u16::try_from(good["leases"][0]["port"].as_u64().unwrap()).unwrap();
    // A kill, so that unwritten attempts are replayed, each exactly once.
    server.kill();
    place.serve().kill();
    let server = place.serve();
    let name = lease_of(&server, "web");
    assert_eq!(server.api("DELETE", &name, None).status, 204);
    // It takes a snapshot before it answers.
    let again = allocate(&server, &json!({"count": 7}));
    assert_eq!(again["attempt_count"], 7, "{again}");
    assert!(server.stop().success());
    let known = |port: u16| {
        let query = "import json,sqlite3,sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(\
            'select max(good_total), max(failed_total) from history_port where port = ?', sys.argv[2:])\
            .fetchall()))";
        let output = command_of("python3")
            .args(["-c", query])
            .arg(place.data_dir().join("portbook.db"))
            .arg(port.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(known(busy), json!([[0, 1]]));
    assert_eq!(known(port), json!([[2, 0]]));
}

fn lease_of(server: &Server, name: &str) -> String {
    let leases = server.get(&format!("/api/v1/leases?name={name}")).json();
    format!(
        "/api/v1/leases/{}",
        leases["leases"][0]["id"].as_str().unwrap()
    )
}

#[test]
fn ephemeral_and_reserved_ports_are_named_as_excluded() {
    let Some(host) = Host::plain("exclusions that come from the kernel") else {
        return;
    };
    host.sysctl("ip_local_port_range", "40000 40299");
    host.sysctl("ip_local_reserved_ports", "40000,40017");
    // Eighteen ports that the kernel could give away of the 300, and two outside.
    let ports = (40000..=40019).chain(41000..=41001).collect();
    let place = Place::on(ports, vec![8888]);
    let server = host.serve(&place);
    let granted = |count: u32| {
        let asked = json!({"count": count});
        let answer = host.api(&server, "POST", "/api/v1/leases", &asked);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    };
    let told = explanation(&server, &granted(1));
    assert_eq!(reasons(&told), [("kernel_reserved".to_owned(), 2)]);
    granted(15);
    // Sixteen of the 300 ports may be held; the rest of the range is left alone.
    let next = granted(1);
    assert_eq!(next["leases"][0]["port"], 41000, "{next}");
    let expected = [
        ("kernel_reserved".to_owned(), 2),
        ("leased".to_owned(), 16),
        ("ephemeral_budget".to_owned(), 2),
    ];
    assert_eq!(reasons(&explanation(&server, &next)), expected);
}

#[test]
fn listed_ports_are_skipped_after_sixteen_busy_ones() {
    let place = Place::with_ports(24);
    let _occupants = occupants(&place.ports[..20]);
    let server = place.serve();
    let granted = allocate(&server, &json!({"strategy": "ordered"}));
    assert_eq!(granted["attempt_count"], 17, "{granted}");
    let told = explanation(&server, &granted);
    assert!(reasons(&told).contains(&("listed".to_owned(), 4)), "{told}");
    // Each tried port names its occupant.
    let conflicts = granted["conflicts"].as_array().unwrap();
    assert!(
        conflicts
            .iter()
            .all(|c| c["occupant"]["command"] == "python3"),
        "{granted}"
    );
}
