//! Files of the record that are deleted, replaced, cut or shut under the service (B14 to B16): it says so,
//! keeps every lease, and makes the record anew.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::host::skipped;
use crate::probe::is_kept;
use crate::support::{Place, Server, port, text};
use crate::tools::{ended, eventually};

const ALLOCATIONS: &str = "/api/v1/allocations";

/// A service with leases of each kind.
fn with_leases(place: &Place) -> (Server, Vec<Value>) {
    let server = place.serve();
    let mut leases = Vec::new();
    for wanted in [
        json!({ "count": 3, "ttl": "1h" }),
        json!({ "name": "kept" }),
    ] {
        let granted = server.allocate(&wanted).json();
        leases.extend(granted["leases"].as_array().unwrap().clone());
    }
    (server, leases)
}

/// Waits until the service has made its record anew for the nth time.
fn is_anew(server: &Server, nth: usize) {
    eventually("the record is made anew", || {
        let log = server.log();
        (log.matches("are made anew").count() >= nth).then_some(())
    });
    eventually("the socket is made again", || {
        server.socket().exists().then_some(())
    });
    eventually("the service is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
}

/// Kills the service, starts it again, and checks that every lease is there.
fn restarted(place: &Place, server: Server, leases: &[Value]) -> Server {
    server.kill();
    let server = place.serve();
    let living = server.living("default");
    for lease in leases {
        let kept = living.iter().find(|living| living["id"] == lease["id"]);
        assert_eq!(
            kept.unwrap_or_else(|| panic!("{lease} is lost"))["port"],
            lease["port"]
        );
        assert!(is_kept(port(lease)), "{lease}");
    }
    server
}

fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

fn delete_files(folder: &Path) {
    for path in in_folder(folder) {
        std::fs::remove_file(path).unwrap();
    }
}

fn delete_folder(folder: &Path) {
    let away = folder.with_extension("away");
    std::fs::rename(folder, &away).unwrap();
    std::fs::remove_dir_all(&away).unwrap();
}

/// Something that happens to the data directory.
type Harm = fn(&Path);

fn database(folder: &Path) -> PathBuf {
    folder.join("portbook.db")
}

#[test]
fn deleted_and_replaced_files_are_made_anew_with_their_history() {
    let harms: [(&str, Harm); 5] = [
        ("file", |folder| {
            std::fs::remove_file(database(folder)).unwrap();
        }),
        ("all files", delete_files),
        ("folder", delete_folder),
        ("replaced", |folder| {
            let copy = folder.join("copy");
            std::fs::write(&copy, "not a record").unwrap();
            std::fs::rename(copy, database(folder)).unwrap();
        }),
        ("ledger", |folder| {
            let ledgers = ["ledger-0", "ledger-1"].map(|name| folder.join(name));
            let there = ledgers.iter().filter(|path| path.exists());
            there.for_each(|path| std::fs::remove_file(path).unwrap());
        }),
    ];
    let place = Place::with_ports(20);
    let (mut server, mut leases) = with_leases(&place);
    for (what, harm) in harms {
        let fresh = server.allocate(&json!({})).json();
        leases.push(fresh["leases"][0].clone());
        let before = server.log().matches("are made anew").count();
        harm(&place.data_dir());
        is_anew(&server, before + 1);
        let explained = format!("{ALLOCATIONS}/{}", fresh["allocation"].as_str().unwrap());
        assert_eq!(
            server.get(&explained).status,
            200,
            "{what}: its history is gone"
        );
        let more = server.allocate(&json!({})).json();
        let mut serve = place.command();
        serve.arg("serve");
        let refused = ended(serve);
        let told = text(&refused.stderr);
        assert!(
            told.contains("in use by another portbook service"),
            "{what}: {told}"
        );
        leases.push(more["leases"][0].clone());
        server = restarted(&place, server, &leases);
    }
    let aside = place.data_dir().join("portbook.db.aside-1");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "not a record");
}

#[test]
fn cut_files_are_made_anew_from_the_leases_in_memory() {
    let harms: [Harm; 2] = [
        |folder| {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(database(folder));
            file.unwrap().set_len(100).unwrap();
        },
        |folder| {
            for name in ["ledger-0", "ledger-1"] {
                let file = std::fs::OpenOptions::new()
                    .write(true)
                    .open(folder.join(name));
                if let Ok(file) = file {
                    file.set_len(3).unwrap();
                }
            }
        },
    ];
    let place = Place::with_ports(8);
    let (mut server, leases) = with_leases(&place);
    place.ok(&["exclude", &place.ports[7].to_string()]);
    for harm in harms {
        server.allocate(&json!({ "name": "kept" }));
        harm(&place.data_dir());
        // One end and one renewal reach the service before or after it notices.
        let id = leases[0]["id"].as_str().unwrap();
        let renewed = server.api(
            "POST",
            &format!("/api/v1/leases/{id}/renew"),
            Some(&json!({ "ttl": "2h" })),
        );
        assert_eq!(renewed.status, 200, "{renewed:?}");
        is_anew(&server, 1);
        server = restarted(&place, server, &leases);
        assert!(place.ok(&["exclude"]).contains(&place.ports[7].to_string()));
    }
}

#[test]
fn record_that_cannot_be_made_anew_is_told_and_leases_go_on() {
    let place = Place::with_ports(6);
    let (server, leases) = with_leases(&place);
    let folder = place.data_dir();
    // A connection that is open outlives the file of its socket.
    let kept = UnixStream::connect(server.socket()).unwrap();
    let away = folder.with_extension("away");
    std::fs::write(&away, "").unwrap();
    // A file in the place of the folder, at once: the service makes a missing folder again.
    renameat_with(CWD, &away, CWD, &folder, RenameFlags::EXCHANGE).unwrap();
    let token = std::fs::read_to_string(away.join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let told = eventually("it is not ready", || {
        let ready = server.web("GET", "/readyz", &[]);
        (ready.status == 503).then_some(ready.body)
    });
    assert!(told.contains(folder.to_str().unwrap()), "{told}");
    let authorized = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let refused = server.web("POST", "/api/v1/leases", &authorized);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains(folder.to_str().unwrap()),
        "{refused:?}"
    );
    let path = format!("/api/v1/leases/{}", leases[0]["id"].as_str().unwrap());
    assert_eq!(server.web("DELETE", &path, &authorized).status, 204);
    assert!(is_kept(port(&leases[1])) && !is_kept(port(&leases[0])));
    drop(kept);
    std::fs::remove_file(&folder).unwrap();
    is_anew(&server, 1);
    let server = restarted(&place, server, &leases[1..]);
    assert_eq!(server.get(&path).json()["state"], "released");
}

#[test]
fn folder_that_is_shut_is_told_until_it_opens() {
    let place = Place::with_ports(6);
    let (server, leases) = with_leases(&place);
    let shut = |how: &str| {
        let mut command = Command::new("chattr");
        let done = command.arg(how).arg(place.data_dir()).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !shut("+i") {
        skipped("a shut folder", "chattr +i does not work here");
        return;
    }
    let told = eventually("it is not ready", || {
        let ready = server.get("/readyz");
        (ready.status == 503).then_some(ready.body)
    });
    let refused = server.allocate(&json!({}));
    let path = format!("/api/v1/leases/{}", leases[0]["id"].as_str().unwrap());
    let released = server.api("DELETE", &path, None).status;
    assert!(shut("-i"));
    assert!(
        told.contains("cannot be written") && told.contains("let portbook write"),
        "{told}"
    );
    assert_eq!((refused.status, released), (503, 204), "{refused:?}");
    eventually("the service is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    assert_eq!(server.allocate(&json!({})).status, 201);
    restarted(&place, server, &leases[1..]);
}

#[test]
fn program_that_reads_the_record_takes_nothing_from_the_service() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let file = place.data_dir().join("portbook.db");
    server.allocate(&json!({ "ttl": "1h" }));
    // The service looks at its files each second, and nothing tells when. The last program to close the
    // record would delete the log.
    let read = "import os, sqlite3, sys, time
end = time.monotonic() + 3
while time.monotonic() < end:
    reader = sqlite3.connect(sys.argv[1])
    reader.execute('select count(*) from lease').fetchall()
    reader.close()
    assert os.path.exists(sys.argv[1] + '-wal'), 'the log was deleted'";
    let mut python = Command::new("python3");
    let output = python.args(["-c", read]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let granted = server.allocate(&json!({ "name": "kept" })).json();
    assert_eq!(server.get("/readyz").status, 200);
    server.kill();
    let server = place.serve();
    let kept = &granted["leases"][0]["id"];
    let living = server.living("default");
    assert!(
        living.iter().any(|lease| lease["id"] == *kept),
        "{living:?}"
    );
}
