//! Damage of the record while no service runs: it is told at the start, and `doctor --record` repairs it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Place, Server, text};
use crate::tools::eventually;

const PAGE: usize = 4096;

fn names(server: &Server) -> Vec<String> {
    let living = server.living("default");
    let mut names: Vec<String> = living
        .iter()
        .map(|lease| lease["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Overwrites pages of a file, from `first` on.
fn overwrite(file: &Path, first: u64, count: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    for page in first..first + count {
        file.write_all_at(&[0xa5; PAGE], page * PAGE as u64)
            .unwrap();
    }
}

/// The file of the ledger that has entries.
fn ledger(place: &Place) -> PathBuf {
    let files = ["ledger-0", "ledger-1"].map(|name| place.data_dir().join(name));
    let longest = files
        .iter()
        .max_by_key(|file| std::fs::metadata(file).map_or(0, |found| found.len()));
    longest.unwrap().clone()
}

#[test]
fn damaged_commits_of_the_ledger_are_told_and_the_others_kept() {
    let place = Place::with_ports(40);
    let server = place.serve();
    // All entries wait in the ledger while another program has the tables locked.
    let tables = rusqlite::Connection::open(place.data_dir().join("portbook.db")).unwrap();
    tables.execute_batch("begin immediate").unwrap();
    let granted: Vec<Value> = (0..30)
        .map(|_| server.allocate(&json!({ "ttl": "1h" })).json()["leases"][0].clone())
        .collect();
    server.kill();
    drop(tables);
    let file = ledger(&place);
    let mut bytes = std::fs::read(&file).unwrap();
    let id = granted[15]["id"].as_str().unwrap().replace('-', "");
    let id = hex::decode(id).unwrap();
    let place_of = bytes.windows(id.len()).position(|window| window == id);
    bytes[place_of.expect("the commit waits in the ledger")] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let server = place.serve();
    let living = server.living("default");
    let is_kept = |lease: &&Value| living.iter().any(|living| living["id"] == lease["id"]);
    assert_eq!(
        granted.iter().filter(is_kept).count(),
        29,
        "one commit is lost"
    );
    assert!(!is_kept(&&granted[15]));
    let ready = server.get("/readyz?verbose");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("1 commit is lost"), "{ready:?}");
    assert!(
        server.log().contains("the ledger is damaged"),
        "{}",
        server.log()
    );
}

#[test]
fn damaged_tables_are_told_and_repaired_into_a_new_file() {
    let place = Place::with_ports(60);
    let server = place.serve();
    for number in 0..50 {
        let name = format!("n{number:02}");
        let granted =
            server.allocate(&json!({ "name": name, "labels": { "filler": "x".repeat(60) } }));
        assert_eq!(granted.status, 201, "{granted:?}");
    }
    assert!(server.stop().success());
    assert!(place.ok(&["doctor", "--record"]).contains("is whole"));
    let file = place.data_dir().join("portbook.db");
    let page = root_page(&file, "attempt_row");
    overwrite(&file, page - 1, 1);
    let damaged = std::fs::read(&file).unwrap();

    let output = place.run(&["--json", "doctor", "--record"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!report["faults"].as_array().unwrap().is_empty(), "{report}");
    let kept = report["kept"].as_str().unwrap();
    assert!(kept.ends_with("portbook.db.aside-1"), "{kept}");
    assert!(
        std::fs::read(kept).unwrap().len() >= damaged.len(),
        "the old file stays"
    );
    let rows = |table: &str| {
        let mut rows = report["rows"].as_array().unwrap().iter();
        rows.find(|rows| rows["table"] == table).unwrap().clone()
    };
    // With the console's.
    assert_eq!(rows("lease_row")["copied"], 51, "{report}");
    assert!(
        rows("attempt_row")["lost"].as_u64().unwrap() >= 51,
        "{report}"
    );

    assert!(place.ok(&["doctor", "--record"]).contains("is whole"));
    let server = place.serve();
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(names(&server).len(), 50);
    let answer = place.run(&["doctor", "--record"]);
    assert_eq!(answer.status.code(), Some(4), "nothing was checked");
    assert!(
        text(&answer.stderr).contains("in use by another portbook service"),
        "{answer:?}"
    );

    // Nothing but the ledger can be read of this one.
    let fresh = server.allocate(&json!({ "ttl": "1h" })).json()["leases"][0].clone();
    server.kill();
    // SQLite's log may have the first page too.
    let log = place.data_dir().join("portbook.db-wal");
    std::fs::remove_file(log).unwrap();
    overwrite(&file, 0, 1);
    let output = place.run(&["doctor", "--record"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stdout).contains("portbook.db.aside-2"),
        "{output:?}"
    );
    let living = place.serve().living("default");
    assert!(
        living.iter().any(|lease| lease["id"] == fresh["id"]),
        "{living:?}"
    );
}

#[test]
fn damage_beside_the_leases_is_told_by_a_service_that_starts() {
    let place = Place::with_ports(4);
    let server = place.serve();
    for _ in 0..200 {
        let granted = server.allocate(&json!({})).json();
        server.release(granted["leases"][0]["id"].as_str().unwrap());
    }
    server.allocate(&json!({ "name": "kept" }));
    assert!(server.stop().success());
    let file = place.data_dir().join("portbook.db");
    let page = root_page(&file, "attempt_row");
    overwrite(&file, page - 1, 1);
    let server = place.serve();
    assert_eq!(names(&server), ["kept"]);
    eventually("the damage is told", || {
        let ready = server.get("/readyz?verbose");
        ready.body.contains("doctor --record").then_some(())
    });
    assert!(
        server.log().contains("the record is damaged"),
        "{}",
        server.log()
    );
}

#[test]
fn lease_that_changed_on_the_disk_is_told_by_name_and_repaired() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let granted = server.allocate(&json!({ "name": "kept" })).json()["leases"][0].clone();
    assert!(server.stop().success());
    let file = place.data_dir().join("portbook.db");
    let change = "update lease_row set labels = json_object('a', 'b') where name = 'kept'";
    let connection = rusqlite::Connection::open(&file).unwrap();
    assert_eq!(connection.execute(change, []).unwrap(), 1);
    drop(connection);

    let expected = format!(
        "lease {} (port {}) is not as it was written",
        text_of(&granted["id"]),
        granted["port"]
    );
    let server = place.serve();
    eventually("the damage is told", || {
        let ready = server.get("/readyz?verbose");
        ready.body.contains(&expected).then_some(())
    });
    assert_eq!(names(&server), ["kept"]);
    assert!(server.stop().success());
    let output = place.run(&["doctor", "--record"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains(&expected), "{output:?}");
    assert!(place.ok(&["doctor", "--record"]).contains("is whole"));
    assert_eq!(names(&place.serve()), ["kept"]);
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Number of the root page of a table.
fn root_page(file: &Path, table: &str) -> u64 {
    let connection = rusqlite::Connection::open(file).unwrap();
    let query = "select rootpage from sqlite_schema where name = ?1";
    let page: i64 = connection
        .query_row(query, [table], |row| row.get(0))
        .unwrap();
    page.unsigned_abs()
}
