//! A full disk (B2): the service keeps what it has, refuses what is new, and goes on once there is room.

use serde_json::{Value, json};

use crate::probe::is_kept;
use crate::space::{LEASES, Volume, refused};
use crate::support::{Server, port, text};
use crate::tools::{Running, eventually};

fn path(lease: &Value) -> String {
    format!("{LEASES}/{}", lease["id"].as_str().unwrap())
}

#[test]
fn leases_go_on_and_end_while_the_disk_is_full() {
    let Some(volume) = Volume::new(8, "a full disk") else {
        return;
    };
    let server = volume.serve();
    let granted = server.allocate(&json!({ "count": 4, "ttl": "10m" })).json();
    let leases = granted["leases"].as_array().unwrap().clone();
    let named = server.allocate(&json!({ "name": "kept" })).json()["leases"][0].clone();
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("1000");
    let owner = Running::start(sleep);
    let orphan = server.allocate(&json!({ "owner_pid": owner.pid() })).json()["leases"][0].clone();
    volume.fill();
    let problem = refused(&server);
    let folder = volume.place.data_dir();
    let told = problem["detail"].as_str().unwrap();
    assert!(
        told.starts_with(&format!("no space is left in {}", folder.display()))
            && told.contains("make room"),
        "{told}"
    );

    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(
        ready.body.contains("fail record: ") && ready.body.contains("make room"),
        "{ready:?}"
    );
    // The commits that still fit into the ledger are not enough: many ends and renewals are taken up.
    for _ in 0..3 {
        let renew = format!("{}/renew", path(&leases[0]));
        assert_eq!(
            server
                .api("POST", &renew, Some(&json!({ "ttl": "1h" })))
                .status,
            200
        );
    }
    let again = server.allocate(&json!({ "name": "kept" }));
    assert_eq!(
        (again.status, &again.json()["leases"][0]["port"]),
        (200, &named["port"])
    );
    assert_eq!(
        server.release(leases[1]["id"].as_str().unwrap()).status,
        204
    );
    assert_eq!(server.get(&path(&leases[1])).json()["state"], "released");
    drop(owner);
    eventually("the end of the owner is seen", || {
        (server.get(&path(&orphan)).json()["state"] == "owner_gone").then_some(())
    });
    eventually("their holds are closed", || {
        (!is_kept(port(&leases[1])) && !is_kept(port(&orphan))).then_some(())
    });
    assert!(is_kept(port(&leases[0])) && is_kept(port(&named)));
    assert_eq!(server.allocate(&json!({})).status, 503);

    volume.empty();
    eventually("the service is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    assert_eq!(server.allocate(&json!({})).status, 201);
    let log = server.log();
    let failures =
        log.matches("could not fill the tables").count() + log.matches("could not commit").count();
    assert!((1..=2).contains(&failures), "{failures}: {log}");
    assert_eq!(log.matches("takes commits again").count(), 1, "{log}");
    server.kill();
    let server = volume.serve();
    assert_eq!(server.get(&path(&leases[1])).json()["state"], "released");
    assert_eq!(server.get(&path(&orphan)).json()["state"], "owner_gone");
    assert_eq!(server.living("default").len(), 5);
}

#[test]
fn service_that_has_releases_in_memory_alone_says_why_it_cannot_hand_over() {
    let Some(volume) = Volume::new(8, "a take-over on a full disk") else {
        return;
    };
    let server = volume.serve();
    let granted = server.allocate(&json!({ "count": 4, "ttl": "10m" })).json();
    let leases = granted["leases"].as_array().unwrap();
    volume.fill();
    refused(&server);
    for lease in leases {
        let id = lease["id"].as_str().unwrap();
        assert_eq!(server.release(id).status, 204);
    }
    let takeover = volume.command().arg("--takeover").output().unwrap();
    let said = String::from_utf8_lossy(&takeover.stderr);
    assert!(!takeover.status.success());
    assert!(
        said.contains("the running service cannot hand over") && said.contains("make room"),
        "{said}"
    );
    volume.empty();
    is_served_again(&server);
    let mut command = volume.command();
    command.arg("--takeover");
    let next = Server::start(command, &volume.folder());
    assert_eq!(next.living("default").len(), 0);
}

/// Starts on the full disk and checks that all is there, but new grants.
fn starts_with_all(volume: &Volume, leases: &[Value]) -> Server {
    let server = volume.serve();
    let living = server.living("default");
    for lease in leases {
        let kept = living.iter().find(|living| living["id"] == lease["id"]);
        assert_eq!(kept.unwrap()["port"], lease["port"]);
        assert!(is_kept(port(lease)), "{lease}");
    }
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("make room"), "{ready:?}");
    let status = server.get("/api/v1/status").json();
    assert_eq!(status["ready"], false, "{status}");
    assert!(
        server.log().contains("grants no port until"),
        "{}",
        server.log()
    );
    let problem = refused(&server);
    assert_eq!(problem["code"], "store_unavailable");
    server
}

fn is_served_again(server: &Server) {
    eventually("the service is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    let answer = server.allocate(&json!({}));
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.json()["leases"][0]["id"].clone();
    assert_eq!(server.release(id.as_str().unwrap()).status, 204);
}

#[test]
fn start_on_a_full_disk_takes_up_all_leases() {
    let Some(volume) = Volume::new(8, "a start on a full disk") else {
        return;
    };
    let server = volume.serve();
    let granted = server.allocate(&json!({ "count": 3, "ttl": "1h" })).json();
    let mut leases = granted["leases"].as_array().unwrap().clone();
    let named = server.allocate(&json!({ "name": "kept" })).json();
    leases.push(named["leases"][0].clone());
    volume.fill();
    refused(&server);
    // The ledger and the index of SQLite's log are as the kill left them.
    server.kill();
    let server = starts_with_all(&volume, &leases);
    server.kill();
    let server = starts_with_all(&volume, &leases);
    volume.empty();
    is_served_again(&server);
    assert!(server.stop().success());

    // Neither the ledger nor that index is there after a stop.
    volume.fill();
    let server = starts_with_all(&volume, &leases);
    volume.empty();
    is_served_again(&server);
    server.kill();
    let living = volume.serve().living("default");
    let ids: Vec<&Value> = living.iter().map(|lease| &lease["id"]).collect();
    assert!(
        leases.iter().all(|lease| ids.contains(&&lease["id"])),
        "{ids:?}"
    );
}

#[test]
fn service_without_a_token_starts_on_a_full_disk() {
    let Some(volume) = Volume::new(8, "a start without a token") else {
        return;
    };
    // Commands make a record, and no token.
    let lease: Value =
        serde_json::from_slice(&volume.run(&["--json", "alloc", "--name", "web"]).stdout).unwrap();
    let port_of_lease = port(&lease["leases"][0]);
    volume.fill();
    // The console gets no port on such a disk: the log says when the service is up.
    let mut child = Server::spawn(volume.command(), &volume.folder());
    let log = volume.folder().with_extension("log");
    let said = |word: &str| {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains(word)
    };
    eventually("it says that it has no token", || {
        said("could not store the console's token").then_some(())
    });
    eventually("the lease is held", || is_kept(port_of_lease).then_some(()));
    volume.empty();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn commands_tell_a_full_disk_first_and_doctor_finds_it() {
    let Some(volume) = Volume::new(8, "commands on a full disk") else {
        return;
    };
    assert!(volume.run(&["alloc", "--name", "web"]).status.success());
    volume.fill();
    let expected = format!("no space is left in {}", volume.place.data_dir().display());
    for command in [&["list"][..], &["explain", "web"], &["who", "22"]] {
        let output = volume.run(command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        assert!(told.starts_with(&format!("portbook: {expected}")), "{told}");
    }
    let (message, command) = record_finding(&volume);
    assert!(
        message.starts_with(&expected) && command.starts_with("df -h "),
        "{message}"
    );
    // A lack of room is no damage.
    let output = volume.run(&["doctor", "--record"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains(&expected) && told.contains("portbook.db:"),
        "{told}"
    );
    volume.empty();
    assert!(volume.run(&["doctor", "--record"]).status.success());
}

#[test]
fn folder_that_cannot_be_written_is_told_by_commands_and_doctor() {
    let Some(volume) = Volume::new(8, "a read-only volume") else {
        return;
    };
    assert!(volume.run(&["alloc", "--name", "web"]).status.success());
    volume.shut();
    let expected = format!(
        "data directory {} cannot be written",
        volume.place.data_dir().display()
    );
    for command in [&["list"][..], &["who", "22"], &["alloc"]] {
        let output = volume.run(command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        assert!(
            told.contains(&expected) && told.contains("--data-dir"),
            "{told}"
        );
        assert!(!told.contains("remove it"), "{told}");
    }
    let (message, _) = record_finding(&volume);
    assert!(message.starts_with(&expected), "{message}");
}

/// What `doctor` says about the record, with the command.
fn record_finding(volume: &Volume) -> (String, String) {
    let output = volume.run(&["--json", "doctor"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let found = findings
        .find(|finding| finding["check"] == "record")
        .unwrap();
    let word = |key: &str| found[key].as_str().unwrap().to_owned();
    (word("message"), word("command"))
}
