//! `portbook run --map all`: each port that a program asks for gets a lease of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::Value;

use super::asking::{PROGRAM, Program};
use super::life::{cgroups, links};
use super::{Tidy, is_active, lease, served_with};
use crate::probe::{self, How};
use crate::succession::supervised;
use crate::support::{Place, Server, port, text};
use crate::tools::{Running, eventually};

/// Number of spares of a program.
const SPARES: usize = 8;

/// `portbook run --map all` in a folder.
fn run(place: &Place, folder: &str) -> Command {
    let folder = place.data_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = place.command();
    command.current_dir(folder);
    command.args(["run", "--map", "all"]);
    command
}

fn started(place: &Place, folder: &str) -> Program {
    Program::start(run(place, folder))
}

fn leases(server: &Server) -> Vec<Value> {
    let list = server.get("/api/v1/leases?limit=200").json();
    let leases = list["leases"].as_array().unwrap().iter();
    leases
        .filter(|lease| lease["name"] != "portbook-console")
        .cloned()
        .collect()
}

/// Waits until this number of spares is there.
fn spares(server: &Server, count: usize) -> Vec<Value> {
    eventually("spares", || {
        let mut leases = leases(server);
        leases.retain(|lease| lease["spare"] == true);
        (leases.len() == count).then_some(leases)
    })
}

/// Ports that no lease is on, for programs to ask for.
fn numbers(count: usize) -> Vec<u16> {
    Place::with_ports(count).ports
}

fn assert_unbound(port: u16) {
    probe::bind(Ipv4Addr::UNSPECIFIED.into(), port, How::Strictly).unwrap();
}

#[test]
fn two_copies_with_two_ports_in_their_code_run_side_by_side() {
    let Some((place, server)) = served_with("all ports", 24) else {
        return;
    };
    let asked = numbers(2);
    let mut copies = ["one", "two"].map(|folder| started(&place, folder));
    let mut had = BTreeSet::new();
    for copy in &mut copies {
        assert_eq!(copy.port, None);
        for port in &asked {
            let leased = copy.bind(*port);
            assert!(
                place.ports.contains(&leased) && had.insert(leased),
                "{leased}"
            );
            copy.assert_reaches_itself_at(*port);
            copy.assert_reaches_itself_at(leased);
            // The port that it has is its own by that number too.
            assert_eq!(copy.bind(*port), leased);
        }
    }
    for number in &asked {
        let of_number = eventually("leases of both copies", || {
            let mut found = leases(&server);
            found.retain(|lease| lease["mapped_from"] == *number && is_active(lease));
            (found.len() == 2).then_some(found)
        });
        for lease in of_number {
            assert!(had.remove(&port(&lease)));
            assert_eq!(lease["name"], number.to_string());
            assert_eq!(lease["handover"], "bind");
            assert!(lease["directory"].is_string());
            super::assert_strictly_held(port(&lease));
        }
        assert_unbound(*number);
    }
    let left = spares(&server, 2 * SPARES);
    let who = place.ok(&["who", &port(&left[0]).to_string()]);
    assert!(who.contains("as a spare of --map all"), "{who}");
    assert!(
        place
            .ok(&["list", "--all"])
            .contains("(spare of --map all)")
    );
    let folded = place.run(&["list"]);
    assert!(!text(&folded.stdout).contains("spare"));
    let said = text(&folded.stderr);
    assert!(
        said.contains("16 spares of `run --map all` are left out"),
        "{said}"
    );
    let all = place.json(&["list"]);
    let all = all["leases"].as_array().unwrap().iter();
    assert_eq!(all.filter(|lease| lease["spare"] == true).count(), 16);
    assert_eq!(links(server.child.id()), 2 + 2 * 4);
}

#[test]
fn program_has_its_ports_again_and_leaves_no_spares() {
    let Some((place, server)) = served_with("all ports again", 24) else {
        return;
    };
    let asked = numbers(3);
    let mut before = Vec::new();
    for run in 0..3 {
        let mut program = started(&place, "one");
        // In another order each time, and at once: known before the first round of the observer.
        let mut order = asked.clone();
        order.rotate_left(run);
        for number in order {
            before.push((number, program.bind(number)));
        }
        drop(program);
        let left = eventually("no spares", || {
            let left = leases(&server);
            (left.len() == asked.len()).then_some(left)
        });
        for lease in left {
            assert_eq!(lease["state"], "reserved", "{lease}");
            let number: u16 = lease["name"].as_str().unwrap().parse().unwrap();
            assert!(before.contains(&(number, port(&lease))), "{lease}");
        }
        eventually("no cgroup", || cgroups(&place).is_empty().then_some(()));
        assert_eq!(links(server.child.id()), 0);
    }
    before.sort_unstable();
    before.dedup();
    assert_eq!(before.len(), asked.len());
}

#[test]
fn program_may_ask_for_more_ports_than_there_are_spares() {
    let Some((place, server)) = served_with("many ports", 40) else {
        return;
    };
    let asked = numbers(3 * SPARES);
    let mut program = started(&place, "one");
    let mut had = BTreeSet::new();
    for numbers in asked.chunks(SPARES) {
        for number in numbers {
            assert!(had.insert(program.bind(*number)));
        }
        let taken = had.len();
        eventually("a full stock", || {
            let leases = leases(&server);
            let named = leases
                .iter()
                .filter(|lease| lease["name"].is_string())
                .count();
            ((named, leases.len()) == (taken, taken + SPARES)).then_some(())
        });
    }
    for number in &asked {
        program.assert_reaches_itself_at(*number);
    }
    assert!(had.iter().all(|port| place.ports.contains(port)));
}

#[test]
fn all_ports_are_mapped_again_after_a_crash_and_a_takeover() {
    let Some((place, first)) = served_with("all ports and the service", 24) else {
        return;
    };
    let asked = numbers(4);
    let mut program = started(&place, "one");
    let known = program.bind(asked[0]);
    lease(&first, &asked[0].to_string(), is_active);
    spares(&first, SPARES);
    first.kill();
    let mut second = place.serve();
    assert_eq!(program.bind(asked[0]), known);
    let next = program.bind(asked[1]);
    assert!(place.ports.contains(&next) && next != known);
    // Taken a moment before the next service comes.
    let third = place.serve_with(&["--takeover"]);
    assert!(second.child.wait().unwrap().success());
    assert_eq!(links(third.child.id()), 6);
    let mut had = BTreeSet::from([known, next]);
    for number in &asked[2..] {
        assert!(had.insert(program.bind(*number)));
    }
    for number in &asked {
        program.assert_reaches_itself_at(*number);
        lease(&third, &number.to_string(), is_active);
        assert_unbound(*number);
    }
    assert_eq!(program.bind(asked[1]), next);
}

#[test]
fn leased_ports_pass_within_a_program_all_of_whose_ports_are_mapped() {
    let Some((place, server)) = served_with("leased ports", 24) else {
        return;
    };
    let asked = numbers(2);
    let mut command = run(&place, "one");
    command.args(["--name", "web", "--map"]);
    command.arg(format!("{}=metrics", asked[0]));
    let mut program = Program::start(command);
    let own = program.port.expect("PORT is that of web");
    assert_eq!(program.bind(own), own);
    let metrics = program.bind(asked[0]);
    assert_eq!(port(&lease(&server, "metrics", is_active)), metrics);
    // Those of the guard, and one rewriter.
    assert_eq!(links(server.child.id()), 6);
    assert_ne!(program.bind(asked[1]), asked[1]);
    // One that a program within it has from portbook, which it tells to the program that it becomes.
    let portbook = env!("CARGO_BIN_EXE_portbook");
    let script = format!("{portbook} run --name inner -- python3 -c '{PROGRAM}'; true");
    let mut outer = run(&place, "two");
    outer.args(["--", "sh", "-c", &script]);
    let mut running = Running::piped(outer);
    let inner: u16 = running.line().split_once(' ').unwrap().1.parse().unwrap();
    writeln!(running.0.stdin.as_mut().unwrap(), "bind {inner}").unwrap();
    assert_eq!(running.line(), inner.to_string());
}

#[test]
fn ports_taken_while_no_service_ran_are_not_given_out_twice() {
    let place = Tidy(Place::with_ports(40));
    let mut supervisor = supervised(&place);
    let status = ask(&place, "/api/v1/status");
    if super::hand_over(&status).contains("falls back") {
        return crate::host::skipped("a supervised map", "no hand-over by bind here");
    }
    let asked = numbers(6);
    let mut program = started(&place, "one");
    let mut had = BTreeSet::new();
    for numbers in asked.chunks(2) {
        supervisor.say("kill");
        assert!(had.insert(program.bind(numbers[0])));
        supervisor.hear();
        assert!(had.insert(program.bind(numbers[1])));
        assert_eq!(program.say("to", numbers[1]), program.pid);
    }
    assert!(had.iter().all(|port| place.ports.contains(port)));
}

fn ask(place: &Place, path: &str) -> Value {
    let socket = place.data_dir().join("portbook.sock");
    crate::support::ask(&socket, "GET", path, None)
        .unwrap()
        .json()
}
