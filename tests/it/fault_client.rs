//! Faults that commands meet (A7, G3, J1, J2, J6): a service that is stopped or drips, a server of
//! another user, an environment with strange variables. Each command ends, and names the cause.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Output;

use rustix::process::Signal;

use crate::host::skipped;
use crate::support::{Place, command_of, text};
use crate::tools::{Running, ended};

/// Exit code of a command that reaches no service.
const UNREACHABLE: i32 = 3;

fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.args(arguments);
    ended(command)
}

#[test]
fn stopped_service_is_named_with_the_way_out() {
    let mut place = Place::with_ports(4);
    let server = place.serve();
    place.ok(&["alloc", "--name", "web"]);
    server.signal(Signal::STOP);
    place.set("PORTBOOK_CLIENT__TIMEOUT", "1s");
    let pid = server.child.id();
    for arguments in [
        &["status"][..],
        &["list"],
        &["alloc"],
        &["release", "web"],
        &["renew", "web"],
        &["note", "web", "text"],
        &["url", "web"],
        &["who", "8888"],
        &["explain", "web"],
        &["stats"],
        &["report"],
        &["report", "--label", "none"],
        &["exclude"],
        &["history", "export"],
        &["wait", "web"],
        &["dashboard"],
        #[cfg(feature = "fleet")]
        &["fleet", "status"],
        #[cfg(feature = "fleet")]
        &["fleet", "claims"],
        #[cfg(feature = "fleet")]
        &["fleet", "evict", "build-2", "--yes"],
        #[cfg(feature = "fleet")]
        &["fleet", "everywhere"],
        #[cfg(feature = "fleet")]
        &["fleet", "reserve", "9100", "--name", "a"],
        #[cfg(feature = "fleet")]
        &["fleet", "release", "a"],
        #[cfg(feature = "fleet")]
        &["resolve", "web"],
    ] {
        let output = run(&place, arguments);
        let told = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(UNREACHABLE),
            "{arguments:?}: {told}"
        );
        for word in [&*format!("kill -CONT {pid}"), "portbook.sock", "within 1s"] {
            assert!(told.contains(word), "{arguments:?}: {told}");
        }
    }
    let doctor = run(&place, &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    let told = text(&doctor.stdout);
    assert!(
        told.contains(&format!("\n    kill -CONT {pid}\n")),
        "{told}"
    );
    place.set("PORTBOOK_CLIENT__TIMEOUT", "10m");
    for command in [&["status"][..], &["alloc"], &["run", "--", "true"]] {
        let limited = run(&place, &[&["--timeout", "1s"][..], command].concat());
        assert!(text(&limited.stderr).contains(&format!("kill -CONT {pid}")));
    }
    server.signal(Signal::CONT);
    place.ok(&["release", "web"]);
}

/// A server that reads a request and answers with these pieces, again and again.
fn hostile(place: &Place, head: &'static str, drip: &'static str) {
    std::fs::create_dir_all(place.data_dir()).unwrap();
    let path = place.data_dir().join("portbook.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(head.as_bytes());
            std::thread::spawn(move || {
                while stream.write_all(drip.as_bytes()).is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            });
        }
    });
}

#[test]
fn dripping_answers_end_at_the_limit() {
    for (head, drip) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n", " "),
    ] {
        let mut place = Place::with_ports(1);
        place.set("PORTBOOK_CLIENT__TIMEOUT", "1s");
        hostile(&place, head, drip);
        for arguments in [&["status"][..], &["list"], &["alloc"]] {
            let output = run(&place, arguments);
            assert_eq!(output.status.code(), Some(UNREACHABLE), "{output:?}");
            assert!(text(&output.stderr).contains("within 1s"), "{output:?}");
        }
    }
}

/// A service of another user, as far as `status` needs one.
const IMPOSTOR: &str = r#"
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(flush=True)
body = json.dumps({"version": 1, "allocation": "x", "leases": []}).encode()
while True:
    c, _ = s.accept(); c.recv(4096)
    try: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    except OSError: pass
    c.close()
"#;

#[test]
fn server_of_another_user_is_not_believed() {
    const STRANGER: u32 = 12345;
    if !rustix::process::geteuid().is_root() {
        skipped("server_of_another_user", "only root can be another user");
        return;
    }
    let mut place = Place::with_ports(1);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(STRANGER), None).unwrap();
    let socket = folder.path().join("s");
    let mut impostor = command_of("python3");
    impostor.args(["-c", IMPOSTOR]).arg(&socket).uid(STRANGER);
    let mut impostor = Running::piped(impostor);
    impostor.line();
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    for arguments in [&["alloc"][..], &["list"], &["status"], &["dashboard"]] {
        let output = run(&place, arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(UNREACHABLE), "{told}");
        assert!(
            told.contains("uid 12345") && told.contains("trusted_uids"),
            "{told}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    place.set("PORTBOOK_CLIENT__TRUSTED_UIDS", "[12345]");
    let believed = run(&place, &["list"]);
    assert!(
        !text(&believed.stderr).contains("uid 12345"),
        "{believed:?}"
    );
}

#[test]
fn strange_variables_are_warnings() {
    let mut place = Place::with_ports(2);
    place.set("TRACEPARENT", "00-nonsense\n");
    place.set("PORTBOOK_PORT", "tcp://10.0.0.1:8888");
    place.set("PORTBOOK_SERVICE_HOST", "10.0.0.1");
    place.set("PORTBOOK_SERVICE_PORT", "8888");
    place.set("PORTBOOK_PORT_8888_TCP", "tcp://10.0.0.1:8888");
    place.set("PORTBOOK_PORT_8888_TCP_ADDR", "10.0.0.1");
    place.ok(&["alloc"]);
    let server = place.serve();
    place.ok(&["alloc"]);
    place.ok(&["status"]);
    let log = server.log();
    for word in [
        "PORTBOOK_SERVICE_HOST",
        "service link of Kubernetes",
        "(TRACEPARENT)",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[test]
fn port_that_cannot_be_printed_is_given_back() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut alloc = place.command();
    let full = File::options().write(true).open("/dev/full").unwrap();
    alloc.arg("alloc").stdout(full);
    let status = alloc.status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(server.living("default"), Vec::<serde_json::Value>::new());
}
