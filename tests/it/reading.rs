//! One reading of a number in all commands: the id of a lease, else the port of one, else the name of one.
//! Questions about a port keep the port, and name the lease that is called as it.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, occupant, text};
use crate::tools::{Running, eventually};

fn with_and_without_a_service(test: impl Fn(&Place)) {
    let place = Place::with_ports(2);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
    test(&Place::with_ports(2));
}

/// Starts a web server whose lease is called as the second port of the pool, on the first.
fn serving(place: &Place) -> Running {
    let [port, number] = words(place);
    let mut command = place.command();
    command.args(["run", "--name", &number, "--port", &port, "--"]);
    command.args(["python3", "-m", "http.server", "{port}"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command)
}

/// The port of the lease, and its name.
fn words(place: &Place) -> [String; 2] {
    [0, 1].map(|index| place.ports[index].to_string())
}

/// Waits for the number, with a limit for a wait that takes it for a port.
fn wait_for(place: &Place, options: &[&str]) -> Output {
    let [_, number] = words(place);
    place.run(&[&["--json", "wait", &number], options].concat())
}

fn outcome(output: &Output) -> Value {
    let said = text(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    json!([output.status.code(), report["outcome"], report["ports"]])
}

#[test]
fn wait_takes_the_lease_that_is_called_as_the_number() {
    with_and_without_a_service(|place| {
        let [_, number] = words(place);
        let listening = json!([{"port": place.ports[0], "protocol": "tcp"}]);
        // The lease comes after the wait, or before.
        let mut late = place.command();
        late.args(["--json", "wait", &number, "--timeout", "20s"]);
        late.stdout(Stdio::piped()).stderr(Stdio::piped());
        let late = late.spawn().unwrap();
        let server = serving(place);
        let late = late.wait_with_output().unwrap();
        assert_eq!(outcome(&late), json!([0, "listening", listening]));
        let now = wait_for(place, &["--timeout", "20s"]);
        assert_eq!(outcome(&now), json!([0, "listening", listening]));
        let said = text(&now.stderr);
        assert!(said.contains(&format!("one is called {number}")), "{said}");
        // A listener on the number itself is not what it means.
        let _stranger = occupant(place.ports[1]);
        let beside = wait_for(place, &["--timeout", "20s"]);
        assert_eq!(outcome(&beside), json!([0, "listening", listening]));
        let mine = wait_for(place, &["--mine"]);
        assert_eq!(outcome(&mine), json!([0, "listening", listening]));
        let busy = wait_for(place, &["--free", "--timeout", "100ms"]);
        assert_eq!(outcome(&busy), json!([124, "timed_out", listening]));
        drop(server);
    });
}

#[test]
fn port_of_a_lease_comes_before_a_name() {
    with_and_without_a_service(|place| {
        let [port, number] = words(place);
        let _server = serving(place);
        place.ok(&["wait", &port, "--timeout", "20s"]);
        let me = std::process::id().to_string();
        place.ok(&["alloc", "--port", &number, "--owner-pid", &me]);
        let url = place.ok(&["url", &number]);
        assert!(url.contains(&number), "{url}");
        let waited = wait_for(place, &["--timeout", "100ms"]);
        let asked = json!([{"port": place.ports[1], "protocol": "tcp"}]);
        assert_eq!(outcome(&waited), json!([124, "timed_out", asked]));
        let mine = place.run(&["wait", &number, "--mine"]);
        assert_eq!(mine.status.code(), Some(2), "{}", text(&mine.stderr));
    });
}

#[test]
fn questions_about_a_port_name_the_lease_that_is_called_as_it() {
    with_and_without_a_service(|place| {
        let [port, number] = words(place);
        let _server = serving(place);
        place.ok(&["wait", &port, "--timeout", "20s"]);
        let called = format!("{number} is also the name of a lease, {number}: its port is {port}");
        let who = place.run(&["who", &number]);
        assert!(text(&who.stdout).contains(&format!("{number} is free")));
        let said = text(&who.stderr);
        assert!(said.contains(&called), "{said}");

        let explained = place.run(&["--json", "explain", &number]);
        let said = text(&explained.stderr);
        assert!(said.contains(&called), "{said}");
        assert!(said.contains("no attempt on"), "{said}");
        let found: Value = serde_json::from_slice(&explained.stdout).unwrap();
        assert_eq!(found["explanation"]["granted"], json!([place.ports[0]]));

        // An attempt on the port itself is the answer, beside the note.
        let me = std::process::id().to_string();
        place.ok(&["alloc", "--port", &number, "--owner-pid", &me]);
        let explained = eventually("the attempt is on record", || {
            let output = place.run(&["--json", "explain", &number]);
            let found: Value = serde_json::from_slice(&output.stdout).ok()?;
            let of_port = found["explanation"]["granted"] == json!([place.ports[1]]);
            of_port.then(|| text(&output.stderr))
        });
        assert!(explained.contains(&called), "{explained}");
        assert!(!explained.contains("no attempt on"), "{explained}");
    });
}

#[test]
fn explicit_port_is_explained_without_ranges_that_lack_it() {
    let place = Place::with_ports(1);
    let beyond = place.console_ports[3].to_string();
    let me = std::process::id().to_string();
    for (port, ranges) in [(&place.ports[0].to_string(), " in "), (&beyond, "")] {
        place.ok(&["alloc", "--port", port, "--owner-pid", &me]);
        let said = place.ok(&["explain", port]);
        let first = said.lines().next().unwrap();
        let way = first.split("explicit").nth(1).unwrap();
        assert_eq!(way.is_empty(), ranges.is_empty(), "{first}");
        assert!(way.starts_with(ranges), "{first}");
    }
}
