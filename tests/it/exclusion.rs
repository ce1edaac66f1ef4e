//! Ports excluded by hand, ports kept for a name, and sessions that another user cannot use.

use std::process::Command;

use serde_json::{Value, json};

use crate::host::skipped;
use crate::pages::{cookie, send};
use crate::support::{self, Place, Server, text};
use crate::tools::eventually;

/// Markup, quotes, an escape sequence and a character that reverses the writing direction.
const HOSTILE: &str = "<script>alert(1)</script>\"'=&\u{1b}[31m\u{202e}\nx";

fn alloc(server: &Server, request: &Value) -> (u16, Value) {
    let answer = server.allocate(request);
    (answer.status, answer.json())
}

#[test]
fn excluded_port_is_never_granted() {
    let place = Place::with_ports(2);
    let [first, second] = [place.ports[0], place.ports[1]];
    let server = place.serve();
    place.ok(&["exclude", &first.to_string(), "--reason", "the printer's"]);
    let (status, refused) = alloc(&server, &json!({"port": first}));
    assert_eq!((status, &refused["code"]), (422, &json!("port_excluded")));
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("by hand (the printer's)"), "{detail}");
    let (_, granted) = alloc(&server, &json!({}));
    assert_eq!(granted["leases"][0]["port"], second);
    let (status, refused) = alloc(&server, &json!({}));
    assert_eq!(status, 503, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("1 excluded by hand"), "{detail}");
    // Another protocol's port is another port.
    let udp = json!({"port": first, "protocol": "udp"});
    assert_eq!(alloc(&server, &udp).0, 201);
    assert!(server.stop().success());

    let server = place.serve();
    assert_eq!(
        alloc(&server, &json!({"port": first})).0,
        422,
        "after a restart"
    );
    let listed = place.ok(&["exclude"]);
    assert!(listed.contains(&first.to_string()) && listed.contains("the printer's"));
    assert!(
        place
            .ok(&["who", &first.to_string()])
            .contains("excluded by hand")
    );
    place.ok(&["include", &first.to_string()]);
    assert_eq!(alloc(&server, &json!({"port": first})).0, 201);
    let again = place.run(&["include", &first.to_string()]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
}

#[test]
fn lease_on_an_excluded_port_lasts_until_its_next_request() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let (_, granted) = alloc(&server, &json!({"name": "web"}));
    let port = &granted["leases"][0]["port"];
    let path = format!("/api/v1/ports/tcp/{port}/exclusion");
    let reason = json!({"reason": "later"});
    let first = server.api("PUT", &path, Some(&reason));
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(server.api("PUT", &path, Some(&reason)).status, 200);
    let living = server.get("/api/v1/leases?name=web").json();
    assert_eq!(living["leases"][0]["port"], *port);
    let (status, again) = alloc(&server, &json!({"name": "web"}));
    assert_eq!(status, 201, "{again}");
    let moved = json!({
        "from": port, "to": place.ports[1], "reason": "by_hand", "by": "hand (later)"
    });
    assert_eq!(
        (&again["moved"], &again["leases"][0]["moved"]),
        (&moved, &moved)
    );
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    assert_eq!(server.api("DELETE", &path, None).status, 404);
    let long = json!({"reason": "x".repeat(201)});
    assert_eq!(server.api("PUT", &path, Some(&long)).status, 400);
}

#[test]
fn the_page_of_a_port_excludes_and_keeps_it() {
    let place = Place::with_ports(2);
    let port = place.ports[0];
    let server = place.serve();
    let page = format!("/ports/tcp/{port}");
    let cookie = cookie(&server);
    assert!(!server.web("GET", &page, &[]).body.contains("/exclude\""));
    let excluded = send(&server, &format!("{page}/exclude"), &cookie, "reason=mine");
    assert_eq!(excluded.status, 303, "{excluded:?}");
    let shown = server.web("GET", &page, &[("Cookie", &cookie)]).body;
    assert!(shown.contains("Excluded by hand") && shown.contains("/include\""));
    assert!(
        shown.contains("excluded by hand"),
        "what the chooser thinks"
    );
    let kept = send(&server, &format!("{page}/keep"), &cookie, "name=web");
    assert_eq!(kept.status, 422, "{kept:?}");
    assert!(kept.body.contains("action=\"/logout\""), "not in the frame");
    let included = send(&server, &format!("{page}/include"), &cookie, "");
    assert_eq!(included.status, 303, "{included:?}");
    let kept = send(&server, &format!("{page}/keep"), &cookie, "name=web");
    assert_eq!(kept.status, 303, "{kept:?}");
    let leases = server.get("/api/v1/leases?name=web").json();
    let lease = &leases["leases"][0];
    let is = (&lease["state"], &lease["port"], &lease["guard"]);
    assert_eq!(is, (&json!("reserved"), &json!(port), &json!("hold")));
    let occupant = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(occupant.is_err(), "a bind passed the shut gate");
    let (status, handed) = alloc(&server, &json!({"name": "web"}));
    assert_eq!(
        (status, &handed["leases"][0]["state"]),
        (200, &json!("handed"))
    );
    let nameless = json!({"reserve": true});
    assert_eq!(alloc(&server, &nameless).0, 400);
}

#[test]
fn a_hostile_reason_is_inert_everywhere() {
    let place = Place::with_ports(2);
    let port = place.ports[0];
    let server = place.serve();
    let path = format!("/api/v1/ports/tcp/{port}/exclusion");
    let put = server.api("PUT", &path, Some(&json!({"reason": HOSTILE})));
    assert_eq!(put.status, 201, "{put:?}");
    let wanted = json!({"labels": {HOSTILE: HOSTILE}, "name": "web"});
    let (status, granted) = alloc(&server, &wanted);
    assert_eq!(status, 201, "{granted}");
    let id = granted["leases"][0]["id"].as_str().unwrap();
    alloc(&server, &json!({"port": port}));
    let pages = [
        format!("/ports/tcp/{port}"),
        format!("/leases/{id}"),
        format!("/try?port={port}"),
        format!("/search?q={port}"),
        "/".to_owned(),
        "/map".to_owned(),
        "/leases".to_owned(),
        "/attempts".to_owned(),
        "/status".to_owned(),
        "/config".to_owned(),
        "/%3Cscript%3Ealert(1)".to_owned(),
    ];
    for page in pages {
        let answer = server.web("GET", &page, &[("Accept", "text/html")]);
        assert!(!answer.body.contains("<script>alert"), "{page}");
        let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!answer.body.contains(raw), "{page}: {:?}", answer.body);
    }
    let who = port.to_string();
    for command in [&["exclude"][..], &["who", &who], &["list"], &["status"]] {
        let printed = place.ok(command);
        let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!printed.contains(raw), "{command:?}: {printed:?}");
    }
    let refused = text(&place.run(&["alloc", "--port", &who]).stderr);
    assert!(!refused.contains(['\u{1b}', '\u{202e}']), "{refused:?}");
}

#[test]
fn a_session_is_worth_nothing_to_another_user() {
    if !rustix::process::geteuid().is_root() {
        return skipped("sessions of others", "it takes root to be two users");
    }
    let place = Place::with_ports(1);
    let server = place.serve();
    let cookie = cookie(&server);
    let mine = server.web("GET", "/", &[("Cookie", &cookie)]);
    assert!(mine.body.contains("action=\"/logout\""));
    let script = "exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /api/v1/leases HTTP/1.1\\r\\n\
        Host: localhost:%s\\r\\nCookie: %s\\r\\nConnection: close\\r\\n\\r\\n' $0 $1 >&3; cat <&3";
    let port = server.console_port().to_string();
    let thief = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "/bin/bash", "-c", script])
        .args([&port, &cookie])
        .output()
        .unwrap();
    let said = text(&thief.stdout);
    let refused = said.starts_with("HTTP/1.1 401 ");
    assert!(refused, "{said}{}", text(&thief.stderr));
    assert!(said.contains("Max-Age=0"), "{said}");
    assert!(server.log().contains("did not open it"), "{}", server.log());
    let mine = server.web("GET", "/", &[("Cookie", &cookie)]);
    assert!(
        mine.body.contains("action=\"/logout\""),
        "the session lives on"
    );
}

#[test]
fn excluding_a_leased_port_names_its_owner_and_consequence() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let port = place.ok(&["alloc", "--name", "app"]).trim().to_owned();
    let output = place.run(&["exclude", &port]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("{port}/tcp is leased to app (lease ")),
        "{said}"
    );
    assert!(said.contains("it moves at its next start"), "{said}");
    let granted = place.run(&["run", "--name", "app", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(text(&granted.stdout).trim(), place.ports[1].to_string());
    let said = text(&granted.stderr);
    assert!(
        said.contains(&format!("{port} is excluded by hand, so it is")),
        "{said}"
    );
}

#[test]
fn a_name_keeps_an_excluded_port_while_its_program_runs() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--name", "app", "--", "sleep", "60"]);
    let mut program = command.spawn().unwrap();
    let port = eventually("the lease", || {
        let list = server.get("/api/v1/leases?name=app").json();
        list["leases"].get(0).map(|lease| lease["port"].clone())
    });
    let excluded = place.json(&["exclude", &port.to_string()]);
    let note = excluded["notes"][0].as_str().unwrap();
    let process = format!("sleep, pid {}", program.id());
    assert!(
        note.contains(&process) && note.contains("while that program runs"),
        "{note}"
    );
    let (_, kept) = alloc(&server, &json!({"name": "app"}));
    assert_eq!(kept["leases"][0]["port"], port);
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn ranges_are_excluded_and_included_as_one() {
    let mut place = Place::with_ports(3);
    for serving in [false, true] {
        let server = serving.then(|| place.serve());
        let all = support::ranges(&place.ports);
        let wide = format!("{all},1-100");
        let output = place.run(&["exclude", &wide, "--reason", "bench"]);
        assert!(output.status.success(), "{output:?}");
        let listed = place.ok(&["exclude"]);
        assert!(listed.contains("1-100 "), "one row for a run: {listed}");
        assert_eq!(place.run(&["alloc"]).status.code(), Some(1));
        assert_eq!(place.json(&["exclude"]).as_array().unwrap().len(), 103);
        assert!(place.run(&["include", &wide]).status.success());
        let again = place.run(&["include", &wide]);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(place.run(&["alloc"]).status.success());
        assert_eq!(place.run(&["exclude", "10-5"]).status.code(), Some(2));
        if let Some(server) = server {
            let body = json!({"ports": "200-210", "protocol": "both"});
            let answer = server.api("PUT", "/api/v1/exclusions", Some(&body));
            assert_eq!((answer.status, &answer.json()["added"]), (200, &json!(22)));
            let path = "/api/v1/exclusions?ports=200-205&protocol=udp";
            assert_eq!(server.api("DELETE", path, None).status, 204);
            assert_eq!(server.api("DELETE", path, None).status, 404);
            assert!(server.stop().success());
            place.set("PORTBOOK_CONSOLE__ENABLED", "true");
            let server = place.serve();
            let list = server.get("/api/v1/exclusions").json();
            assert_eq!(list["exclusions"].as_array().unwrap().len(), 16, "{list}");
        }
    }
}

#[test]
fn configured_exclusion_moves_a_name_at_its_next_start() {
    let mut place = Place::with_ports(2);
    let server = place.serve();
    let (_, granted) = alloc(&server, &json!({"name": "web"}));
    let port = granted["leases"][0]["port"].as_u64().unwrap();
    assert!(server.stop().success());
    place.set("PORTBOOK_POOLS__DEFAULT__EXCLUDE", &port.to_string());
    let server = place.serve();
    let (status, moved) = alloc(&server, &json!({"name": "web"}));
    assert_eq!(
        (status, &moved["leases"][0]["port"]),
        (201, &json!(place.ports[1]))
    );
    assert_eq!(moved["moved"]["reason"], "configured");
}
