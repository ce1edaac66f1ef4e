//! The guard of console and API: Host names, tokens, foreign pages, bodies, file modes, and the security
//! headers of every answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::host::skipped;
use crate::support::{Answer, Place, Server};

const LEASES: &str = "/api/v1/leases";

/// Headers of every answer.
const SAFE: [&str; 7] = [
    "content-security-policy: default-src 'none'",
    "x-content-type-options: nosniff",
    "x-frame-options: deny",
    "referrer-policy: same-origin",
    "cross-origin-opener-policy: same-origin",
    "cross-origin-resource-policy: same-origin",
    "cache-control: no-store",
];

/// A request to the console as it goes over the wire, with its own name in Host.
fn wire(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers = headers.iter();
    let mut lines: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    let first = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close");
    lines.insert(0, first);
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// A request to the console with the token and a JSON body.
fn signed(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    signed_with(server, method, path, &[], body)
}

fn signed_with(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let bearer = format!("Bearer {}", server.token());
    let mut all = vec![("Authorization", &*bearer)];
    all.extend(headers);
    if !headers.iter().any(|(name, _)| *name == "Content-Type") {
        all.push(("Content-Type", "application/json"));
    }
    server.raw(&wire(method, path, &all, body))
}

/// Checks that an answer is a problem document with this code.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let head = answer.head.to_lowercase();
    assert!(
        head.contains("content-type: application/problem+json"),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("/errors/{code}"));
    assert_ne!(problem["detail"], "");
    assert_safe(answer);
}

fn assert_safe(answer: &Answer) {
    let head = answer.head.to_lowercase();
    for header in SAFE {
        assert!(head.contains(header), "no {header}: {answer:?}");
    }
}

fn lease_count(server: &Server) -> usize {
    let list = server.get(LEASES).json();
    list["leases"].as_array().unwrap().len()
}

#[test]
fn only_its_own_names_are_answered() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = server.console_port();
    let own = [
        format!("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: [::1]:{port}\r\n"),
        "GET /livez HTTP/1.1\r\nHost: LocalHost\r\n".to_owned(),
        "GET /livez HTTP/1.0\r\nHost: localhost\r\n".to_owned(),
        "GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
    ];
    for head in own {
        let answer = server.raw(&format!("{head}Connection: close\r\n\r\n"));
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"), "{head:?}");
    }
    let foreign = [
        "GET /livez HTTP/1.1\r\nHost: evil.test\r\n",
        "GET /livez HTTP/1.1\r\nHost: 127.0.0.1.evil.test\r\n",
        "GET /livez HTTP/1.1\r\nHost: 192.0.2.1\r\n",
        "GET /livez HTTP/1.1\r\nHost: \r\n",
        "GET /livez HTTP/1.1\r\nHost: :80\r\n",
        "GET /livez HTTP/1.0\r\n",
        "GET /livez HTTP/1.0\r\nHost: evil.test\r\n",
        "GET http://evil.test/livez HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/livez HTTP/1.1\r\nHost: evil.test\r\n",
        "GET /nowhere HTTP/1.1\r\nHost: evil.test\r\n",
        "POST /api/v1/leases HTTP/1.1\r\nHost: evil.test\r\n",
    ];
    for head in foreign {
        let answer = server.raw(&format!("{head}Connection: close\r\n\r\n"));
        assert_eq!(answer.status, 421, "{head:?}");
        assert_problem(&answer, 421, "misdirected_host");
    }
    // The parser refuses HTTP/1.1 without Host (RFC 9112, 3.2).
    let none = server.raw("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(none.status, 400, "{none:?}");
}

#[test]
fn a_configured_name_is_its_own_too() {
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_CONSOLE__ALLOWED_HOSTS", "box.test");
    let server = place.serve();
    for (host, status) in [("box.test:80", 200), ("other.test", 421)] {
        let head = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(server.raw(&head).status, status, "{host}");
    }
}

#[test]
fn changing_state_takes_the_token() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let token = server.token();
    let wrong = [
        format!("Bearer {}", "0".repeat(64)),
        format!("Bearer {}", &token[1..]),
        format!("Basic {token}"),
        token.clone(),
        "Bearer".to_owned(),
    ];
    let none = server.raw(&wire("POST", LEASES, &[], ""));
    assert_problem(&none, 401, "unauthorized");
    let head = none.head.to_lowercase();
    assert!(head.contains("www-authenticate: bearer"), "{none:?}");
    for given in &wrong {
        let answer = server.raw(&wire("POST", LEASES, &[("Authorization", given)], ""));
        assert_problem(&answer, 401, "unauthorized");
    }
    assert_eq!(lease_count(&server), 1, "the console's own alone");

    let granted = signed(&server, "POST", LEASES, "{}");
    assert_eq!(granted.status, 201, "{granted:?}");
    let granted = granted.json();
    let id = granted["leases"][0]["id"].as_str().unwrap();
    let path = format!("{LEASES}/{id}");
    let delete = server.raw(&wire("DELETE", &path, &[], ""));
    assert_problem(&delete, 401, "unauthorized");
    assert_eq!(lease_count(&server), 2);
    assert_eq!(signed(&server, "DELETE", &path, "").status, 204);
    assert_eq!(lease_count(&server), 1);
}

#[test]
fn a_foreign_page_changes_nothing_even_with_the_token() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let foreign = [
        ("Origin", "http://evil.test"),
        ("Origin", "https://localhost"),
        ("Origin", "http://localhost:1"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ];
    for header in foreign {
        let answer = signed_with(&server, "POST", LEASES, &[header], "{}");
        assert_eq!(answer.status, 403, "{header:?}");
        assert_problem(&answer, 403, "forbidden");
    }
    assert_eq!(lease_count(&server), 1);
    let own = [
        ("Origin", "http://localhost"),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let granted = signed_with(&server, "POST", LEASES, &own, "{}");
    assert_eq!(granted.status, 201, "{granted:?}");
}

#[test]
fn bodies_have_a_limit_a_type_and_known_fields() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let large = format!("{{\"pool\": \"{}\"}}", "x".repeat(64 * 1024));
    let answer = signed(&server, "POST", LEASES, &large);
    assert_problem(&answer, 413, "too_large");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ] {
        let answer = signed_with(&server, "POST", LEASES, &[("Content-Type", kind)], "{}");
        assert_problem(&answer, 415, "unsupported_media_type");
    }
    let bad = [
        ("{\"colour\": 1}", "colour"),
        ("{\"port\": 0}", "0"),
        ("{\"port\": 70000}", "70000"),
        ("{\"prefer\": 0}", "prefer"),
        ("{\"count\": 0}", "0"),
        ("{", "EOF"),
    ];
    for (body, named) in bad {
        let answer = signed(&server, "POST", LEASES, body);
        assert_problem(&answer, 400, "invalid_request");
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{body}: {detail}");
    }
    assert_eq!(lease_count(&server), 1);
}

#[test]
fn wrong_paths_methods_and_queries_share_one_error_form() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let cases = [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("GET", "/api/v1/leases/nowhere", 404, "not_found"),
        (
            "GET",
            "/api/v1/leases/00000000-0000-7000-8000-000000000000",
            404,
            "not_found",
        ),
        ("PUT", LEASES, 405, "method_not_allowed"),
        ("DELETE", LEASES, 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("POST", "/api/v1/attempts", 405, "method_not_allowed"),
        ("GET", "/api/v1/ports/tcp/0", 400, "invalid_request"),
        ("GET", "/api/v1/ports/tcp/70000", 400, "invalid_request"),
        ("GET", "/api/v1/ports/sctp/80", 400, "invalid_request"),
        ("GET", "/api/v1/leases?state=odd", 400, "invalid_request"),
        ("GET", "/api/v1/leases?limit=odd", 400, "invalid_request"),
        ("GET", "/api/v1/leases?colour=1", 400, "invalid_request"),
        ("GET", "/api/v1/attempts?port=70000", 400, "invalid_request"),
        (
            "GET",
            "/api/v1/attempts?outcome=odd",
            400,
            "invalid_request",
        ),
    ];
    for (method, path, status, code) in cases {
        let answer = signed(&server, method, path, "");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_problem(&answer, status, code);
        let allow = answer.head.to_ascii_lowercase().contains("\nallow: ");
        assert_eq!(allow, status == 405, "{answer:?}");
    }
}

#[test]
fn every_answer_carries_the_safe_headers() {
    let place = Place::with_ports(1);
    let server = place.serve();
    for path in [
        "/livez",
        "/readyz",
        LEASES,
        "/api/v1/attempts",
        "/api/v1/status",
        "/api/v1/config",
        "/api/v1/pools",
        "/api/v1/interfaces",
    ] {
        let answer = server.web("GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert_safe(&answer);
    }
    let granted = signed(&server, "POST", LEASES, "{}");
    assert_eq!(granted.status, 201);
    assert_safe(&granted);
    let refused = signed(&server, "POST", LEASES, "{}");
    assert_problem(&refused, 503, "pool_exhausted");
    assert!(refused.head.to_lowercase().contains("retry-after: "));
    let granted = granted.json();
    let path = format!("{LEASES}/{}", granted["leases"][0]["id"].as_str().unwrap());
    let released = signed(&server, "DELETE", &path, "");
    assert_eq!(released.status, 204);
    assert_safe(&released);
}

#[test]
fn reading_changes_nothing() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let granted = server.api("POST", LEASES, None).json();
    let lease = granted["leases"][0]["id"].as_str().unwrap().to_owned();
    let allocation = granted["allocation"].as_str().unwrap();
    let state = || -> (Value, Value) {
        let attempts = server.get("/api/v1/attempts").json();
        let mut leases = server.get(LEASES).json();
        for lease in leases["leases"].as_array_mut().unwrap() {
            // Computed for each answer from the monotonic clock, against which the wall clock drifts.
            lease["claim_by"].take();
        }
        (leases, attempts)
    };
    let before = state();
    let paths = [
        format!("{LEASES}?port=1&dry_run=false"),
        format!("{LEASES}/{lease}"),
        format!("{LEASES}/{lease}/renew"),
        format!("{LEASES}/{lease}?_method=DELETE"),
        format!("/api/v1/allocations/{allocation}"),
        format!("/api/v1/ports/tcp/{}", place.ports[0]),
        "/api/v1/pools".to_owned(),
        "/api/v1/config".to_owned(),
        "/".to_owned(),
    ];
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS"] {
            signed_with(
                &server,
                method,
                &path,
                &[("X-HTTP-Method-Override", "DELETE")],
                "",
            );
        }
    }
    assert_eq!(state(), before);
}

#[test]
fn secrets_and_the_socket_are_for_their_user_alone() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let token_file = place.data_dir().join("token");
    assert_eq!(mode(&token_file), 0o600);
    assert_eq!(mode(&server.socket()), 0o600);
    assert_eq!(mode(&place.data_dir()), 0o700);
    let printed = place.ok(&["token"]);
    assert_eq!(printed, format!("{}\n", server.token()));
    assert_eq!(server.token().len(), 64);
    let log = server.log();
    assert!(!log.contains(&server.token()), "the token is in the log");
}

#[test]
fn the_socket_of_a_group_is_0660() {
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_SOCKET_MODE", "0660");
    let server = place.serve();
    let mode = server.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn page_of_another_site_logs_the_browser_in_as_its_own_user_alone() {
    if !rustix::process::geteuid().is_root() {
        return skipped("logins of others", "it takes root to be two users");
    }
    let mut place = Place::with_ports(1);
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = folder.path().join("shared.sock");
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    // The other user stays in the group of root.
    place.set("PORTBOOK_SOCKET_MODE", "0660");
    let server = place.serve();
    let login = |prefix: &[&str]| {
        let (program, arguments) = prefix.split_first().unwrap();
        let asked = Command::new(program)
            .args(arguments)
            .args(["curl", "-sS", "-X", "POST", "--unix-socket"])
            .arg(&socket)
            .arg("http://localhost/api/v1/logins")
            .output()
            .unwrap();
        let answer: Value =
            serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
        answer["path"].as_str().unwrap().to_owned()
    };
    let opens = |path: &str, site: &str| server.web("GET", path, &[("Sec-Fetch-Site", site)]);
    let theirs = login(&["setpriv", "--reuid=65534", "--regid=0", "--clear-groups"]);
    let refused = opens(&theirs, "cross-site");
    assert_eq!(refused.status, 403, "{theirs}: {refused:?}");
    assert!(refused.body.contains("uid 65534"), "{}", refused.body);
    assert!(!refused.head.to_lowercase().contains("set-cookie"));
    // Typed in, it is the user's own will.
    assert_eq!(opens(&theirs, "none").status, 200);
    // `dashboard` opens a page on disk, which leads on.
    assert_eq!(opens(&login(&["env"]), "cross-site").status, 200);
}

/// A client that sends its body later than its headers reads the answer, and goes on with the connection.
#[test]
fn answer_waits_for_the_rest_of_the_request() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let token = place.ok(&["token"]);
    let (right, wrong) = (token.trim(), "wrong");
    let mut stream = TcpStream::connect(("127.0.0.1", server.console_port())).unwrap();
    let mut answer = vec![0; 65_536];
    for (request, token, status) in [
        ("POST /api/v1/leases", wrong, 401),
        ("POST /api/v1/leases", right, 201),
        // They need no body.
        ("POST /api/v1/snapshots", right, 201),
        ("GET /api/v1/interfaces", right, 200),
        ("GET /api/v1/none", right, 404),
        ("PUT /api/v1/interfaces", right, 405),
    ] {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let early = stream.read(&mut answer);
        assert!(
            early.is_err(),
            "{request}: an answer before the body: {early:?}"
        );
        stream.write_all(b"{}").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let length = stream.read(&mut answer).unwrap();
        let told = String::from_utf8_lossy(&answer[..length]);
        assert!(
            told.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {told}"
        );
    }
}
