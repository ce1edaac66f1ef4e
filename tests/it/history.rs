//! The record of the past, through the real binary: exports, their sums, and that deleting rows keeps
//! the sums. Python recomputes the numbers from the rows.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, Server, occupant, text};

/// Runs a Python script with these arguments and returns the JSON that it prints.
fn python(script: &str, arguments: &[&str]) -> Value {
    let output = Command::new("python3")
        .args(["-c", script])
        .args(arguments)
        .output()
        .expect("python3 is there");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn database(place: &Place) -> String {
    let file = place.data_dir().join("portbook.db");
    file.to_str().unwrap().to_owned()
}

/// Content of a CSV file, as Python's reader sees it.
fn rows(csv: &str, folder: &Path) -> Vec<Value> {
    let file = folder.join("export.csv");
    std::fs::write(&file, csv).unwrap();
    let script = "import csv,json,sys\n\
        print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline='')))))";
    let rows = python(script, &[file.to_str().unwrap()]);
    rows.as_array().unwrap().clone()
}

fn seqs(rows: &[Value]) -> Vec<i64> {
    let seq = |row: &Value| row["seq"].as_str().unwrap().parse().unwrap();
    rows.iter().map(seq).collect()
}

/// A filter of the API as an SQL condition on the rows.
fn seqs_where(place: &Place, condition: &str) -> Vec<i64> {
    let script = "import json,sqlite3,sys\n\
        rows=sqlite3.connect(sys.argv[1]).execute('select seq from attempt where '+sys.argv[2]\
        +' order by seq desc')\nprint(json.dumps([seq for seq, in rows]))";
    let found = python(script, &[&database(place), condition]);
    serde_json::from_value(found).unwrap()
}

/// A few allocations that meet an occupant, and leases that end.
fn make_a_past(place: &Place) {
    let _occupant = occupant(place.ports[0]);
    let busy = place.ports[0].to_string();
    assert!(!place.run(&["alloc", "--port", &busy]).status.success());
    place.ok(&["alloc", "--count", "2"]);
    place.ok(&["alloc", "--interface", "loopback"]);
    place.ok(&["alloc", "--protocol", "udp", "--name", "web"]);
    place.ok(&["release", "web"]);
    place.ok(&["release", &place.ports[1].to_string()]);
}

#[test]
fn an_export_has_exactly_the_rows_that_were_asked_for() {
    let place = Place::with_ports(6);
    make_a_past(&place);
    let server = place.serve();
    let in_use = place.ports[0];
    let filters: [(&[&str], String); 7] = [
        (&[], "true".to_owned()),
        (&["--outcome", "in_use"], "outcome = 'in_use'".to_owned()),
        (&["--errno", "98"], "errno = 98".to_owned()),
        (&["--protocol", "udp"], "protocol = 'udp'".to_owned()),
        (
            &["--pool", "default", "--interface", "lo"],
            "pool = 'default' and interface = 'lo'".to_owned(),
        ),
        (
            &["--port", &format!("{in_use}-{in_use}")],
            format!("port = {in_use}"),
        ),
        (&["--until", "2020-01-01T00:00:00Z"], "false".to_owned()),
    ];
    for (arguments, condition) in &filters {
        let all = [&["history", "export"], *arguments].concat();
        let exported = rows(&place.ok(&all), place.folder());
        let wanted = seqs_where(&place, condition);
        assert_eq!(seqs(&exported), wanted, "{arguments:?}");
        assert!(
            condition == "false" || !wanted.is_empty(),
            "{condition} says nothing"
        );
    }
    // The API gives the same rows, and so does the export in lines.
    let streamed = server.get("/api/v1/history/attempts?outcome=in_use");
    assert_eq!(streamed.status, 200);
    assert!(streamed.head.contains("text/csv"), "{}", streamed.head);
    let lines = place.ok(&["history", "export", "--format", "jsonl", "--limit", "2"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let newest = seqs_where(&place, "true");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["seq"], newest[0]);
    assert!(server.stop().success());
    let afterwards = rows(&place.ok(&["history", "export"]), place.folder());
    assert!(seqs(&afterwards).ends_with(&newest));
}

#[test]
fn a_hostile_name_is_text_in_every_format() {
    let place = Place::with_ports(2);
    let hostile = "=1+1,\"\u{1b}[2J";
    let script = "import socket,sys\n\
        open('/proc/self/comm','w').write(sys.argv[2])\n\
        s=socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()\n\
        print(flush=True); sys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", script, &place.ports[0].to_string(), hostile])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.as_mut().unwrap()),
        &mut String::new(),
    )
    .unwrap();
    place.ok(&["alloc"]);
    let who = place.ok(&["who", &place.ports[0].to_string()]);
    child.kill().unwrap();
    child.wait().unwrap();

    let csv = place.ok(&["history", "export", "--outcome", "in_use"]);
    let read = rows(&csv, place.folder());
    assert_eq!(read.len(), 1, "{csv}");
    assert_eq!(read[0]["occupant_command"], "'=1+1,\"\u{fffd}[2J");
    let line = place.ok(&[
        "history",
        "export",
        "--format",
        "jsonl",
        "--outcome",
        "in_use",
    ]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["occupant"]["command"], hostile);
    let stats = place.ok(&["stats"]);
    for shown in [&csv, &who, &stats] {
        assert!(shown.contains("=1+1"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}

/// Statistics, from the rows.
const RECOMPUTE: &str = r"
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
rows = db.execute('select pool, interface, protocol, port, outcome, occupant from attempt').fetchall()
def sums(rows):
    got = sum(row[4] in ('bound', 'lingering') for row in rows)
    in_use = sum(row[4] == 'in_use' for row in rows)
    return {'attempts': len(rows), 'in_use': in_use, 'success_rate': got / len(rows)}
def by(key):
    groups = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: sums(rows) for name, rows in groups.items()}
occupants = {}
for row in rows:
    if row[5] is not None:
        name = json.loads(row[5]).get('command')
        occupants[name] = occupants.get(name, 0) + 1
lives = dict(db.execute('select state, count(*) from lease where ended_at_ms is not null group by state'))
granted, refused = db.execute('select sum(refusal is null), sum(refusal is not null) from allocation').fetchone()
print(json.dumps({
    'total': sums(rows), 'pools': by(lambda row: row[0]), 'interfaces': by(lambda row: row[1]),
    'ports': by(lambda row: '%d/%s' % (row[3], row[2])), 'occupants': occupants,
    'lives': lives,
    'granted': granted, 'refused': refused,
}))";

fn agree(told: &Value, computed: &Value) {
    assert_eq!(told["attempts"], computed["attempts"], "{told}");
    assert_eq!(told["in_use"], computed["in_use"], "{told}");
    let difference =
        told["success_rate"].as_f64().unwrap() - computed["success_rate"].as_f64().unwrap();
    assert!(difference.abs() < 1e-9, "{told}");
}

fn check_stats(stats: &Value, computed: &Value) {
    agree(&stats["total"], &computed["total"]);
    for (list, key) in [("pools", "pool"), ("interfaces", "interface")] {
        let told = stats[list].as_array().unwrap();
        assert_eq!(told.len(), computed[list].as_object().unwrap().len());
        for one in told {
            agree(one, &computed[list][one[key].as_str().unwrap()]);
        }
    }
    for one in stats["ports"].as_array().unwrap() {
        let port = format!("{}/{}", one["port"], one["protocol"].as_str().unwrap());
        agree(one, &computed["ports"][port]);
    }
    let conflicts = stats["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    for one in conflicts[0]["occupants"].as_array().unwrap() {
        let name = one["command"].as_str().unwrap();
        assert_eq!(one["attempts"], computed["occupants"][name]);
    }
    let sum = |list: &str, field: &str| -> u64 {
        let all = stats[list].as_array().unwrap().iter();
        all.map(|one| one[field].as_u64().unwrap()).sum()
    };
    for list in ["hours", "pools"] {
        assert_eq!(json!(sum(list, "granted")), computed["granted"]);
        assert_eq!(json!(sum(list, "refused")), computed["refused"]);
    }
    let lives = stats["leases"].as_array().unwrap();
    assert_eq!(lives.len(), computed["lives"].as_object().unwrap().len());
    for one in lives {
        let ending = one["state"].as_str().unwrap();
        assert_eq!(one["leases"], computed["lives"][ending]);
    }
}

#[test]
fn statistics_equal_sums_of_rows_and_survive_pruning() {
    let place = Place::with_ports(6);
    make_a_past(&place);
    let computed = python(RECOMPUTE, &[&database(&place)]);
    check_stats(&place.json(&["stats"]), &computed);
    // No lease changes, so the past stays as it is while the service starts.
    let mut pool = place.json(&["stats", "--pool", "default"]);
    agree(&pool["total"], &computed["pools"]["default"]);
    assert_eq!(pool["version"], 1);
    let saved = pool["saved"].take();
    assert!(saved.is_null() || saved["allocations"].is_u64());

    let would = place.json(&["history", "prune", "--keep", "1", "--dry-run"]);
    let all = computed["total"]["attempts"].as_u64().unwrap();
    assert_eq!(would["removed"]["attempts"], all - 1);
    assert_eq!(seqs_where(&place, "true").len() as u64, all);
    let done = place.json(&["history", "prune", "--keep", "1"]);
    assert_eq!(done["removed"], would["removed"]);
    assert_eq!(done["dry_run"], false);
    assert_eq!(seqs_where(&place, "true").len(), 1);
    check_stats(&place.json(&["stats"]), &computed);
    let days = rows(
        &place.ok(&["history", "export", "--kind", "days"]),
        place.folder(),
    );
    let sum: u64 = days
        .iter()
        .map(|day| day["attempts"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, all);
    // A name finds its port again after the deletion.
    let at = place.json(&["alloc", "--protocol", "udp", "--name", "web"]);
    assert_eq!(at["leases"][0]["port"], place.ports[0]);
}

#[test]
fn deleting_goes_on_beside_allocations_and_loses_nothing() {
    const CLIENTS: usize = 4;
    const PAIRS: usize = 60;
    let place = Place::with_ports(8);
    let server = place.serve();
    let pair = |server: &Server| {
        let granted = server.allocate(&json!({}));
        assert_eq!(granted.status, 201, "{granted:?}");
        let id = granted.json()["leases"][0]["id"].clone();
        let path = format!("/api/v1/leases/{}", id.as_str().unwrap());
        assert_eq!(server.api("DELETE", &path, None).status, 204);
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..PAIRS).for_each(|_| pair(&server)));
        }
        for _ in 0..10 {
            let request = json!({ "keep": 20 });
            let pruned = server.api("POST", "/api/v1/history/prune", Some(&request));
            assert_eq!(pruned.status, 200, "{pruned:?}");
        }
    });
    let stats = server.get("/api/v1/stats").json();
    let pool = stats["pools"].as_array().unwrap();
    let pool = pool.iter().find(|pool| pool["pool"] == "default").unwrap();
    // Two families each, on ports leased to this test alone.
    assert_eq!(pool["granted"], CLIENTS * PAIRS);
    assert_eq!(pool["bound"], 2 * CLIENTS * PAIRS);
    let path = "/api/v1/history/prune";
    let request = json!({ "keep": 20 });
    server.api("POST", path, Some(&request));
    let left = server.get("/api/v1/attempts?limit=1000").json();
    assert_eq!(left["attempts"].as_array().unwrap().len(), 20);
    let refused = server.web("POST", path, &[]);
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(server.stop().success());
    let healthy = python(
        "import json,sqlite3,sys\n\
         print(json.dumps(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone()))",
        &[&database(&place)],
    );
    assert_eq!(healthy, json!(["ok"]));
}

#[test]
fn old_rows_go_by_themselves_once_the_service_starts() {
    let mut place = Place::with_ports(6);
    make_a_past(&place);
    place.set("PORTBOOK_HISTORY__ATTEMPTS_MAX", "3");
    let server = place.serve();
    crate::tools::eventually("three attempts are left", || {
        let left = server.get("/api/v1/attempts").json();
        (left["attempts"].as_array().unwrap().len() == 3).then_some(())
    });
    assert!(server.stop().success());
}

#[test]
fn a_wrong_filter_is_named() {
    let place = Place::with_ports(1);
    let server = place.serve();
    for query in [
        "port=0",
        "port=9-8",
        "protocol=sctp",
        "outcome=nice",
        "since=yesterday",
        "errno=many",
        "colour=red",
        "format=csv",
    ] {
        let answer = server.get(&format!("/api/v1/attempts?{query}"));
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    let days = server.get("/api/v1/history/days?errno=98");
    assert_eq!(days.status, 400, "{days:?}");
    assert_eq!(server.get("/api/v1/history/leases").status, 404);
    for (arguments, code) in [
        (["export", "--since", "soon"], 2),
        (["export", "--outcome", "nice"], 2),
        (["prune", "--older-than", "never"], 2),
    ] {
        let all = [&["history"][..], &arguments].concat();
        assert_eq!(place.run(&all).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn command_who_shows_origin_and_past_of_a_process() {
    let place = Place::with_ports(2);
    let process = occupant(place.ports[0]);
    let port = place.ports[0].to_string();
    place.ok(&["alloc"]);
    for _server in [None, Some(place.serve())] {
        let found = place.json(&["who", &port]);
        let occupant = &found["occupants"][0];
        assert_eq!(occupant["pid"], process.0.id());
        assert_eq!(occupant["state"], "listening");
        let link = std::fs::read_link(format!("/proc/{}/exe", process.0.id())).unwrap();
        assert_eq!(occupant["executable"], link.to_str().unwrap());
        assert!(occupant["user"].is_string(), "{occupant}");
        assert!(occupant.get("arguments").is_none());
        assert_eq!(found["record"]["attempts"], 1);
        assert_eq!(found["record"]["in_use"], 1);
        assert_eq!(found["record"]["occupants"][0]["attempts"], 1);
        let text = place.ok(&["who", &port]);
        assert!(text.contains("1 attempts, 0.0 % got it"), "{text}");
        assert!(
            text.contains(&format!("program {}", link.display())),
            "{text}"
        );
        assert!(!text.contains("sys.stdin"), "a command line: {text}");
    }
}
