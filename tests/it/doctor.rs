//! `portbook doctor`: it finds obstacles, and the command it prints removes them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Place, text};
use crate::tools::{Running, eventually};

/// Findings of one check as pairs of message and command. The host may cause other findings.
fn found(place: &Place, check: &str, more: impl FnOnce(&mut Command)) -> Vec<(String, String)> {
    let mut command = place.command();
    command.args(["--json", "doctor"]);
    more(&mut command);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!findings.is_empty())));
    assert!(report["checks"].as_array().unwrap().contains(&check.into()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check
        .map(|finding| (text(&finding["message"]), text(&finding["command"])))
        .collect()
}

/// Pastes a command into a shell.
fn paste(place: &Place, command: &str) {
    let output = place.shell(command).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        text(&output.stderr)
    );
}

#[test]
fn permissions_are_mended_as_it_says() {
    let place = Place::with_ports(1);
    place.serve().stop();
    assert_eq!(found(&place, "permissions", |_| {}), []);
    for (name, mode) in [("", 0o755), ("token", 0o644)] {
        let path = place.data_dir().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let wrong = found(&place, "permissions", |_| {});
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    for (_, command) in wrong {
        paste(&place, &command);
    }
    assert_eq!(found(&place, "permissions", |_| {}), []);
}

#[test]
fn mode_of_a_socket_is_compared_with_the_setting_of_its_service() {
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_SOCKET_MODE", "0660");
    let server = place.serve();
    let as_caller = |command: &mut Command| {
        command.env_remove("PORTBOOK_SOCKET_MODE");
    };
    assert_eq!(found(&place, "permissions", as_caller), []);
    let open = PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(server.socket(), open).unwrap();
    let wrong = found(&place, "permissions", as_caller);
    assert!(wrong[0].0.contains("0666, more than 0660"), "{wrong:?}");
}

#[test]
fn damaged_record_is_found_without_a_service_and_mended_as_it_says() {
    let place = Place::with_ports(2);
    assert_eq!(found(&place, "record", |_| {}), []);
    assert!(!place.data_dir().exists(), "a look makes nothing");
    place.ok(&["alloc", "--name", "web"]);
    assert_eq!(found(&place, "record", |_| {}), []);
    let record = place.data_dir().join("portbook.db");
    std::fs::write(&record, "not a record".repeat(1000)).unwrap();
    let wrong = found(&place, "record", |_| {});
    let [(message, command)] = &wrong[..] else {
        panic!("{wrong:?}");
    };
    assert!(message.contains("is damaged"), "{message}");
    // Exit code 1 tells that it was damaged.
    paste(&place, &format!("{command} || test $? = 1"));
    assert_eq!(found(&place, "record", |_| {}), []);
    let server = place.serve();
    assert_eq!(found(&place, "record", |_| {}), []);
    assert!(server.stop().success());
}

#[test]
fn a_second_service_is_named_and_can_be_ended() {
    let (one, two) = (Place::with_ports(1), Place::with_ports(1));
    let (first, mut second) = (one.serve(), two.serve());
    assert_eq!(found(&one, "services", |_| {}), []);
    let other = second.socket();
    let ask_both = |command: &mut Command| {
        command.arg("--socket").arg(&other);
    };
    let wrong = found(&one, "services", ask_both);
    let (_, command) = wrong.first().expect("it is found");
    assert!(
        command.ends_with(&format!("kill {}", first.child.id())),
        "{command}"
    );
    drop(first);
    assert_eq!(found(&one, "services", ask_both), []);
    assert!(second.child.try_wait().unwrap().is_none());
}

#[test]
fn too_few_descriptors_are_told_with_how_many_it_takes() {
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", "20000-20999");
    let output = place
        .shell("ulimit -n 300; portbook doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.contains("300 descriptors, which is enough for 14 leases"),
        "{said}"
    );
    assert!(
        said.contains("\n    sudo prlimit --pid $$ --nofile=3256:3256\n"),
        "{said}"
    );
    assert!(said.contains("permissions: nothing in the way\n"), "{said}");
}

/// A container engine as far as its list of containers goes.
const ENGINE: &str = r#"
import http.server, socketserver, sys
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "-"
socketserver.UnixStreamServer(sys.argv[1], Engine).serve_forever()
"#;

fn engine(place: &Place, containers: &Value) -> (Running, PathBuf) {
    let socket = place.folder().join("engine.sock");
    let mut command = Command::new("python3");
    command
        .args(["-c", ENGINE])
        .arg(&socket)
        .arg(containers.to_string());
    let running = Running::start({
        command.stderr(Stdio::null());
        command
    });
    eventually("the engine", || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    (running, socket)
}

#[test]
fn a_published_port_that_no_bind_sees_is_found() {
    let place = Place::with_ports(3);
    let _server = place.serve();
    let (unseen, leased) = (place.ports[0], place.ports[1]);
    let mapping = |port: u16| serde_json::json!({"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": port, "Type": "tcp"});
    let containers = serde_json::json!([
        {"Names": ["/db; rm -rf /"], "Ports": [mapping(unseen), mapping(leased), {"PrivatePort": 1, "Type": "tcp"}]},
        {"Names": ["/idle"], "Ports": null},
    ]);
    let (_engine, socket) = engine(&place, &containers);
    let ask = |command: &mut Command| {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    };
    let mut serve = place.command();
    let script =
        "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]))";
    serve.args([
        "run",
        "--port",
        &leased.to_string(),
        "--",
        "python3",
        "-c",
        script,
        "{port}",
    ]);
    serve.stdout(Stdio::null()).stderr(Stdio::null());
    let owner = Running::start(serve);
    eventually("the owner listens", || {
        let list = place.json(&["list", "--pool", "default"]);
        (list["leases"][0]["state"] == "active").then_some(())
    });
    let wrong = found(&place, "containers", ask);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let of = |port: u16| {
        let said = format!("{port}/tcp");
        wrong
            .iter()
            .find(|(message, _)| message.contains(&said))
            .unwrap()
    };
    assert!(of(leased).0.contains("python3") && of(leased).0.contains(&owner.0.id().to_string()));
    assert_eq!(of(leased).1, "docker stop 'db; rm -rf /'");
    paste(&place, &of(unseen).1);
    drop(owner);
    eventually("only the container's own lease is left", || {
        found(&place, "containers", ask)
            .iter()
            .all(|(message, _)| !message.contains(&format!("{unseen}/tcp")))
            .then_some(())
    });
}

/// Faulty answers of an engine: none, an endless one, a slow one, no JSON, unexpected JSON, no HTTP.
const STRANGE: &str = r#"
import socket, sys, time
path, how = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n["
while True:
    client, _ = s.accept()
    try:
        client.recv(65536)
        if how == "endless":
            client.sendall(head)
            while True:
                client.sendall(b" " * (1 << 20))
        elif how == "trickle":
            client.sendall(head)
            while True:
                client.sendall(b" ")
                time.sleep(0.1)
        elif how == "silent":
            kept = client
            continue
        else:
            client.sendall({"html": head[:-1] + b"<html>", "nested": head + b"[" * 100000,
                            "other": head[:-1] + b'{"message": "\\u001b[2J"}', "noise": b"\0" * 999}[how])
            client.close()
    except OSError:
        pass
"#;

#[test]
fn strange_container_engine_is_reported_and_never_blocks() {
    let place = Place::with_ports(1);
    for how in [
        "silent", "trickle", "endless", "html", "nested", "other", "noise",
    ] {
        let socket = place.folder().join(how);
        let mut command = Command::new("python3");
        command.args(["-c", STRANGE]).arg(&socket).arg(how);
        command.stderr(Stdio::null());
        let _engine = Running::start(command);
        eventually("the engine", || socket.exists().then_some(()));
        let mut doctor = place.command();
        doctor.arg("doctor").arg("--json");
        doctor.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let output = crate::tools::ended(doctor);
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{how}: {error}: {output:?}"));
        let unknown = said["unknown"].to_string();
        assert!(
            unknown.contains(&*socket.to_string_lossy()),
            "{how}: {unknown}"
        );
        // Size is limited as well as time: memory fills sooner.
        assert_eq!(
            unknown.contains("length limit"),
            how == "endless",
            "{unknown}"
        );
    }
}
