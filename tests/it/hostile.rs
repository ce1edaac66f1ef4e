//! Any user can choose process names and labels. Pages, tables and CSV must show them as text, never
//! as markup, as a formula, or as a command to a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::{Occupant, Place, Server};
use crate::tools::eventually;

/// A process name of 15 bytes, the most that the kernel keeps (`TASK_COMM_LEN`).
const COMMAND: &str = "=1<b>\"'\u{1b}[31m";

/// A process of that name. It listens on the port, if one is given.
fn hostile_process(port: Option<u16>) -> Occupant {
    let script = "import socket,sys\n\
        open('/proc/self/comm','w').write(sys.argv[2])\n\
        s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        if sys.argv[1]: s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()\n\
        print(flush=True); sys.stdin.read()";
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    let mut child: Child = Command::new("python3")
        .args(["-c", script, &port, COMMAND])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.as_mut().unwrap());
    said.read_line(&mut String::new()).unwrap();
    Occupant(child)
}

/// 128 characters of markup, quotes, controls and a turn of the writing direction.
fn label() -> String {
    let piece = "<img src=x onerror=alert(1)>\"'`&\u{1b}]0;\u{7}\u{202e}\r\n";
    piece.chars().cycle().take(128).collect()
}

/// Whether a character controls a terminal or changes the writing direction.
fn acts(c: char) -> bool {
    c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c)
}

fn page(server: &Server, path: &str) {
    let answer = server.web("GET", path, &[("Accept", "text/html")]);
    assert!(answer.status < 500, "{path}: {answer:?}");
    for markup in ["<img src=x", "1<b>"] {
        assert!(!answer.body.contains(markup), "{path} has {markup}");
    }
    let found = answer.body.find(acts);
    assert_eq!(found, None, "{path}: {:?}", answer.body);
}

#[test]
fn hostile_text_is_inert_on_pages_tables_and_csv() {
    let mut place = Place::with_ports(3);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "ordered");
    let taken = place.ports[0];
    let occupant = hostile_process(Some(taken));
    let owner = hostile_process(None);
    let server = place.serve();
    let wanted = json!({
        "name": "web", "prefer": taken, "labels": {"team": label(), label(): "x"},
        "owner_pid": owner.0.id(),
    });
    let granted = server.allocate(&wanted);
    assert_eq!(granted.status, 201, "{granted:?}");
    let granted = granted.json();
    let lease = &granted["leases"][0];
    assert_eq!(lease["labels"]["team"], label());
    let refused = server.allocate(&json!({"port": taken}));
    assert_eq!(refused.status, 409, "{refused:?}");

    let (id, port) = (lease["id"].as_str().unwrap(), &lease["port"]);
    // It came through the gate, and is neither the owner nor a child of it.
    let outsider = hostile_process(port.as_u64().map(|port| u16::try_from(port).unwrap()));
    let lost = || {
        let lease = server.get(&format!("/api/v1/leases/{id}"));
        (lease.json()["state"] == "lost").then_some(())
    };
    eventually("the lease is lost", lost);
    let allocation = granted["allocation"].as_str().unwrap();
    for path in [
        "/",
        "/map",
        "/map?as=table",
        "/leases",
        "/attempts",
        "/conflicts",
        "/interfaces",
        "/fleet",
        "/status",
        "/config",
        "/try",
        "/login",
        "/api",
        "/errors/port_in_use",
        "/search?q=name:web",
        "/leases?name=web",
        "/search?q=%1b%5b31m%3Cb%3E%e2%80%ae",
        "/leases?name=%3Cb%3E%1b",
        "/leases?group=project",
        "/leases?group=label:%3Cb%3E%1b",
        "/attempts?name=%3Cb%3E%1b",
    ] {
        page(&server, path);
    }
    let conflicts = server.web("GET", "/conflicts", &[]).body;
    assert!(conflicts.contains("1&#60;b&#62;"), "{conflicts}");
    page(&server, &format!("/map?port={taken}"));
    page(&server, &format!("/ports/tcp/{taken}"));
    page(&server, &format!("/ports/tcp/{port}"));
    page(&server, &format!("/leases/{id}"));
    page(&server, &format!("/allocations/{allocation}"));
    page(&server, &format!("/try?port={taken}"));
    page(&server, &format!("/try?prefer={taken}"));
    // The reason of a move stands beside the lease.
    let listed = server.web("GET", "/leases", &[]).body;
    let reason = format!("instead of {taken}: <bdi>in use by =1&#60;b&#62;");
    assert!(listed.contains(&reason), "{listed}");

    let csv = server.get("/api/v1/history/attempts?format=csv").body;
    assert!(csv.contains("'=1<b>"), "{csv}");
    assert_eq!(csv.replace("\r\n", "\n").find(acts), None, "{csv:?}");
    let (taken, port) = (taken.to_string(), port.to_string());
    for command in [
        &["list"][..],
        &["list", "--all"],
        &["who", &taken],
        &["who", &port],
        &["explain", "web"],
        &["explain", allocation],
        &["stats"],
        &["report"],
        &["status"],
        &["interfaces"],
        &["history", "export", "--format", "csv"],
    ] {
        let printed = place.ok(command).replace("\r\n", "\n");
        assert_eq!(printed.find(acts), None, "{command:?}: {printed:?}");
    }
    drop((occupant, outsider));
}
