//! Preferred ports: the search goes upwards, a user's wish beats a name's last port, and every move is
//! reported.

use std::process::Output;

use serde_json::{Value, json};

use crate::limits::{unprivileged, unprivileged_start};
use crate::support::{Occupant, PORTBOOK, Place, Server, occupant, ports_in_a_row, text};

/// A place with a service, and a row of ports beside its pool that tests prefer.
struct Row {
    place: Place,
    server: Server,
    first: u16,
}

impl Row {
    fn of(length: usize) -> Self {
        let first = ports_in_a_row(length);
        let place = Place::with_ports(4);
        let server = place.serve();
        Self {
            place,
            server,
            first,
        }
    }

    fn alloc(&self, wanted: &Value) -> Value {
        let answer = self.server.allocate(wanted);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    fn prefer(&self, more: &[&str]) -> Output {
        let first = self.first.to_string();
        self.place
            .run(&[&["alloc", "--prefer", &*first], more].concat())
    }
}

fn port_of(answer: &Value) -> u64 {
    answer["leases"][0]["port"].as_u64().unwrap()
}

fn stdout(output: &Output) -> u16 {
    let said = text(&output.stdout);
    said.trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

fn pid(occupant: &Occupant) -> String {
    format!("(pid {})", occupant.0.id())
}

#[test]
fn next_port_is_granted_and_both_occupants_named() {
    let row = Row::of(4);
    let occupants = [occupant(row.first), occupant(row.first + 1)];
    let output = row.prefer(&[]);
    assert_eq!(stdout(&output), row.first + 2);
    let said = text(&output.stderr);
    for (number, occupant) in (row.first..).zip(&occupants) {
        let named = format!("{number} is in use by python3");
        assert!(
            said.contains(&named) && said.contains(&pid(occupant)),
            "{said}"
        );
    }
    assert!(
        said.contains(&format!("so it is {}", row.first + 2)),
        "{said}"
    );

    // A second request leaves both alone, and still names them.
    let answer = row.alloc(&json!({"prefer": row.first}));
    assert_eq!(port_of(&answer), u64::from(row.first + 3));
    let moved = &answer["moved"];
    assert_eq!(moved["from"], row.first);
    assert_eq!(moved["to"], row.first + 3);
    assert_eq!(moved["reason"], "in_use");
    assert!(moved["by"].as_str().unwrap().ends_with(&pid(&occupants[0])));
    let skipped = answer["skipped"].as_array().unwrap();
    let second = skipped
        .iter()
        .find(|it| it["ports"] == json!((row.first + 1).to_string()));
    let by = second.unwrap()["by"].as_str().unwrap();
    assert!(by.ends_with(&pid(&occupants[1])), "{answer}");
    assert_eq!(&answer["leases"][0]["moved"], moved);
}

#[test]
fn commands_without_a_service_go_upwards_too() {
    let first = ports_in_a_row(3);
    let place = Place::with_ports(1);
    let occupants = [occupant(first), occupant(first + 1)];
    let output = place.run(&["alloc", "--prefer", &first.to_string()]);
    assert_eq!(stdout(&output), first + 2);
    let said = text(&output.stderr);
    assert!(occupants.iter().all(|it| said.contains(&pid(it))), "{said}");
}

#[test]
fn a_full_span_leads_to_the_pool_and_is_told() {
    let row = Row::of(3);
    let _occupants = [0, 1].map(|above| occupant(row.first + above));
    let output = row.prefer(&["--prefer-span", "1"]);
    assert_eq!(stdout(&output), row.place.ports[0]);
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("{} is in use by", row.first + 1)),
        "{said}"
    );
    let alone = row.alloc(&json!({"prefer": row.first, "prefer_span": 0}));
    assert_eq!(port_of(&alone), u64::from(row.place.ports[1]));
}

#[test]
fn prefer_span_of_the_pool_is_the_default() {
    let first = ports_in_a_row(2);
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_POOLS__DEFAULT__PREFER_SPAN", "0");
    let _occupant = occupant(first);
    let output = place.run(&["alloc", "--prefer", &first.to_string()]);
    assert_eq!(stdout(&output), place.ports[0]);
}

#[test]
fn attempts_and_time_bound_the_way_upwards() {
    let row = Row::of(3);
    let _occupants = [0, 1].map(|above| occupant(row.first + above));
    let output = row.prefer(&["--max-attempts", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("after 2 attempts") && said.contains("--max-attempts"),
        "{said}"
    );
    let wanted = json!({"prefer": row.first, "max_attempts": 1});
    let refused = row.server.allocate(&wanted);
    assert_eq!(refused.json()["code"], "attempts_exhausted");

    let late = row.prefer(&["--timeout", "1us"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("--timeout"), "{late:?}");
    let wanted = json!({"prefer": row.first, "timeout": "1us"});
    let refused = row.server.allocate(&wanted);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (504, &json!("timed_out"))
    );
    let none = json!({"prefer": row.first, "timeout": "0s"});
    assert_eq!(row.server.allocate(&none).status, 400);
}

#[test]
fn a_name_returns_to_its_preferred_port_and_says_so() {
    let row = Row::of(3);
    let taken = occupant(row.first);
    let wanted = json!({"name": "web", "prefer": row.first});
    assert_eq!(port_of(&row.alloc(&wanted)), u64::from(row.first + 1));
    // While the occupant is there the name keeps its substitute.
    let kept = row.alloc(&wanted);
    assert_eq!(
        (port_of(&kept), &kept["created"]),
        ((row.first + 1).into(), &json!(false))
    );
    assert_eq!(kept["moved"]["reason"], "in_use");
    drop(taken);
    let back = row.alloc(&wanted);
    assert_eq!(port_of(&back), u64::from(row.first));
    assert_eq!(
        back["moved"],
        json!({"from": row.first + 1, "to": row.first, "reason": "preferred"})
    );
    let living = row.server.get("/api/v1/leases?name=web").json();
    assert_eq!(living["leases"].as_array().unwrap().len(), 1, "{living}");
    let log = row.server.log();
    let said = format!("{} is preferred and free", row.first);
    assert!(log.contains(&said), "{log}");
    let again = row.alloc(&wanted);
    assert_eq!(again["moved"], Value::Null, "{again}");
}

#[test]
fn a_name_returns_also_without_a_service() {
    let first = ports_in_a_row(2);
    let place = Place::with_ports(1);
    let prefer = first.to_string();
    let alloc = || place.run(&["alloc", "--name", "web", "--prefer", &prefer]);
    let taken = occupant(first);
    assert_eq!(stdout(&alloc()), first + 1);
    drop(taken);
    let back = alloc();
    assert_eq!(stdout(&back), first);
    let said = text(&back.stderr);
    assert!(said.contains("is preferred and free"), "{said}");
}

#[test]
fn a_changed_preference_counts_at_once() {
    let row = Row::of(3);
    let at = |above: u16| json!({"name": "web", "prefer": row.first + above});
    assert_eq!(port_of(&row.alloc(&at(0))), u64::from(row.first));
    assert_eq!(port_of(&row.alloc(&at(2))), u64::from(row.first + 2));
    let strict = row.alloc(&json!({"name": "web", "port": row.first + 1}));
    assert_eq!(port_of(&strict), u64::from(row.first + 1));
    assert_eq!(strict["moved"]["from"], row.first + 2);
}

#[test]
fn a_release_makes_the_name_forget_its_port() {
    let row = Row::of(1);
    row.alloc(&json!({"name": "web", "prefer": row.first}));
    row.place.ok(&["release", "web"]);
    let fresh = row.alloc(&json!({"name": "web"}));
    assert_eq!(port_of(&fresh), u64::from(row.place.ports[0]));
    assert_eq!(fresh["moved"], Value::Null, "{fresh}");

    // A port of the pool is forgotten as well if another one comes before it.
    let other = row.alloc(&json!({"name": "api"}));
    assert_eq!(port_of(&other), u64::from(row.place.ports[1]));
    row.place.ok(&["release", "web", "api"]);
    let fresh = row.alloc(&json!({"name": "api"}));
    assert_eq!(port_of(&fresh), u64::from(row.place.ports[0]));
}

#[test]
fn a_range_bounds_the_preference() {
    let row = Row::of(4);
    let range = format!("{}-{}", row.first + 2, row.first + 3);
    let answer = row.alloc(&json!({"prefer": row.first, "ranges": range}));
    assert_eq!(port_of(&answer), u64::from(row.first + 2));
    assert_eq!(answer["moved"]["reason"], "outside_range");
    let rule = format!("the range {range}");
    assert_eq!(answer["moved"]["by"], rule);
}

#[test]
fn leased_and_excluded_ports_are_skipped_with_reasons() {
    let row = Row::of(4);
    row.alloc(&json!({"name": "keep", "port": row.first}));
    let exclusion = format!("/api/v1/ports/tcp/{}/exclusion", row.first + 1);
    let reason = json!({"reason": "printer"});
    row.server.api("PUT", &exclusion, Some(&reason));
    let answer = row.alloc(&json!({"prefer": row.first}));
    assert_eq!(port_of(&answer), u64::from(row.first + 2));
    assert_eq!(answer["moved"]["reason"], "leased");
    assert!(
        answer["moved"]["by"]
            .as_str()
            .unwrap()
            .starts_with("keep (lease ")
    );
    assert_eq!(answer["skipped"][1]["reason"], "by_hand");
    assert_eq!(answer["skipped"][1]["by"], "hand (printer)");
    row.place.ok(&[
        "alloc",
        "--name",
        "later",
        "--port",
        &(row.first + 3).to_string(),
        "--reserve",
    ]);
    let reserved = row.alloc(&json!({"prefer": row.first + 3, "prefer_span": 0}));
    assert_eq!(reserved["moved"]["reason"], "reserved");
}

#[test]
fn cooling_port_shows_its_occupant_and_time() {
    let row = Row::of(3);
    let taken = occupant(row.first + 1);
    let process = pid(&taken);
    row.alloc(&json!({"port": row.first}));
    // Refused once, and skipped from then on, although its occupant has gone.
    let refused = json!({"port": row.first + 1});
    assert_eq!(row.server.allocate(&refused).status, 409);
    drop(taken);
    let answer = row.alloc(&json!({"prefer": row.first}));
    let cooling = &answer["skipped"][1];
    if cooling["reason"] != "too_costly" {
        assert_eq!(cooling["reason"], "cooling_down", "{answer}");
        assert!(
            cooling["since"].is_string() && cooling["by"].as_str().unwrap().ends_with(&process)
        );
    }
    assert_eq!(port_of(&answer), u64::from(row.first + 2));
    // Preferred itself it is tried by a bind all the same.
    let tried = row.alloc(&json!({"prefer": row.first + 1}));
    assert_eq!(port_of(&tried), u64::from(row.first + 1));
}

#[test]
fn conflicting_request_names_the_difference_to_the_living_lease() {
    let row = Row::of(2);
    let mut command = row.place.command();
    let first = row.first.to_string();
    command.args([
        "run", "--name", "web", "--prefer", &first, "--", "sleep", "60",
    ]);
    let mut program = command.spawn().unwrap();
    crate::tools::eventually("the lease", || {
        let list = row.server.get("/api/v1/leases?name=web").json();
        list["leases"].get(0).is_some().then_some(())
    });
    let id = format!("(pid {})", program.id());
    for wanted in [
        json!({"name": "web", "port": row.first + 1}),
        json!({"name": "web", "ranges": format!("{}", row.first + 1)}),
        json!({"name": "web", "protocol": "udp"}),
        json!({"name": "web", "interfaces": ["loopback"]}),
        json!({"name": "web", "pool": "console"}),
    ] {
        let refused = row.server.allocate(&wanted).json();
        assert_eq!(refused["code"], "name_taken", "{wanted}: {refused}");
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("port {first}/tcp")) && detail.contains(&id),
            "{detail}"
        );
    }
    // A preference is not a demand: the name keeps its port and gives the reason.
    let kept = row.alloc(&json!({"name": "web", "prefer": row.first + 1}));
    assert_eq!(port_of(&kept), u64::from(row.first));
    assert_eq!(kept["moved"]["reason"], "keeps_port");
    assert!(
        kept["moved"]["by"].as_str().unwrap().contains(&id),
        "{kept}"
    );
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn name_without_its_program_moves_to_the_requested_port() {
    let row = Row::of(2);
    let name = |more: Value| {
        let mut wanted = json!({"name": "web"});
        wanted
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        row.alloc(&wanted)
    };
    name(json!({"prefer": row.first}));
    let range = name(json!({"ranges": (row.first + 1).to_string()}));
    assert_eq!(port_of(&range), u64::from(row.first + 1));
    assert_eq!(range["moved"]["reason"], "outside_range");
    // The number stays where it can.
    let loopback = name(json!({"interfaces": ["loopback"], "prefer": row.first + 1}));
    assert_eq!(port_of(&loopback), u64::from(row.first + 1));
    assert_eq!(loopback["leases"][0]["interfaces"], json!(["lo"]));
    let both = name(json!({"protocol": "both", "prefer": row.first + 1}));
    assert_eq!(both["leases"].as_array().unwrap().len(), 2, "{both}");
    assert_eq!(port_of(&both), u64::from(row.first + 1));
}

#[test]
fn new_occupant_is_named_at_once() {
    let row = Row::of(1);
    let wanted = json!({"port": row.first});
    let ask = || row.server.allocate(&wanted).json();
    for _ in 0..3 {
        // Well within the second for which the socket tables are kept.
        let taken = occupant(row.first);
        let refused = ask();
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.contains(&pid(&taken)),
            "{detail}, not {}",
            pid(&taken)
        );
    }
}

#[test]
fn low_port_is_skipped_without_privilege() {
    let Some(start) = unprivileged_start() else {
        return;
    };
    let row = ports_in_a_row(6);
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("portbook.toml");
    std::fs::write(&project, "[services.web]\nprefer = 443\n").unwrap();
    let command = |arguments: &[&str]| {
        let mut command = unprivileged(folder.path(), PORTBOOK)?;
        command.env(
            "PORTBOOK_POOLS__DEFAULT__RANGES",
            format!("{row}-{}", row + 5),
        );
        command.current_dir(folder.path()).args(arguments);
        Some(command.output().unwrap())
    };
    for arguments in [
        &["alloc", "--prefer", "443"][..],
        &["run", "--prefer", "443", "--", "sh", "-c", "echo $PORT"],
        &["run", "--service", "web", "--", "sh", "-c", "echo $PORT"],
        &["alloc", "--range", &format!("80,{row}-{}", row + 5)],
    ] {
        let Some(output) = command(arguments) else {
            return;
        };
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(stdout(&output) >= start, "{output:?}");
        let said = text(&output.stderr);
        let why = format!("443 is for the administrator alone, as all ports below {start} are");
        assert!(arguments[1] == "--range" || said.contains(&why), "{said}");
    }
    let strict = command(&["alloc", "--port", "443"]).unwrap();
    assert_eq!(strict.status.code(), Some(1));
    let said = text(&strict.stderr);
    assert!(
        said.contains("pool default does not open it to its users"),
        "{said}"
    );
}

#[test]
fn browser_safe_pool_skips_ports_browsers_refuse() {
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_POOLS__DEFAULT__BROWSER_SAFE", "true");
    let moved = place.json(&["alloc", "--prefer", "6000", "--prefer-span", "0"]);
    assert_eq!(moved["moved"]["reason"], "browser_blocked");
    let strict = place.run(&["alloc", "--port", "6000"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).contains("browser_safe"), "{strict:?}");
}

#[test]
fn project_service_reports_its_move_in_every_command() {
    let row = Row::of(3);
    let taken = occupant(row.first);
    let folder = row.place.folder().join("shop");
    std::fs::create_dir(&folder).unwrap();
    let project = format!("[services.web]\nprefer = {}\n", row.first);
    std::fs::write(folder.join("portbook.toml"), project).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = row.place.command();
        command
            .current_dir(&folder)
            .args(arguments)
            .output()
            .unwrap()
    };
    for arguments in [
        &["env"][..],
        &["alloc", "--service", "web"],
        &["run", "--service", "web", "--", "true"],
    ] {
        let said = text(&run(arguments).stderr);
        let named = format!("web: {} is in use by python3", row.first);
        assert!(
            said.contains(&named) && said.contains(&pid(&taken)),
            "{arguments:?}: {said}"
        );
    }
    drop(taken);
    let back = run(&["env"]);
    assert!(
        text(&back.stdout).contains(&format!("WEB_PORT={}", row.first)),
        "{back:?}"
    );
    assert!(
        text(&back.stderr).contains("is preferred and free"),
        "{back:?}"
    );
}

#[test]
fn name_keeps_its_substitute_without_time_to_return() {
    let row = Row::of(2);
    let taken = occupant(row.first);
    let wanted = json!({"name": "web", "prefer": row.first});
    assert_eq!(port_of(&row.alloc(&wanted)), u64::from(row.first + 1));
    drop(taken);
    let hurried = json!({"name": "web", "prefer": row.first, "timeout": "1us"});
    let kept = row.alloc(&hurried);
    assert_eq!(port_of(&kept), u64::from(row.first + 1));
    let notes = kept["notes"].to_string();
    assert!(notes.contains("was not tried"), "{kept}");
}

#[test]
fn several_ports_go_upwards_from_the_preferred_one() {
    let row = Row::of(4);
    let _occupant = occupant(row.first + 1);
    let answer = row.alloc(&json!({"prefer": row.first, "count": 3}));
    let leases = answer["leases"].as_array().unwrap();
    let ports: Vec<u64> = leases
        .iter()
        .map(|it| it["port"].as_u64().unwrap())
        .collect();
    let expected = [0, 2, 3].map(|above| u64::from(row.first + above));
    assert_eq!(ports, expected, "{answer}");
    assert_eq!(
        answer["moved"],
        Value::Null,
        "the first has what was preferred"
    );
    assert_eq!(answer["skipped"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn block_moves_up_whole_and_names_the_obstacle() {
    let row = Row::of(6);
    let _occupant = occupant(row.first + 1);
    let answer = row.alloc(&json!({"name": "ray", "prefer": row.first, "block": 3}));
    assert_eq!(port_of(&answer), u64::from(row.first + 2));
    assert_eq!(answer["moved"]["reason"], "broken_row", "{answer}");
    let why = answer["moved"]["by"].as_str().unwrap();
    assert!(
        why.starts_with(&format!("{} is in use by python3", row.first + 1)),
        "{why}"
    );
}
