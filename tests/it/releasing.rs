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
