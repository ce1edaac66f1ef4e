//! Starts that meet the end of the last service (A2 to A5), and a take-over whose predecessor cannot
//! send its last spans: the new service waits for that end and starts, and so do commands.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Place, Server, text};
use crate::tools::{Running, ended};

/// Number of leases, each with two sockets to close.
const LEASE_COUNT: usize = 100;

/// A service with leases, whose file descriptors take a while to close.
fn busy(place: &Place) -> Server {
    let server = place.serve();
    let granted = server.allocate(&json!({ "count": LEASE_COUNT }));
    assert!(granted.status < 300, "{granted:?}");
    server
}

#[test]
fn service_starts_at_once_after_a_kill() {
    let place = Place::with_ports(LEASE_COUNT);
    let mut server = busy(&place);
    for _ in 0..5 {
        server.child.kill().unwrap();
        // It may be dying, or a zombie, since its parent has not waited for it.
        let next = place.serve();
        assert_eq!(next.living("default").len(), LEASE_COUNT);
        server = next;
    }
}

#[test]
fn service_starts_at_once_after_a_stop() {
    let place = Place::with_ports(LEASE_COUNT);
    let server = busy(&place);
    // A client that has asked for half of a thing keeps the service until its grace is over.
    let mut half = UnixStream::connect(server.socket()).unwrap();
    let head = b"POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";
    half.write_all(head).unwrap();
    server.signal(Signal::TERM);
    let next = place.serve();
    assert_eq!(next.living("default").len(), LEASE_COUNT);
}

#[test]
fn commands_work_at_once_after_a_kill() {
    let mut place = Place::with_ports(LEASE_COUNT + 20);
    for named in [false, true] {
        if named {
            let socket = place.data_dir().join("portbook.sock");
            place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
        }
        let mut server = place.serve();
        if !named {
            server.allocate(&json!({ "count": LEASE_COUNT, "ttl": "1h" }));
        }
        server.child.kill().unwrap();
        for arguments in [
            &["alloc"][..],
            &["list"],
            &["run", "--", "true"],
            &["exclude"],
        ] {
            let mut command = place.command();
            command.args(arguments);
            let output = ended(command);
            assert!(
                output.status.success(),
                "named {named}, {arguments:?}: {output:?}"
            );
        }
        drop(server);
    }
}

#[test]
fn commands_wait_for_a_service_that_starts() {
    let mut place = Place::with_ports(40);
    let socket = place.data_dir().join("portbook.sock");
    place.serve().stop();
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    let mut serve = place.command();
    serve.arg("serve").stderr(Stdio::null());
    let _service = Running::piped(serve);
    let commands: Vec<_> = (0..20)
        .map(|_| {
            let mut alloc = place.command();
            alloc.arg("alloc");
            std::thread::spawn(move || ended(alloc))
        })
        .collect();
    let mut ports = Vec::new();
    for command in commands {
        let output = command.join().unwrap();
        assert!(output.status.success(), "{output:?}");
        ports.push(text(&output.stdout));
    }
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 20);
}

#[test]
fn second_service_is_told_of_the_first_whatever_became_of_the_lock_file() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lock = place.data_dir().join("lock");
    let named = format!("(pid {})", server.child.id());
    for is_deleted in [false, true] {
        if is_deleted {
            std::fs::remove_file(&lock).unwrap();
        } else {
            std::fs::write(&lock, "").unwrap();
        }
        let mut second = place.command();
        second.arg("serve");
        let output = ended(second);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(&named), "{said}");
    }
    // Made anew by another hand, it gives no second lock either.
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, "1\n/elsewhere.sock\n1\n").unwrap();
    let mut second = place.command();
    second.arg("serve");
    let output = ended(second);
    assert!(text(&output.stderr).contains(&named), "{output:?}");
    assert_eq!(server.allocate(&json!({"ttl": "1h"})).status, 201);
}

#[test]
fn take_over_waits_for_a_predecessor_that_flushes() {
    let place = Place::with_ports(2);
    // It accepts, as the kernel does for it, and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let mut first = place.serve_with(&["--otlp-endpoint", &url]);
    let port = place.ok(&["alloc", "--name", "web"]);
    let second = place.serve_with(&["--takeover", "--otlp-endpoint", &url]);
    assert!(first.child.wait().unwrap().success());
    assert_eq!(second.console, first.console);
    assert_eq!(place.ok(&["alloc", "--name", "web"]), port);
}
