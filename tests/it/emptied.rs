//! A record whose file is empty or missing beside what is left of it: it is told, nothing is deleted, and
//! `doctor --record` saves what log and ledger have.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Place, port, text};
use crate::tools::ended;

fn record(place: &Place) -> PathBuf {
    place.data_dir().join("portbook.db")
}

/// Loss of the file.
type Harm = fn(&Path);

fn empty(file: &Path) {
    std::fs::write(file, "").unwrap();
}

fn delete(file: &Path) {
    std::fs::remove_file(file).unwrap();
}

/// Checks that commands and services refuse the record and say this.
fn is_refused(place: &Place, words: &[&str]) {
    for command in ["list", "alloc", "serve"] {
        let mut refused = place.command();
        refused.arg(command);
        let output = ended(refused);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        let words = words.iter().chain(&["is damaged", "doctor --record"]);
        for word in words {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}

#[test]
fn lost_file_of_a_killed_service_is_refused_and_saved_from_its_log() {
    let harms: [(Harm, &str); 2] = [(empty, "it is empty"), (delete, "it is missing beside")];
    for (harm, word) in harms {
        let place = Place::with_ports(4);
        let server = place.serve();
        let mut leases = Vec::new();
        for name in ["web", "api"] {
            leases.push(server.allocate(&json!({ "name": name })).json()["leases"][0].clone());
        }
        // They are in the tables, so in SQLite's log.
        assert_eq!(server.get("/api/v1/stats").status, 200);
        leases.push(server.allocate(&json!({ "name": "last" })).json()["leases"][0].clone());
        server.kill();
        let file = record(&place);
        let log = std::fs::read(file.with_extension("db-wal")).unwrap();
        harm(&file);
        is_refused(&place, &[word]);
        assert!(std::fs::read(file.with_extension("db-wal")).unwrap() == log);

        let output = place.run(&["doctor", "--record"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stdout);
        for word in [word, "4 living leases; how many were lost is not known"] {
            assert!(told.contains(word), "{told}");
        }
        let kept = place.data_dir().join("portbook.db.aside-1-wal");
        assert!(std::fs::read(kept).unwrap() == log, "the log stays");
        assert!(place.ok(&["doctor", "--record"]).contains("is whole"));
        let living = place.serve().living("default");
        for lease in &leases {
            let found = living.iter().find(|living| living["id"] == lease["id"]);
            assert_eq!(port(found.unwrap()), port(lease));
        }
    }
}

#[test]
fn empty_file_without_anything_to_save_is_refused_too() {
    let place = Place::with_ports(4);
    let server = place.serve();
    server.allocate(&json!({ "name": "web" }));
    assert!(server.stop().success());
    empty(&record(&place));
    is_refused(&place, &["it is empty"]);
    let output = place.run(&["doctor", "--record"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    let count = "0 living leases; how many were lost is not known";
    assert!(told.contains(count), "{told}");
    place.ok(&["alloc", "--name", "web"]);
}

#[test]
fn interrupted_first_start_recovers_by_itself() {
    let place = Place::with_ports(4);
    place.ok(&["token"]);
    // A start that was killed had not put its file in place.
    std::fs::write(place.data_dir().join("portbook.db.new"), "half").unwrap();
    place.ok(&["alloc", "--name", "web"]);
    assert!(!place.data_dir().join("portbook.db.new").exists());
    assert!(place.ok(&["doctor", "--record"]).contains("is whole"));
}

#[test]
fn overwritten_first_page_is_told_once_with_the_number_of_leases() {
    let place = Place::with_ports(4);
    place.ok(&["alloc", "--name", "web"]);
    let file = record(&place);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..4096].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let output = place.run(&["doctor", "--record"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(
        told.contains("0 living leases; how many were lost is not known"),
        "{told}"
    );
    assert_eq!(told.matches("not a database").count(), 1, "{told}");
}
