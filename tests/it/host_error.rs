//! A kernel that fails is neither the client's fault nor the disk's: the code is `host_error`.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::host::Host;
use crate::support::{Answer, Place};

const LEASES: &str = "/api/v1/leases";

/// The error number of a process without free descriptors.
const EMFILE: &str = "Too many open files";

fn assert_host_error(answer: &Answer, tells: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["code"], "host_error", "{problem}");
    assert_eq!(problem["title"], "Host error");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(tells) && detail.contains(EMFILE),
        "{detail}"
    );
}

#[test]
fn unreadable_socket_tables_are_a_host_error() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let calls = "socket,openat";
    let Some(fault) = Fault::fail(&server, calls, "EMFILE", "", "unreadable socket tables") else {
        return;
    };
    let look = server.api("POST", "/api/v1/snapshots", None);
    assert_host_error(&look, "socket tables");
    assert!(look.head.contains("retry-after"), "{}", look.head);
    let listeners = server.get("/api/v1/listeners");
    assert_host_error(&listeners, "socket tables");
    let port = server.api("GET", "/api/v1/ports/tcp/8080", None);
    assert_host_error(&port, "socket tables");
    assert_eq!(server.web("GET", "/ports/tcp/8080", &[]).status, 503);
    drop(fault);
    assert_eq!(server.api("POST", "/api/v1/snapshots", None).status, 201);
}

#[test]
fn an_unreadable_owner_is_a_host_error() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let body = json!({ "owner_pid": std::process::id() });
    let Some(fault) = Fault::fail(&server, "openat", "EMFILE", "", "an unreadable owner") else {
        return;
    };
    let refused = server.allocate(&body);
    assert_host_error(&refused, "cannot look at process");
    drop(fault);
    assert_eq!(server.allocate(&body).status, 201);
}

#[test]
fn unreadable_interfaces_are_a_host_error() {
    let test = "unreadable interfaces";
    let Some(host) = Host::plain(test) else {
        return;
    };
    let place = Place::on(vec![20_001], vec![20_002]);
    let server = host.serve(&place);
    let ask = |method, path| host.api(&server, method, path, &Value::Null);
    let Some(fault) = Fault::fail(&server, "socket", "EMFILE", "", test) else {
        return;
    };
    // The service reads its interfaces again only after a change.
    host.ok("ip", &["address", "add", "10.99.0.1/32", "dev", "lo"]);
    let body = json!({ "interfaces": ["127.0.0.1"] });
    let refused = host.api(&server, "POST", LEASES, &body);
    assert_host_error(&refused, "network interfaces");
    assert_host_error(&ask("GET", "/api/v1/interfaces"), "network interfaces");
    drop(fault);
    assert_eq!(ask("GET", "/api/v1/interfaces").status, 200);
}
