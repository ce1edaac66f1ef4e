//! Impossible ranges, ports and places: each is a clear error that loses nothing. And two services side
//! by side.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::support::{self, PORTBOOK, Place, Server, text};
use crate::tools::{ended, eventually};

const DEFAULT_RANGES: &str = "PORTBOOK_POOLS__DEFAULT__RANGES";
const LEASES: &str = "/api/v1/leases";

/// Runs portbook, which must refuse with this exit code, and returns its stderr.
fn refusal(place: &Place, code: i32, arguments: &[&str]) -> String {
    let mut command = place.command();
    command.args(arguments);
    refusal_of(command, code)
}

fn refusal_of(command: Command, code: i32) -> String {
    let shown = format!("{command:?}");
    let output: Output = ended(command);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{shown}: {said}");
    assert_eq!(text(&output.stdout), "", "{shown}: an answer beside it");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Checks that a message has all of these parts.
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no \"{part}\" in: {said}");
    }
}

fn alloc(place: &Place) -> u16 {
    place.ok(&["alloc"]).trim().parse().unwrap()
}

#[test]
fn a_range_may_end_at_65535() {
    let mut place = Place::with_ports(0);
    place.set(DEFAULT_RANGES, "65534-65535");
    assert_eq!((alloc(&place), alloc(&place)), (65534, 65535));
    let said = refusal(&place, 1, &["alloc"]);
    assert_says(&said, &["pool default has no free port in 65534-65535"]);
}

#[test]
fn request_for_more_ports_than_are_free_says_how_many_are() {
    let place = Place::with_ports(3);
    let server = place.serve();
    alloc(&place);
    let said = refusal(&place, 1, &["alloc", "--count", "3"]);
    assert_says(
        &said,
        &[
            "has only 2 free ports, fewer than were asked for at once,",
            "1 leased",
        ],
    );
    // Its own binds worked, and are no conflicts.
    let stats = eventually("the refusal is counted", || {
        let stats = server.get("/api/v1/stats").json();
        (stats["saved"]["allocations"].as_u64() >= Some(2)).then_some(stats)
    });
    assert_eq!(stats["saved"]["met"], 0, "{}", stats["saved"]);
}

#[test]
fn range_of_one_port_holds_one_lease() {
    let place = Place::with_ports(1);
    let port = place.ports[0];
    let full = format!("pool default has no free port in {port}");
    assert_eq!(alloc(&place), port);
    let said = refusal(&place, 1, &["alloc"]);
    assert_says(&said, &[&full, "1 leased"]);
    let server = place.serve();
    let said = refusal(&place, 1, &["alloc"]);
    assert_says(&said, &[&full, "1 leased"]);
    let refused = server.api("POST", LEASES, None);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["code"], "pool_exhausted");
    place.ok(&["release", &port.to_string()]);
    assert_eq!(alloc(&place), port);
}

#[test]
fn ranges_that_cannot_be_are_named_with_their_source() {
    let mut place = Place::with_ports(0);
    for (ranges, parts) in [
        ("9000-8000", ["9000-8000", "8000-9000"]),
        ("0-10", ["0", "1 to 65535"]),
        ("60000-70000", ["70000", "65535"]),
        ("eighty", ["eighty", "8888-8988"]),
    ] {
        place.set(DEFAULT_RANGES, ranges);
        for arguments in [&["alloc"][..], &["serve"], &["config", "show"]] {
            let said = refusal(&place, 2, arguments);
            assert_says(&said, &["pools.default.ranges", DEFAULT_RANGES]);
            assert_says(&said, &parts);
        }
        let said = refusal(&place, 125, &["run", "--", "true"]);
        assert_says(&said, &["pools.default.ranges"]);
    }
    assert!(!place.data_dir().exists(), "something was begun");
}

#[test]
fn ports_that_cannot_be_are_named() {
    let place = Place::with_ports(1);
    for port in ["0", "70000", "-1", "http", "65536"] {
        for option in ["--port", "--prefer"] {
            let argument = format!("{option}={port}");
            let said = refusal(&place, 2, &["alloc", &argument]);
            assert_says(&said, &[port, option]);
        }
        let argument = format!("--listen=127.0.0.1:{port}");
        let said = refusal(&place, 2, &["serve", &argument]);
        assert_says(&said, &[port]);
    }
    let said = refusal(&place, 2, &["who", "70000"]);
    assert_says(&said, &["70000"]);
    assert!(!place.data_dir().exists(), "something was begun");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let place = Place::with_ports(1);
    let file = place.folder().join("file");
    std::fs::write(&file, "precious").unwrap();
    for directory in [file.join("below"), file.clone(), "/proc/portbook".into()] {
        let directory = directory.to_str().unwrap();
        for (code, arguments) in [
            (1, &["alloc"][..]),
            (1, &["serve"]),
            (1, &["list"]),
            (1, &["token"]),
            (125, &["run", "--", "true"]),
        ] {
            let mut all = vec!["--data-dir", directory];
            all.extend(arguments);
            let said = refusal(&place, code, &all);
            assert_says(&said, &[directory, "--data-dir"]);
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

/// Checks that no command opens this place's record and that its file stays byte for byte.
#[test]
fn a_limit_below_what_a_service_opens_is_named() {
    let place = Place::with_ports(1);
    for limit in [18, 20, 63] {
        let command = place.shell(&format!("ulimit -n {limit}; portbook serve"));
        let said = refusal_of(command, 1);
        let begin = format!("the limit on open descriptors is {limit} (RLIMIT_NOFILE)");
        assert_says(&said, &[&begin, "needs 64", "LimitNOFILE", "ulimit -n"]);
    }
}

fn assert_refused_untouched(place: &Place, parts: &[&str]) {
    let file = place.data_dir().join("portbook.db");
    let before = std::fs::read(&file).unwrap();
    for (code, arguments) in [
        (1, &["alloc"][..]),
        (1, &["list"]),
        (1, &["serve"]),
        (125, &["run", "--", "true"]),
    ] {
        let said = refusal(place, code, arguments);
        assert_says(&said, &[file.to_str().unwrap()]);
        assert_says(&said, parts);
        let after = std::fs::read(&file).unwrap();
        assert!(after == before, "{arguments:?} changed the record");
    }
}

/// Changes a record behind portbook's back.
fn sql(place: &Place, statement: &str) {
    const RUN: &str = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.execute(sys.argv[2])\n\
        db.commit()\n\
        db.execute('pragma wal_checkpoint(truncate)')\n\
        db.close()";
    let file = place.data_dir().join("portbook.db");
    let status = Command::new("python3")
        .args(["-c", RUN])
        .arg(file)
        .arg(statement)
        .status()
        .expect("python3 is there");
    assert!(status.success());
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let place = Place::with_ports(1);
    std::fs::create_dir_all(place.data_dir()).unwrap();
    let file = place.data_dir().join("portbook.db");
    std::fs::write(file, "precious ".repeat(1000)).unwrap();
    assert_refused_untouched(&place, &["damaged", "nothing was changed"]);
}

#[test]
fn a_damaged_record_is_refused() {
    let place = Place::with_ports(1);
    alloc(&place);
    // Folds the log into the file, so that the damage meets all of it.
    sql(&place, "update lease_row set revision = revision");
    let file = place.data_dir().join("portbook.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // The header stays whole; every page after it is rubbish, as after a lost disk sector.
    for byte in bytes.iter_mut().skip(100) {
        *byte = 0xa5;
    }
    std::fs::write(file, bytes).unwrap();
    assert_refused_untouched(&place, &["damaged", "nothing was changed"]);
}

#[test]
fn the_record_of_a_newer_version_is_refused() {
    let place = Place::with_ports(1);
    alloc(&place);
    sql(
        &place,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (99990101000000, 'from the future', true, x'00', 0)",
    );
    assert_refused_untouched(&place, &["newer portbook", "99990101000000", "upgrade"]);
}

#[test]
fn the_record_of_another_host_is_refused() {
    if !Path::new("/etc/machine-id").exists() {
        eprintln!("SKIPPED: this host has no /etc/machine-id, so records cannot be told apart");
        return;
    }
    let place = Place::with_ports(1);
    alloc(&place);
    sql(&place, "update host set machine_id = 'elsewhere'");
    assert_refused_untouched(&place, &["another host", "elsewhere"]);
}

/// A command as a user without privileges, with a data directory of its own. `None` if this process
/// cannot become such a user.
pub fn unprivileged(folder: &Path, program: &str) -> Option<Command> {
    const OTHER_USER: &str = "65534";
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        command = Command::new("setpriv");
        command.args([
            "--reuid",
            OTHER_USER,
            "--regid",
            OTHER_USER,
            "--clear-groups",
        ]);
        command.arg(program);
        let mut probe = Command::new("setpriv");
        probe.args([
            "--reuid",
            OTHER_USER,
            "--regid",
            OTHER_USER,
            "--clear-groups",
        ]);
        let runs = probe.args([PORTBOOK, "--version"]).output();
        if !runs.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no other user can run {PORTBOOK} (setpriv, or its folder's mode)");
            return None;
        }
    }
    let clean = support::command();
    let variables = clean.get_envs();
    command.env_clear();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command.env("PORTBOOK_DATA_DIR", folder.join("data"));
    Some(command)
}

/// First unprivileged port. `None` if no port is privileged.
pub fn unprivileged_start() -> Option<u16> {
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let start = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    if start < 300 {
        eprintln!("SKIPPED: on this host every port from {start} is unprivileged");
        return None;
    }
    Some(start)
}

#[test]
fn privileged_port_has_its_own_error_without_a_search() {
    let Some(start) = unprivileged_start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let console = Place::with_ports(1);
    let Some(mut command) = unprivileged(folder.path(), PORTBOOK) else {
        return;
    };
    let ranges = support::ranges(&console.console_ports);
    command
        .env("PORTBOOK_POOLS__CONSOLE__RANGES", ranges)
        .env(DEFAULT_RANGES, format!("200-{}", start - 1))
        .arg("serve");
    let server = Server::start(command, &folder.path().join("data"));
    for body in [json!({}), json!({ "port": 201 })] {
        let refused = server.allocate(&body);
        assert_eq!(refused.status, 403, "{refused:?}");
        let problem = refused.json();
        assert_eq!(problem["code"], "privileged_port");
        let detail = problem["detail"].as_str().unwrap();
        assert_says(detail, &["ip_unprivileged_port_start", &start.to_string()]);
    }
    let list = server.get("/api/v1/attempts?outcome=not_permitted");
    let list = list.json();
    assert_eq!(list["attempts"].as_array().unwrap().len(), 2, "{list}");
    assert!(server.stop().success());
}

#[test]
fn an_excluded_port_names_the_rule() {
    let mut place = Place::with_ports(2);
    let port = place.ports[0].to_string();
    place.set("PORTBOOK_POOLS__DEFAULT__EXCLUDE", &port);
    let said = refusal(&place, 1, &["alloc", "--port", &port]);
    assert_says(&said, &[&port, "excluded by the configuration"]);
    assert_eq!(alloc(&place), place.ports[1]);
    let server = place.serve();
    let refused = server.allocate(&json!({ "port": place.ports[0] }));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(refused.json()["code"], "port_excluded");
}

#[test]
fn a_leased_port_names_the_lease() {
    let place = Place::with_ports(1);
    let granted = place.json(&["alloc", "--name", "web"]);
    let id = granted["leases"][0]["id"].as_str().unwrap().to_owned();
    let port = place.ports[0].to_string();
    let expected = format!("is leased to web (lease {id})");
    let said = refusal(&place, 1, &["alloc", "--port", &port]);
    assert_says(&said, &[&port, &expected]);
    let server = place.serve();
    let said = refusal(&place, 1, &["alloc", "--port", &port]);
    assert_says(&said, &[&port, &expected]);
    let refused = server.allocate(&json!({ "port": place.ports[0] }));
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.json()["code"], "port_leased");
}

#[test]
fn a_taken_port_names_its_occupant() {
    let place = Place::with_ports(1);
    let occupant = support::occupant(place.ports[0]);
    let port = place.ports[0].to_string();
    let process = format!("(pid {})", occupant.0.id());
    let said = refusal(&place, 1, &["alloc", "--port", &port]);
    assert_says(&said, &[&port, "python3", &process]);
    let server = place.serve();
    let refused = server.allocate(&json!({ "port": place.ports[0] }));
    assert_eq!(refused.status, 409, "{refused:?}");
    let problem = refused.json();
    assert_eq!(problem["code"], "port_in_use");
    assert_eq!(problem["attempts"][0]["occupant"]["pid"], occupant.0.id());
}

#[test]
fn missing_address_or_interface_has_its_own_error() {
    let place = Place::with_ports(3);
    let said = refusal(&place, 1, &["alloc", "--interface", "198.51.100.254"]);
    assert_says(&said, &["198.51.100.254 is no address of this host"]);
    let said = refusal(&place, 1, &["alloc", "--interface", "nosuch*"]);
    assert_says(&said, &["nosuch*"]);
    let server = place.serve();
    for (selector, code) in [
        ("198.51.100.254", "address_not_available"),
        ("nosuch*", "no_such_interface"),
    ] {
        let body = json!({ "interfaces": [selector] });
        let refused = server.allocate(&body);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.json()["code"], code);
    }
}

#[test]
fn a_second_service_on_the_same_data_directory_is_refused() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let pid = format!("(pid {})", server.child.id());
    let said = refusal(&place, 1, &["serve"]);
    assert_says(&said, &[&pid, place.data_dir().to_str().unwrap()]);
    let other_socket = place.folder().join("other.sock");
    let arguments = ["serve", "--socket", other_socket.to_str().unwrap()];
    assert_says(&refusal(&place, 1, &arguments), &[&pid]);
    let status = place.json(&["status"]);
    assert_eq!(status["pid"], server.child.id());
    let file = std::fs::read_to_string(place.data_dir().join("console")).unwrap();
    assert_eq!(file.trim(), server.console);
}

#[test]
fn services_with_separate_data_directories_run_together() {
    let place = Place::with_ports(2);
    let first = place.serve();
    let data_dir = place.folder().join("second");
    let mut command = place.command();
    command.env("PORTBOOK_DATA_DIR", &data_dir).arg("serve");
    let second = Server::start(command, &data_dir);
    assert_eq!(first.console_port(), place.console_ports[0]);
    assert_eq!(second.console_port(), place.console_ports[1]);
    let port = |server: &Server| {
        let granted = server.api("POST", LEASES, None);
        assert_eq!(granted.status, 201, "{granted:?}");
        granted.json()["leases"][0]["port"].clone()
    };
    assert_eq!((port(&first), port(&second)), {
        let [one, two] = place.ports[..] else {
            unreachable!("two ports were asked for")
        };
        (json!(one), json!(two))
    });
    assert!(second.stop().success());
    assert_eq!(first.web("GET", "/livez", &[]).status, 200);
}

#[test]
fn socket_of_a_running_service_is_not_replaced() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut command = place.command();
    command
        .env("PORTBOOK_DATA_DIR", place.folder().join("second"))
        .args(["serve", "--socket", server.socket().to_str().unwrap()]);
    let said = refusal_of(command, 1);
    assert_says(&said, &[server.socket().to_str().unwrap(), "--socket"]);
    assert_eq!(place.json(&["status"])["pid"], server.child.id());
}

#[test]
fn a_machine_without_any_home_says_what_to_give() {
    let Some(mut command) = unprivileged(tempfile::tempdir().unwrap().path(), PORTBOOK) else {
        return;
    };
    command.env_remove("PORTBOOK_DATA_DIR").arg("alloc");
    command.env("HOME", "/proc/nowhere");
    assert_says(&refusal_of(command, 1), &["/proc/nowhere", "--data-dir"]);
}

#[test]
fn world_writable_data_directory_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_ports(1);
    std::fs::create_dir(place.data_dir()).unwrap();
    std::fs::set_permissions(place.data_dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = place.run(&["alloc"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("chmod go-w"), "{said}");
}

#[test]
fn a_refusal_is_a_document_too() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    place.ok(&["alloc"]);
    let refused = place.run(&["--json", "alloc"]);
    assert_eq!(refused.status.code(), Some(1));
    let problem: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(problem["code"], "pool_exhausted");
    assert_eq!(problem["status"], 503);
}

#[test]
fn quotas_limit_leases_of_pool_and_user() {
    let mut place = Place::with_ports(6);
    place.set("PORTBOOK_POOLS__DEFAULT__MAX_LEASES", "4");
    place.set("PORTBOOK_POOLS__DEFAULT__MAX_LEASES_PER_USER", "3");
    let server = place.serve();
    let asked = |body: serde_json::Value| server.allocate(&body);
    assert_eq!(
        asked(json!({ "count": 4 })).json()["code"],
        "quota_exceeded"
    );
    assert_eq!(asked(json!({ "count": 2 })).status, 201);
    assert_eq!(asked(json!({ "name": "web" })).status, 201);
    let refused = asked(json!({}));
    assert_eq!(refused.status, 429);
    assert!(refused.head.to_ascii_lowercase().contains("retry-after"));
    let detail = refused.json()["detail"].to_string();
    assert_says(&detail, &["max_leases_per_user", "has 3 leases"]);
    // A repeated request for a name is no new lease.
    assert_eq!(asked(json!({ "name": "web" })).status, 200);
    place.ok(&["release", "web"]);
    assert_eq!(asked(json!({})).status, 201);
}

#[test]
fn a_lifetime_has_a_limit() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_POOLS__DEFAULT__MAX_TTL", "1h");
    let server = place.serve();
    let refused = server.allocate(&json!({ "ttl": "2h" }));
    assert_eq!(refused.json()["code"], "quota_exceeded");
    let granted = server.allocate(&json!({})).json();
    let lease = &granted["leases"][0];
    assert!(lease["expires_at"].is_string(), "no end: {lease}");
    let path = format!("{LEASES}/{}/renew", lease["id"].as_str().unwrap());
    let refused = server.api("POST", &path, Some(&json!({ "ttl": "61m" })));
    assert_says(&refused.json()["detail"].to_string(), &["1h1m", "max_ttl"]);
    place.set("PORTBOOK_POOLS__DEFAULT__TTL", "2h");
    let said = refusal(&place, 2, &["config", "show"]);
    assert_says(&said, &["pools.default.ttl", "max_ttl"]);
}
