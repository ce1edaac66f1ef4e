//! Releasing on the console: it asks if a program listens, and reports the outcome truthfully.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::pages::{cookie, send};
use crate::support::{Answer, Occupant, Place, Server, text};
use crate::tools::eventually;

/// A program that listens under a name; the service has seen it.
fn running(place: &Place, server: &Server, name: &str) -> (Occupant, Value) {
    let child = place
        .command()
        .args([
            "run",
            "--name",
            name,
            "--",
            "python3",
            "-m",
            "http.server",
            "{port}",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Occupant(child);
    let lease = eventually("it is seen to listen", || {
        let path = format!("/api/v1/leases?name={name}&state=active");
        let list = server.get(&path).json();
        list["leases"].as_array().unwrap().first().cloned()
    });
    (child, lease)
}

fn idle(server: &Server, name: &str) -> Value {
    let granted = server.allocate(&json!({"name": name}));
    granted.json()["leases"][0].clone()
}

fn state(server: &Server, lease: &Value) -> String {
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    let lease = server.get(&path).json();
    lease["state"].as_str().unwrap().to_owned()
}

fn target(answer: &Answer) -> String {
    let mut lines = answer.head.lines();
    let line = lines.find_map(|line| line.strip_prefix("location: "));
    line.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// The notices of a page.
fn said(page: &Answer) -> &str {
    let said = page.body.split_once("class=\"said\" role=\"status\">");
    let said = said.and_then(|(_, rest)| rest.split_once("</p>"));
    said.map_or("", |(said, _)| said)
}

#[test]
fn chosen_leases_with_listeners_are_asked_for() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let cookie = cookie(&server);
    let (program, web) = running(&place, &server, "web");
    let other = idle(&server, "other");
    let id = |lease: &Value| lease["id"].as_str().unwrap().to_owned();
    let form = format!(
        "back=%3Fpool%3Ddefault%26sort%3D-port&id={}&id={}",
        id(&web),
        id(&other)
    );
    let question = send(&server, "/leases/release", &cookie, &form);
    assert_eq!(question.status, 200, "{question:?}");
    let who = format!("python3 (pid {})", program.0.id());
    for part in [&*who, "Release anyway", "name=\"force\"", "1 other lease"] {
        assert!(question.body.contains(part), "no {part}: {question:?}");
    }
    let keep = "href=\"/leases?pool=default&#38;sort=-port\"";
    assert!(question.body.contains(keep), "{question:?}");
    assert_eq!(state(&server, &web), "active");
    assert_ne!(state(&server, &other), "released", "all or nothing");

    let done = send(
        &server,
        "/leases/release",
        &cookie,
        &format!("{form}&force=1"),
    );
    assert_eq!(done.status, 303, "{done:?}");
    let target = target(&done);
    assert!(
        target.starts_with("/leases?pool=default&sort=-port&"),
        "{target}"
    );
    let page = server.web("GET", &target, &[("Cookie", &cookie)]);
    let (port, other) = (&web["port"], &other["port"]);
    let told = format!("Released 2 leases: {port}/tcp; {who} still listens on it, {other}/tcp.");
    assert_eq!(said(&page), told);
    // Only permitted viewers see it, and only if it is true.
    let page = server.web("GET", &target, &[]);
    assert_eq!(said(&page), "");
    let wrong = target.replace("released=", "released=x%3Cb%3E,");
    assert_eq!(
        said(&server.web("GET", &wrong, &[("Cookie", &cookie)])),
        told
    );
}

#[test]
fn leases_without_listeners_are_released_at_once() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let cookie = cookie(&server);
    let leases = [idle(&server, "a"), idle(&server, "b")];
    let id = |lease: &Value| lease["id"].as_str().unwrap().to_owned();
    let form = format!("back=&id={}", id(&leases[0]));
    let done = send(&server, "/leases/release", &cookie, &form);
    assert_eq!(done.status, 303, "{done:?}");
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    assert_eq!(said(&page), format!("Released {}/tcp.", leases[0]["port"]));
    let nothing = send(&server, "/leases/release", &cookie, "back=%3Fq%3Dx");
    assert_eq!(target(&nothing), "/leases?q=x&said=nothing");
    let elsewhere = send(&server, "/leases/release", &cookie, "back=//evil.test/");
    assert!(target(&elsewhere).starts_with("/leases?"), "{elsewhere:?}");
    let path = format!("/leases/{}/release", id(&leases[1]));
    let done = send(&server, &path, &cookie, "");
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    assert_eq!(said(&page), format!("Released {}/tcp.", leases[1]["port"]));
    for part in ["<dt>Guard</dt>", "<dt>Lifetime</dt>"] {
        assert!(!page.body.contains(part), "{part} of an ended lease");
    }
}

#[test]
fn pages_of_leases_ask_before_they_release() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let cookie = cookie(&server);
    let (program, web) = running(&place, &server, "web");
    let id = web["id"].as_str().unwrap();
    let path = format!("/leases/{id}/release");
    let question = send(&server, &path, &cookie, "");
    assert!(question.body.contains("Release anyway"), "{question:?}");
    assert!(
        question.body.contains(&format!("action=\"{path}\"")),
        "{question:?}"
    );
    assert_eq!(state(&server, &web), "active");
    let done = send(&server, &path, &cookie, "force=1");
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    let pid = program.0.id();
    let told = format!(
        "Released {}/tcp; python3 (pid {pid}) still listens on it.",
        web["port"]
    );
    assert_eq!(said(&page), told);
}

/// The form that takes a release back, as its target and its fields.
fn undo(page: &Answer) -> (String, String) {
    let form = page.body.split_once("class=\"outcome\">");
    let form = form.and_then(|(_, rest)| rest.split_once("<form method=\"post\" action=\""));
    let form = form.and_then(|(_, rest)| rest.split_once("</form>"));
    let (form, _) = form.unwrap_or_else(|| panic!("no offer: {page:?}"));
    let (action, fields) = form.split_once('"').unwrap();
    let values = fields.split("name=\"id\" value=\"").skip(1);
    let ids = values.map(|rest| format!("id={}&", rest.split('"').next().unwrap()));
    (action.to_owned(), ids.collect::<String>() + "back=")
}

#[test]
fn release_of_a_running_program_is_taken_back() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let cookie = cookie(&server);
    let (program, web) = running(&place, &server, "web");
    let id = web["id"].as_str().unwrap();
    let path = format!("/leases/{id}/release");
    let done = send(&server, &path, &cookie, "force=1");
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    let (action, fields) = undo(&page);
    assert_eq!(action, format!("/leases/{id}/undo"));
    let others = server.web("GET", &target(&done), &[]);
    assert!(!others.body.contains(&action), "{others:?}");
    assert_eq!(send(&server, &action, "a=b", &fields).status, 401);
    assert_eq!(server.web("GET", &action, &[]).status, 405);

    let done = send(&server, &action, &cookie, &fields);
    assert_eq!(done.status, 303, "{done:?}");
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    let (port, pid) = (&web["port"], program.0.id());
    let told = format!("Leased again: {port}/tcp to python3 (pid {pid}).");
    assert_eq!(said(&page), told);
    let lease = server.get(&format!("/api/v1/leases/{id}")).json();
    assert_eq!(lease["state"], "active", "{lease}");
    assert_eq!(lease["owner"]["pid"], pid, "{lease}");
    assert_eq!(lease["name"], "web");
    let again = send(&server, &action, &cookie, &fields);
    assert_eq!(again.status, 303, "twice is as once: {again:?}");
    // It is kept for its name when the program ends, as before.
    drop(program);
    eventually("the name keeps the port", || {
        (state(&server, &web) == "reserved").then_some(())
    });
}

#[test]
fn releases_of_idle_leases_are_taken_back_together() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let cookie = cookie(&server);
    let leases = [idle(&server, "a"), idle(&server, "b")];
    let ids = leases.each_ref().map(|lease| lease["id"].as_str().unwrap());
    let form = format!("back=%3Fq%3Da&id={}&id={}", ids[0], ids[1]);
    let done = send(&server, "/leases/release", &cookie, &form);
    let page = server.web("GET", &target(&done), &[("Cookie", &cookie)]);
    assert!(page.body.contains("Take them back"), "{page:?}");
    assert!(
        page.body.contains("name=\"back\" value=\"?q=a\""),
        "{page:?}"
    );
    let (action, fields) = undo(&page);
    let done = send(&server, &action, &cookie, &fields);
    let list = target(&done);
    assert!(list.starts_with("/leases?undone="), "{list}");
    let page = server.web("GET", &list, &[("Cookie", &cookie)]);
    let [a, b] = leases.each_ref().map(|lease| &lease["port"]);
    assert_eq!(said(&page), format!("Leased again: {a}/tcp and {b}/tcp."));
    assert_eq!(
        leases.each_ref().map(|lease| state(&server, lease)),
        ["handed", "handed"]
    );
}

#[test]
fn release_is_not_taken_back_from_those_who_came_after() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let cookie = cookie(&server);
    let [first, second] = ["a", "b"].map(|name| idle(&server, name));
    let path =
        |lease: &Value, what: &str| format!("/leases/{}/{what}", lease["id"].as_str().unwrap());
    for lease in [&first, &second] {
        send(&server, &path(lease, "release"), &cookie, "");
    }
    // Its name has another port, and its port another lease.
    let elsewhere = server.allocate(&json!({"name": "a", "port": second["port"]}));
    assert_eq!(elsewhere.status, 201, "{elsewhere:?}");
    let refused = send(&server, &path(&first, "undo"), &cookie, "");
    assert!(refused.body.contains("name_taken"), "{refused:?}");
    let refused = send(&server, &path(&second, "undo"), &cookie, "");
    assert!(refused.body.contains("port_leased"), "{refused:?}");
    let moved = elsewhere.json()["leases"][0].clone();
    send(&server, &path(&moved, "release"), &cookie, "");
    // Its port was excluded meanwhile.
    let port = second["port"].to_string();
    place.ok(&["exclude", &port, "--reason", "a test bench"]);
    let refused = send(&server, &path(&second, "undo"), &cookie, "");
    assert!(refused.body.contains("port_excluded"), "{refused:?}");
    assert!(refused.body.contains("a test bench"), "{refused:?}");
    assert_eq!(state(&server, &second), "released");
    place.ok(&["include", &port]);
    // A program of the same user has the port now. It could claim a lease that waits for a listener, but
    // not one that was kept for its name alone.
    let kept = server.allocate(&json!({"name": "c", "port": first["port"], "reserve": true}));
    let kept = kept.json()["leases"][0].clone();
    send(&server, &path(&kept, "release"), &cookie, "");
    let _outsider =
        crate::support::occupant(u16::try_from(first["port"].as_u64().unwrap()).unwrap());
    let refused = send(&server, &path(&kept, "undo"), &cookie, "");
    assert!(refused.body.contains("port_in_use"), "{refused:?}");
    assert_eq!(state(&server, &kept), "released");
}

#[test]
fn pages_tell_folders_apart_and_open_services() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let folders = ["one", "two"].map(|name| {
        let folder = place.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("portbook.toml"), "[services.web]\n").unwrap();
        let mut command = place.command();
        let output = command.current_dir(&folder).arg("env").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        folder.canonicalize().unwrap()
    });
    let list = server.get("/api/v1/leases?name=web").json();
    let cookie = cookie(&server);
    let page = |path: &str| server.web("GET", path, &[("Cookie", &cookie)]).body;
    for lease in list["leases"].as_array().unwrap() {
        let folder = lease["directory"].as_str().unwrap();
        assert!(folders.iter().any(|known| known.to_str() == Some(folder)));
        let of_port = format!("/ports/tcp/{}", lease["port"]);
        let of_lease = format!("/leases/{}", lease["id"].as_str().unwrap());
        let found = format!("/leases?q={}", folder.rsplit('/').next().unwrap());
        let open = format!("href=\"{}\"", lease["url"].as_str().unwrap());
        for path in ["/", "/leases", &of_port, &of_lease, &found] {
            let page = page(path);
            assert!(page.contains(folder), "{path} without {folder}");
            assert!(page.contains(&open), "{path} without {open}");
        }
    }
    let found = page("/leases?q=one");
    assert!(!found.contains(folders[1].to_str().unwrap()), "{found}");
}

#[test]
fn lease_of_the_service_itself_is_not_released() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let cookie = cookie(&server);
    let list = server.get("/api/v1/leases?pool=console").json();
    let console = &list["leases"][0];
    let id = console["id"].as_str().unwrap();
    let refused = send(
        &server,
        "/leases/release",
        &cookie,
        &format!("id={id}&force=1"),
    );
    assert_eq!(refused.status, 403, "{refused:?}");
    let remembered = format!("/api/v1/leases/{id}?remember=true");
    assert_eq!(server.api("DELETE", &remembered, None).status, 403);
    let output = place.run(&["release", id, "--force"]);
    let said = text(&output.stderr);
    assert!(said.contains("the lease ends with the service"), "{said}");
    assert_ne!(state(&server, console), "released");
    let page = server.web("GET", "/leases", &[("Cookie", &cookie)]);
    assert!(
        !page.body.contains(&format!("value=\"{id}\"")),
        "it can be chosen"
    );
    let page = server.web("GET", &format!("/leases/{id}"), &[("Cookie", &cookie)]);
    assert!(!page.body.contains("/release\""), "{page:?}");
}

#[test]
fn page_of_a_released_lease_offers_to_take_it_back() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let cookie = cookie(&server);
    let path = format!("/leases/{}", idle(&server, "a")["id"].as_str().unwrap());
    let living = server.web("GET", &path, &[("Cookie", &cookie)]);
    assert!(living.body.contains("Set an end"), "it has none to put off");
    send(&server, &format!("{path}/release"), &cookie, "");
    for (login, offered) in [(&*cookie, true), ("", false)] {
        let page = server.web("GET", &path, &[("Cookie", login)]);
        assert_eq!(page.body.contains("Take it back"), offered, "{page:?}");
    }
}

#[test]
fn request_of_a_kept_name_says_that_it_kept_its_port() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let first = idle(&server, "web");
    let kept = server.allocate(&json!({"name": "web"})).json();
    assert_eq!(kept["leases"][0]["id"], first["id"]);
    let id = kept["allocation"].as_str().unwrap();
    let page = server.web("GET", &format!("/allocations/{id}"), &[]);
    for wrong in ["Nothing was granted", "were deleted"] {
        assert!(!page.body.contains(wrong), "{wrong}: {page:?}");
    }
}
