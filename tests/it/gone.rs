//! Work trees that are deleted give their ports back, by themselves and on request.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Place, text};
use crate::tools::eventually;

/// A place whose pool ends leases one second after their folder is gone.
fn forgetful() -> Place {
    let mut place = Place::with_ports(4);
    place.set("PORTBOOK_POOLS__DEFAULT__GONE_AFTER", "1s");
    place
}

/// A project in a folder of its own.
fn tree(place: &Place, name: &str) -> PathBuf {
    let folder = place.folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let project = format!("[services.web]\nprefer = {}\n", place.ports[2]);
    std::fs::write(folder.join("portbook.toml"), project).unwrap();
    folder.canonicalize().unwrap()
}

fn portbook(place: &Place, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = place.command();
    command.current_dir(folder).args(arguments);
    command
}

fn ran(place: &Place, folder: &Path) {
    let run = ["run", "--service", "web", "--", "true"];
    assert!(portbook(place, folder, &run).status().unwrap().success());
}

fn leases(place: &Place) -> Vec<Value> {
    let list = place.json(&["list", "--pool", "default"]);
    list["leases"].as_array().unwrap().clone()
}

fn folders(place: &Place) -> Vec<String> {
    let leases = leases(place);
    let folders = leases.iter().map(|lease| lease["directory"].as_str());
    folders.map(|folder| folder.unwrap().to_owned()).collect()
}

/// Waits until the service has seen this number of folders.
fn until_seen(place: &Place, count: usize) {
    let query = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute(\
        'select count(*) from lease where scope_device is not null').fetchone()[0])";
    eventually("the folders are seen", || {
        let mut command = Command::new("python3");
        let file = place.data_dir().join("portbook.db");
        let output = command.args(["-c", query]).arg(file).output().unwrap();
        (text(&output.stdout).trim() == count.to_string()).then_some(())
    });
}

#[test]
fn deleted_work_trees_free_their_ports_by_themselves() {
    let place = forgetful();
    let [kept, deleted] = ["kept", "deleted"].map(|name| tree(&place, name));
    let server = place.serve();
    ran(&place, &deleted);
    ran(&place, &kept);
    until_seen(&place, 2);
    std::fs::remove_dir_all(&deleted).unwrap();
    eventually("its lease ends", || {
        (folders(&place).len() == 1).then_some(())
    });
    assert_eq!(folders(&place), [kept.to_str().unwrap()]);
    let log = server.log();
    let said = format!("the folder of web of {} is gone", deleted.display());
    assert!(log.contains(&said), "{log}");
    let events = server.web("GET", "/", &[]).body;
    assert!(events.contains("expired: its folder is gone"), "{events}");
}

#[test]
fn folders_deleted_while_no_service_ran_count_as_well() {
    let place = forgetful();
    let [deleted, never_seen] = ["deleted", "never"].map(|name| tree(&place, name));
    let server = place.serve();
    ran(&place, &deleted);
    until_seen(&place, 1);
    server.stop();
    // Without a service the folder is never seen while it exists.
    ran(&place, &never_seen);
    for folder in [&deleted, &never_seen] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    let _server = place.serve();
    eventually("its lease ends", || {
        (folders(&place).len() == 1).then_some(())
    });
    assert_eq!(folders(&place), [never_seen.to_str().unwrap()]);
}

#[test]
fn programs_keep_the_lease_of_a_deleted_folder() {
    let place = forgetful();
    let [used, unused] = ["used", "unused"].map(|name| tree(&place, name));
    let _server = place.serve();
    let mut program = portbook(&place, &used, &["run", "--service", "web", "--", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it has its port", || {
        (folders(&place).len() == 1).then_some(())
    });
    ran(&place, &unused);
    until_seen(&place, 2);
    for folder in [&used, &unused] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    eventually("the other one ends", || {
        (folders(&place).len() == 1).then_some(())
    });
    assert_eq!(folders(&place), [used.to_str().unwrap()]);
    let gone = place.run(&["release", "--gone"]);
    assert!(text(&gone.stderr).contains("no lease of yours"), "{gone:?}");
    drop(program.stdin.take());
    program.wait().unwrap();
    eventually("it ends after its program", || {
        folders(&place).is_empty().then_some(())
    });
}

#[test]
fn doctor_tells_of_gone_folders_and_release_mends_it() {
    let place = Place::with_ports(4);
    let [kept, deleted] = ["kept", "deleted"].map(|name| tree(&place, name));
    let _server = place.serve();
    ran(&place, &deleted);
    ran(&place, &kept);
    let findings = || {
        let found: Value =
            serde_json::from_slice(&place.run(&["--json", "doctor"]).stdout).unwrap();
        let findings = found["findings"].as_array().unwrap().clone();
        let of_folders = findings.into_iter().find(|it| it["check"] == "folders");
        of_folders.unwrap_or_default()
    };
    assert_eq!(findings(), Value::Null);
    std::fs::remove_dir_all(&deleted).unwrap();
    let found = findings();
    let message = found["message"].as_str().unwrap();
    let told = format!("web ({}) keeps {}", deleted.display(), place.ports[2]);
    assert!(message.contains(&told), "{message}");
    assert_eq!(found["command"], "portbook release --gone");
    let output = place.run(&["release", "--gone"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told = format!(
        "released {}/tcp of web ({})",
        place.ports[2],
        deleted.display()
    );
    assert!(said.contains(&told), "{said}");
    assert_eq!(folders(&place), [kept.to_str().unwrap()]);
    assert_eq!(findings(), Value::Null);
    // The main tree has its preferred port again, once its substitute is given up.
    let release = portbook(&place, &kept, &["release", "web"]).status();
    assert!(release.unwrap().success());
    let port = place.ports[2].to_string();
    let run = ["run", "--service", "web", "--port", &port, "--", "true"];
    assert!(portbook(&place, &kept, &run).status().unwrap().success());
}
