//! Claims: whether a listener becomes the owner of a lease of a folder that has none.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, Server, port, text};
use crate::tools::{Running, eventually};

const SERVE: &str = "import socket, sys\n\
    s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
    print('serves', flush=True); s.accept()";

fn serve(lease: &Value, folder: &Path) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", SERVE, &port(lease).to_string()]);
    command.current_dir(folder).env_remove("PWD");
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "serves");
    program
}

fn lease_of(server: &Server, folder: &Path) -> Value {
    let body = json!({ "name": "web", "scope": "dir", "directory": folder });
    let granted = server.allocate(&body);
    assert_eq!(granted.status, 201, "{granted:?}");
    granted.json()["leases"][0].clone()
}

fn until(server: &Server, lease: &Value, state: &str) -> Value {
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    eventually(state, || {
        let now = server.get(&path).json();
        (now["state"] == state).then_some(now)
    })
}

#[test]
fn lease_of_a_folder_is_claimed_from_within_alone() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let [tree, other] = ["tree", "other"].map(|name| place.folder().join(name));
    for folder in [&tree, &other] {
        std::fs::create_dir(folder).unwrap();
    }
    let lease = lease_of(&server, &tree);
    let occupant = serve(&lease, &other);
    until(&server, &lease, "lost");
    eventually("a word in the log", || {
        server.log().contains("an outsider listens").then_some(())
    });
    drop(occupant);
    until(&server, &lease, "handed");

    let owner = serve(&lease, &tree);
    let active = until(&server, &lease, "active");
    assert_eq!(active["owner"]["pid"], owner.pid());
}

#[test]
fn daemon_that_works_in_the_root_may_claim() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lease = lease_of(&server, place.folder());
    let owner = serve(&lease, Path::new("/"));
    let active = until(&server, &lease, "active");
    assert_eq!(active["owner"]["pid"], owner.pid());
}

#[test]
fn wait_for_a_name_fails_at_the_server_of_another_folder() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let [tree, other] = ["tree", "other"].map(|name| place.folder().join(name));
    for folder in [&tree, &other] {
        std::fs::create_dir(folder).unwrap();
    }
    let lease = lease_of(&server, &tree);
    let occupant = serve(&lease, &other);
    std::fs::write(tree.join("portbook.toml"), "[services.web]\n").unwrap();
    let mut wait = place.command();
    wait.current_dir(&tree)
        .args(["wait", "web", "--timeout", "20s"]);
    let output = wait.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    let named = format!("python3 (pid {})", occupant.pid());
    assert!(said.contains(&named) && said.contains("other"), "{said}");
}
