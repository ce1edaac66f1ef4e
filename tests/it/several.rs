//! Several ports at once, and waiting for one.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Place, ports, ranges, text};

/// A place whose default pool is a row of ports. Those that are not leased to this test are
/// excluded.
fn place_with_run(length: u16) -> (Place, u16) {
    let mut place = Place::with_ports(1);
    let mut mine = ports(400);
    mine.sort_unstable();
    let first = mine
        .windows(usize::from(length))
        .find(|run| run[run.len() - 1] - run[0] == length - 1)
        .map(|run| run[0])
        .expect("400 of 10,000 ports have a short run among them");
    let run: Vec<u16> = (first..first + length).collect();
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", &ranges(&run));
    (place, first)
}

#[test]
fn full_block_request_names_the_longest_run() {
    let (place, first) = place_with_run(2);
    let _server = place.serve();
    assert_eq!(
        place.ok(&["alloc", "--block", "2"]),
        format!("{first}\n{}\n", first + 1)
    );
    place.ok(&["release", &first.to_string()]);
    let refused = place.run(&["alloc", "--block", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("no 2 free ports in a row") && said.contains("1 are the longest"),
        "{said}"
    );
}

#[test]
fn several_names_are_all_or_nothing() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let three = json!({"names": ["a", "b", "c"]});
    assert_eq!(server.allocate(&three).status, 503);
    let two = json!({"names": ["a", "b"]});
    let granted = server.allocate(&two).json();
    let granted: Vec<u64> = granted["leases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["port"].as_u64().unwrap())
        .collect();
    assert_eq!(
        granted,
        [u64::from(place.ports[0]), u64::from(place.ports[1])]
    );
}

#[test]
fn waiting_request_gets_the_released_port() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = place.ok(&["alloc"]);
    let waiting = place
        .command()
        .args(["alloc", "--wait", "60s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The waiting request records no attempt, so its first look cannot be seen. A request that does
    // not wait is refused meanwhile: from then on the waiting one is in the queue, or soon will be.
    assert_eq!(server.allocate(&json!({})).status, 503);
    place.ok(&["release", port.trim()]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), port);
}

#[test]
fn waiting_in_vain_says_what_was_in_the_way() {
    let place = Place::with_ports(1);
    let server = place.serve();
    place.ok(&["alloc"]);
    let wanted = json!({"wait": "300ms"});
    let answer = server.allocate(&wanted);
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.json()["code"], "timed_out");
    assert!(
        answer.body.contains("1 leased") && answer.body.contains("waited"),
        "{answer:?}"
    );
}

#[test]
fn a_strict_name_does_not_move() {
    let place = Place::with_ports(2);
    let port = {
        let server = place.serve();
        // Its program has ended: the name alone keeps the port.
        let port = place.ok(&["run", "--name", "web", "--", "sh", "-c", "echo $PORT"]);
        assert!(server.stop().success());
        port
    };
    let _occupant = crate::support::occupant(port.trim().parse().unwrap());
    let _server = place.serve();
    let refused = place.run(&["alloc", "--name", "web", "--strict"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("python3"), "{said}");
    let moved = place.run(&["alloc", "--name", "web"]);
    assert_ne!(text(&moved.stdout), port);
    let said = text(&moved.stderr);
    let why = format!("web: {} is in use by python3", port.trim());
    assert!(said.contains(&why), "{said}");
}

#[test]
fn name_with_a_taken_port_moves_without_a_service() {
    let place = Place::with_ports(2);
    let port = place.ok(&["alloc", "--name", "web"]);
    // Its owner has ended: the name is kept, no hold is left.
    let ran = place.ok(&["run", "--name", "web", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(ran, port);
    let _occupant = crate::support::occupant(port.trim().parse().unwrap());
    let refused = place.run(&["alloc", "--name", "web", "--strict"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("python3"), "{said}");
    assert_ne!(place.ok(&["alloc", "--name", "web"]), port);
}

#[test]
fn tcp_name_becomes_both_while_its_program_is_away() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let port: u16 = place
        .ok(&["alloc", "--name", "web"])
        .trim()
        .parse()
        .unwrap();
    let both = json!({"name": "web", "protocol": "both"});
    let answer = server.allocate(&both);
    assert_eq!(answer.status, 201, "{answer:?}");
    let leases = answer.json()["leases"].as_array().unwrap().clone();
    let ports: Vec<&serde_json::Value> = leases.iter().map(|lease| &lease["port"]).collect();
    assert_eq!(ports, [&json!(port), &json!(port)]);
    let strict = json!({"name": "web", "protocol": "tcp", "strict": true});
    let answer = server.allocate(&strict);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (409, &json!("name_taken"))
    );
}

#[test]
fn the_bound_on_attempts_counts_what_was_busy() {
    let place = Place::with_ports(5);
    let _server = place.serve();
    let got = place.ok(&["alloc", "--count", "5", "--max-attempts", "1"]);
    assert_eq!(got.lines().count(), 5);
}

#[test]
fn client_disconnect_leaves_the_queue() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = place.ok(&["alloc"]);
    let mut gone = place
        .command()
        .args(["alloc", "--wait", "1h"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    let next = json!({"wait": "60s"});
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.allocate(&next));
        place.ok(&["release", port.trim()]);
        assert_eq!(waiting.join().unwrap().status, 201);
    });
}

#[test]
fn a_released_port_stays_let_go_until_its_program_binds() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let port = place.ok(&["alloc", "--name", "db", "--handover", "release"]);
    let number = port.trim().parse().unwrap();
    assert!(crate::probe::is_free(number));
    for again in [
        vec!["alloc", "--name", "db", "--dry-run"],
        vec!["alloc", "--name", "db"],
    ] {
        assert_eq!(place.ok(&again), port, "{again:?}");
        assert!(
            crate::probe::is_free(number),
            "{again:?} took the port back"
        );
    }
}
