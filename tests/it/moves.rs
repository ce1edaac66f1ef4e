//! The console tells of leases that are not on the port that was wanted, and of ports passed over.

use serde_json::{Value, json};

use crate::support::{Occupant, Place, Server, occupant, ports_in_a_row};

/// A service with a pool of two ports, and a preferred port beside it that is occupied.
struct World {
    place: Place,
    server: Server,
    wanted: u16,
    occupant: Occupant,
}

impl World {
    fn new() -> Self {
        let wanted = ports_in_a_row(2);
        let place = Place::with_ports(2);
        let server = place.serve();
        Self {
            occupant: occupant(wanted),
            place,
            server,
            wanted,
        }
    }

    fn page(&self, path: &str) -> String {
        let answer = self.server.web("GET", path, &[("Accept", "text/html")]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    fn grant(&self, wanted: &Value) -> Value {
        let answer = self.server.allocate(wanted);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    /// `in use by python3 (pid 7)`
    fn in_use(&self, granted: &Value) -> String {
        let by = granted["moved"]["by"].as_str().unwrap();
        let pid = format!("(pid {})", self.occupant.0.id());
        assert!(by.ends_with(&pid), "{granted}");
        format!("in use by {by}")
    }
}

fn lease_page(granted: &Value) -> String {
    format!("/leases/{}", granted["leases"][0]["id"].as_str().unwrap())
}

fn request_page(granted: &Value) -> String {
    format!("/allocations/{}", granted["allocation"].as_str().unwrap())
}

#[test]
fn every_list_tells_which_port_a_lease_stands_in_for() {
    let world = World::new();
    let wanted = world.wanted;
    let granted = world.grant(&json!({"name": "web", "prefer": wanted}));
    let in_use = world.in_use(&granted);
    let said = format!("instead of {wanted}: <bdi>{in_use}</bdi>");
    let port = format!("/ports/tcp/{}", wanted + 1);
    for path in ["/", "/leases", &port, &request_page(&granted)] {
        let page = world.page(path);
        assert!(page.contains(&said), "{path}: {page}");
    }
    let page = world.page(&lease_page(&granted));
    for said in [
        format!("<a href=\"/ports/tcp/{wanted}\">{wanted}</a>: <bdi>{in_use}</bdi>"),
        format!("It goes back at its next start, when {wanted} is free and still preferred."),
    ] {
        assert!(page.contains(&said), "{said}: {page}");
    }
}

#[test]
fn a_lease_that_came_back_is_no_substitute() {
    let World {
        place: _place,
        server,
        wanted,
        occupant,
    } = World::new();
    let request = json!({"name": "web", "prefer": wanted});
    let ask = || server.allocate(&request).json();
    assert_eq!(ask()["leases"][0]["port"], wanted + 1);
    drop(occupant);
    let back = ask();
    assert_eq!(back["leases"][0]["port"], wanted, "{back}");
    let page = server.web("GET", &lease_page(&back), &[]).body;
    let said = format!("{wanted} is preferred and was free");
    assert!(
        page.contains("<dt>Moved from</dt>") && page.contains(&said),
        "{page}"
    );
    let list = server.web("GET", "/leases", &[]).body;
    assert!(!list.contains("instead of"), "{list}");
}

#[test]
fn answer_shows_passed_over_ports_and_the_deciding_step() {
    let world = World::new();
    let wanted = world.wanted;
    let granted = world.grant(&json!({"prefer": wanted}));
    let in_use = world.in_use(&granted);
    let page = world.page(&request_page(&granted));
    let cause = in_use.trim_start_matches("in use by ");
    for said in [
        "id=\"passed-title\">Passed over<",
        "upwards of the preferred port <span class=\"faint\">(step 4 of 5)",
        "(not searched)",
        "The ranges were not searched",
        "in the order of precedence, regardless of the cost",
        &format!("<a href=\"/ports/tcp/{wanted}\"><span class=\"port-number\">{wanted}<"),
        &format!("<bdi>{cause}</bdi>"),
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("0 ports"), "{page}");
    assert!(!page.contains("no lease excludes any"), "{page}");
}

#[test]
fn a_request_that_came_to_the_pool_counts_its_ports() {
    let world = World::new();
    let granted = world.grant(&json!({"prefer": world.wanted, "prefer_span": 0}));
    let page = world.page(&request_page(&granted));
    for said in [
        "the pool's choice",
        "(step 5 of 5)",
        "(2 ports)",
        ">Passed over<",
    ] {
        let escaped = said.replace('\'', "&#39;");
        assert!(
            page.contains(said) || page.contains(&escaped),
            "{said}: {page}"
        );
    }
    let named = world.grant(&json!({"port": world.wanted + 1}));
    let page = world.page(&request_page(&named));
    assert!(
        page.contains("(step 1 of 5)") && page.contains("(not searched)"),
        "{page}"
    );
    assert!(!page.contains(">Passed over<"), "{page}");
}

#[test]
fn trying_tells_of_the_move_and_folds_rare_fields() {
    let world = World::new();
    let wanted = world.wanted;
    let page = world.page(&format!("/try?prefer={wanted}"));
    let instead =
        format!("Instead of <a href=\"/ports/tcp/{wanted}\">{wanted}</a>: <bdi>in use by");
    assert!(
        page.contains(&instead) && page.contains(">Passed over<"),
        "{page}"
    );
    assert!(page.contains("<details class=\"more\">"), "{page}");

    let page = world.page(&format!("/try?prefer={wanted}&prefer_span=0&timeout=2s"));
    assert!(page.contains("<details class=\"more\" open>"), "{page}");
    assert!(
        page.contains("(step 5 of 5)"),
        "the span was not heard: {page}"
    );
    let page = world.page(&format!("/try?prefer={wanted}&timeout=1us"));
    assert!(page.contains("Nothing would be granted"), "{page}");

    // A name that keeps its substitute still shows the reason.
    world.grant(&json!({"name": "web", "prefer": wanted}));
    let page = world.page(&format!("/try?name=web&prefer={wanted}"));
    assert!(
        page.contains("Granted already") && page.contains(&instead),
        "{page}"
    );
    assert!(page.contains(">Passed over<"), "{page}");
}

#[test]
fn settings_of_preference_and_names_are_listed() {
    let world = World::new();
    let page = world.page("/config?all=yes");
    for key in ["prefer_span", "gone_after", "names_idle"] {
        assert!(
            page.contains(&format!("<code>{key}</code>")),
            "{key}: {page}"
        );
    }
    drop(world.place);
}

#[test]
fn names_whose_program_came_just_now_keep_their_port() {
    let place = Place::with_ports(4);
    let _server = place.serve();
    let (first, other) = (place.ports[0], place.ports[2]);
    assert_eq!(place.ok(&["alloc", "--name", "web"]), format!("{first}\n"));
    let _program = crate::support::occupant(first);
    // Within the first second, before the service has looked for listeners.
    let asked = place.run(&["alloc", "--name", "web", "--prefer", &other.to_string()]);
    let said = crate::support::text(&asked.stderr);
    assert_eq!(
        crate::support::text(&asked.stdout),
        format!("{first}\n"),
        "{said}"
    );
    assert!(said.contains("python3"), "{said}");
    let ranges = other.to_string();
    let refused = place.run(&["alloc", "--name", "web", "--range", &ranges]);
    let said = crate::support::text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
}
