//! The command line as a user has it, with a service and without: a port for a script, a program
//! on a port, exit codes, documents, and settings read again.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::host::skipped;
use crate::support::{PORTBOOK, Place, Server, occupant, ports, text};
use crate::tools::{Running, ended, eventually, fetch, is_strictly_free};

/// Runs a test with a service, and once more without.
fn with_and_without_a_service(count: usize, test: impl Fn(&Place)) {
    let place = Place::with_ports(count);
    test(&place);
    let place = Place::with_ports(count);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
}

fn port(stdout: &str) -> u16 {
    let line = stdout.strip_suffix('\n').expect("a newline at the end");
    line.parse().expect("digits and nothing else")
}

fn living(place: &Place) -> Vec<Value> {
    let list = place.json(&["list"]);
    let mut leases = list["leases"].as_array().unwrap().clone();
    leases.retain(|lease| lease["pool"] != "console");
    leases
}

fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.arg("run").args(arguments);
    ended(command)
}

/// Starts a command and reads its first line on stdout.
fn first_line(mut command: Command) -> (Running, String) {
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running::start(command);
    let mut line = String::new();
    BufReader::new(running.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (running, line)
}

#[test]
fn a_port_for_a_script_is_digits_and_a_newline() {
    with_and_without_a_service(3, |place| {
        assert_eq!(port(&place.ok(&["alloc"])), place.ports[0]);
        let two = place.ok(&["alloc", "--count", "2"]);
        assert_eq!(two, format!("{}\n{}\n", place.ports[1], place.ports[2]));
    });
}

#[test]
fn a_server_binds_the_port_that_a_script_got() {
    with_and_without_a_service(2, |place| {
        let script = "PORT=$(portbook alloc) && echo $PORT && exec python3 -m http.server $PORT";
        let (mut running, line) = first_line(place.shell(script));
        assert_eq!(port(&line), place.ports[0]);
        let answer = eventually("python3 answers", || {
            assert!(running.0.try_wait().unwrap().is_none(), "it has ended");
            fetch(place.ports[0])
        });
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        let lease = eventually("the listener owns the lease", || {
            living(place)
                .pop()
                .filter(|lease| lease["state"] == "active")
        });
        assert_eq!(lease["owner"]["pid"], running.0.id());
    });
}

#[test]
fn port_leased_without_a_service_is_never_granted_twice() {
    let place = Place::with_ports(2);
    let kept = place.ok(&["alloc"]);
    let other = place.ports[1].to_string();
    for _ in 0..8 {
        assert_eq!(place.ok(&["alloc"]).trim(), other);
        let full = place.run(&["alloc"]);
        assert_eq!((full.status.code(), &*full.stdout), (Some(1), &b""[..]));
        place.ok(&["release", &other]);
    }
    place.ok(&["release", kept.trim()]);
    assert_eq!(place.ok(&["alloc"]), kept, "it was the lease that kept it");
}

#[test]
fn a_program_is_told_its_port() {
    with_and_without_a_service(4, |place| {
        let show = "echo $PORT $HOST $PORTBOOK_ADDRESSES; echo $*";
        let output = run(place, &["--", "sh", "-c", show, "sh", "a{port}b", "{host}"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let port = place.ports[0];
        let expected = format!("{port} 127.0.0.1 0.0.0.0:{port},[::]:{port}\na{port}b 127.0.0.1\n");
        assert_eq!(text(&output.stdout), expected);
    });
}

#[test]
fn a_program_with_names_is_told_each() {
    with_and_without_a_service(4, |place| {
        let show = "echo $WEB_PORT $WEB_HOST $API_PORT ${PORT-none}; echo $*";
        let words = ["{web.port}", "{api.port}", "{api.host}"];
        let mut arguments = vec![
            "--name", "web", "--name", "api", "--", "sh", "-c", show, "sh",
        ];
        arguments.extend(words);
        let output = run(place, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (web, api) = (place.ports[0], place.ports[1]);
        let expected = format!("{web} 127.0.0.1 {api} none\n{web} {api} 127.0.0.1\n");
        assert_eq!(text(&output.stdout), expected);

        let one = run(
            place,
            &["--name", "web", "--", "sh", "-c", "echo $WEB_PORT $PORT"],
        );
        assert_eq!(text(&one.stdout), format!("{web} {web}\n"));
    });
}

#[test]
fn the_exit_status_is_the_programs_own() {
    // One port each: a port is free shortly after its program has ended, not at once.
    with_and_without_a_service(4, |place| {
        let code = |script: &str| run(place, &["--", "sh", "-c", script]).status;
        assert_eq!(code("exit 0").code(), Some(0));
        assert_eq!(code("exit 7").code(), Some(7));
        assert_eq!(code("kill -TERM $$").signal(), Some(15));
        let seen = ended(place.shell("portbook run -- sh -c 'kill -KILL $$'; echo $?"));
        assert_eq!(text(&seen.stdout), "137\n");
    });
}

/// Number of event loops that `run` makes before it becomes the program. `None` if strace may not
/// trace it.
fn event_loops(place: &Place) -> Option<usize> {
    let traced = "strace -qq -e trace=epoll_create1 -o trace portbook run -- true && cat trace";
    let output = ended(place.shell(traced));
    if !output.status.success() {
        skipped("event_loops", text(&output.stderr).trim());
        return None;
    }
    Some(text(&output.stdout).matches("epoll_create1(").count())
}

#[test]
fn run_asks_a_service_without_an_event_loop() {
    let place = Place::with_ports(2);
    let Some(alone) = event_loops(&place) else {
        return;
    };
    assert!(alone > 0, "the engine has one");
    let _server = place.serve();
    assert_eq!(event_loops(&place), Some(0));
}

#[test]
fn failures_of_run_itself_have_codes_of_their_own() {
    with_and_without_a_service(1, |place| {
        let file = place.folder().join("no-program");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = file.to_str().unwrap();
        let missing = place.folder().join("missing");
        for (program, code) in [(file, 126), (missing.to_str().unwrap(), 127)] {
            let output = run(place, &["--", program]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(said.contains(program), "{said}");
            eventually("the port is free again", || {
                living(place).is_empty().then_some(())
            });
        }
        place.ok(&["alloc"]);
        let refused = run(place, &["--", "sh", "-c", "echo started"]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125), "{said}");
        assert!(said.contains("no free port"), "{said}");
        assert_eq!(text(&refused.stdout), "");
    });
}

/// portbook as a user with an empty home. `None` if no such user can run it.
fn on_a_fresh_machine(home: &Path) -> Option<Command> {
    const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
    const OTHER_USER: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut command = Command::new(PORTBOOK);
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o777)).unwrap();
        command = Command::new("setpriv");
        command.args(OTHER_USER).arg(PORTBOOK);
        let mut probe = Command::new("setpriv");
        probe.args(OTHER_USER).env_clear().env("PATH", PATH);
        probe.args([
            "sh",
            "-c",
            r#""$0" --version && python3 --version"#,
            PORTBOOK,
        ]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no other user can run {PORTBOOK} and python3");
            return None;
        }
    }
    command.env_clear().env("PATH", PATH).env("HOME", home);
    command.current_dir(home);
    Some(command)
}

fn serves_http_at_once(home: &Path) {
    let Some(mut command) = on_a_fresh_machine(home) else {
        return;
    };
    command.args(["run", "--", "python3", "-u", "-m", "http.server", "{port}"]);
    // "Serving HTTP on 0.0.0.0 port 20000 (http://0.0.0.0:20000/) ..."
    let (running, line) = first_line(command);
    let mut words = line.split(' ').skip_while(|word| *word != "port");
    let port = words.nth(1).and_then(|word| word.parse().ok());
    let answer = fetch(port.unwrap_or_else(|| panic!("no port in {line:?}")));
    assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.0 200")));
    drop(running);
}

#[test]
fn a_fresh_machine_needs_no_setup() {
    let home = tempfile::tempdir().unwrap();
    serves_http_at_once(home.path());
    let Some(mut command) = on_a_fresh_machine(home.path()) else {
        return;
    };
    let record = home.path().join(".local/state/portbook/portbook.db");
    assert!(record.exists(), "the record is where XDG has it");
    command.arg("serve");
    let server = Server::start(command, record.parent().unwrap());
    serves_http_at_once(home.path());
    assert!(server.stop().success());
}

#[test]
fn a_port_is_kept_before_its_program_listens() {
    with_and_without_a_service(1, |place| {
        let mut command = place.command();
        command.args(["run", "--", "sh", "-c", "echo $PORT; exec sleep 1000"]);
        let (running, line) = first_line(command);
        assert!(!is_strictly_free(port(&line)), "nothing keeps it");
        drop(running);
        eventually("the port is free", || {
            is_strictly_free(place.ports[0]).then_some(())
        });
    });
}

#[test]
fn the_end_of_a_program_frees_its_port() {
    with_and_without_a_service(1, |place| {
        let mut command = place.command();
        command.args(["run", "--", "sh", "-c", "echo $PORT; exec sleep 1000"]);
        let (running, line) = first_line(command);
        assert_eq!(port(&line), place.ports[0]);
        let leases = living(place);
        assert_eq!(leases[0]["owner"]["pid"], running.0.id());
        assert_eq!(place.run(&["alloc"]).status.code(), Some(1));
        drop(running);
        eventually("the lease ends", || living(place).is_empty().then_some(()));
        let all = place.json(&["list", "--all"]);
        let of_pool = |lease: &&Value| lease["pool"] == "default";
        let ended = all["leases"].as_array().unwrap().iter().find(of_pool);
        assert_eq!(ended.unwrap()["state"], "owner_gone");
        assert_eq!(port(&place.ok(&["alloc"])), place.ports[0]);
    });
}

#[test]
fn a_name_keeps_its_port_over_runs() {
    with_and_without_a_service(3, |place| {
        // Not the first of the pool, which any request would get.
        let chosen = place.ports[1].to_string();
        let show = ["--", "sh", "-c", "echo $PORT"];
        let mut first = vec!["--name", "web", "--port", &chosen];
        first.extend(show);
        assert_eq!(text(&run(place, &first).stdout).trim(), chosen);
        for _ in 0..2 {
            let mut again = vec!["--name", "web"];
            again.extend(show);
            let output = run(place, &again);
            let said = text(&output.stderr);
            assert_eq!(text(&output.stdout).trim(), chosen, "{said}");
        }
        let other = text(&run(place, &show).stdout);
        assert_eq!(
            port(&other),
            place.ports[0],
            "the kept port is not granted to others"
        );
        assert_eq!(port(&place.ok(&["alloc", "--name", "web"])), place.ports[1]);
    });
}

#[test]
fn a_name_whose_owner_lives_is_refused_with_its_pid() {
    with_and_without_a_service(2, |place| {
        let mut command = place.command();
        command.args(["run", "--name", "web", "--"]);
        command.args(["sh", "-c", "echo $PORT; exec sleep 1000"]);
        let (running, _) = first_line(command);
        let refused = run(place, &["--name", "web", "--", "true"]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125), "{said}");
        let pid = format!("pid {}", running.0.id());
        assert!(said.contains("web") && said.contains(&pid), "{said}");
    });
}

#[test]
fn a_preferred_port_may_move_and_says_so() {
    with_and_without_a_service(1, |place| {
        let taken = ports(1)[0];
        let occupant = occupant(taken);
        let output = place.run(&["alloc", "--prefer", &taken.to_string()]);
        let got = port(&text(&output.stdout));
        assert!((taken..=taken + 100).contains(&got), "{got}");
        let said = text(&output.stderr);
        let named = format!("{taken} is in use by python3");
        let pid = format!("(pid {})", occupant.0.id());
        assert!(said.contains(&named) && said.contains(&pid), "{said}");
    });
}

#[test]
fn a_range_takes_the_place_of_the_pools() {
    with_and_without_a_service(2, |place| {
        let [first, second] = [place.ports[0], place.ports[1]].map(|port| port.to_string());
        assert_eq!(
            place.ok(&["alloc", "--range", &second]),
            format!("{second}\n")
        );
        let refused = place.run(&["alloc", "--range", &second]);
        assert_eq!(refused.status.code(), Some(1));
        let wrong = place.run(&["alloc", "--range", "9-1"]);
        assert_eq!(wrong.status.code(), Some(2));
        let either = format!("{first},{second}");
        assert_eq!(
            place.ok(&["alloc", "--range", &either]),
            format!("{first}\n")
        );
    });
}

#[test]
fn a_reserved_port_waits_for_the_program_of_its_name() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let kept = port(&place.ok(&["alloc", "--name", "nightly", "--reserve"]));
    let state = || living(&place)[0]["state"].clone();
    assert_eq!(state(), "reserved");
    let outsider = std::net::TcpListener::bind(("127.0.0.1", kept));
    assert!(outsider.is_err(), "a bind passed the shut gate");
    assert_eq!(port(&place.ok(&["alloc", "--name", "nightly"])), kept);
    assert_eq!(state(), "handed");
    let nameless = place.run(&["alloc", "--reserve"]);
    assert_eq!(nameless.status.code(), Some(2));
    assert!(server.stop().success());
}

#[test]
fn a_dry_run_leases_nothing() {
    with_and_without_a_service(1, |place| {
        for _ in 0..2 {
            assert_eq!(port(&place.ok(&["alloc", "--dry-run"])), place.ports[0]);
        }
        assert!(living(place).is_empty());
    });
}

#[test]
fn command_who_shows_occupants_leases_and_free_ports() {
    with_and_without_a_service(2, |place| {
        let [leased, taken] = [place.ports[0].to_string(), place.ports[1].to_string()];
        let occupant = occupant(place.ports[1]);
        place.ok(&["alloc", "--name", "web", "--port", &leased]);
        let said = place.ok(&["who", &leased]);
        assert!(said.contains("is leased to web"), "{said}");
        let said = place.ok(&["who", &taken]);
        let named = format!("(pid {})", occupant.0.id());
        assert!(
            said.contains("listening by python3") && said.contains(&named),
            "{said}"
        );
        let document = place.json(&["who", &taken]);
        assert_eq!(document["occupants"][0]["pid"], occupant.0.id());
        drop(occupant);
        let said = place.ok(&["who", &taken]);
        assert!(said.contains("is free"), "{said}");
    });
}

#[test]
fn leases_are_released_by_port_name_or_id() {
    with_and_without_a_service(3, |place| {
        let by_port = place.ok(&["alloc"]);
        place.ok(&["alloc", "--name", "web"]);
        let third = place.json(&["alloc"]);
        let id = third["leases"][0]["id"].as_str().unwrap();
        assert_eq!(living(place).len(), 3);
        place.ok(&["release", by_port.trim(), "web", id]);
        assert!(living(place).is_empty());
        let nothing = place.run(&["release", "web"]);
        assert_eq!(nothing.status.code(), Some(1));
        assert!(text(&nothing.stderr).contains("\"web\""));
    });
}

#[test]
fn a_service_that_is_named_must_answer() {
    let place = Place::with_ports(1);
    let dead = place.folder().join("dead.sock");
    // A socket file whose service is gone, as after a kill.
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let missing = place.folder().join("missing.sock");
    for socket in [dead.to_str().unwrap(), missing.to_str().unwrap()] {
        for (code, arguments) in [
            (3, &["alloc"][..]),
            (3, &["list"]),
            (3, &["release", "web"]),
            (3, &["who", "80"]),
            (3, &["status"]),
            (125, &["run", "--", "true"]),
        ] {
            let mut all = vec!["--socket", socket];
            all.extend(arguments);
            let output = place.run(&all);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
            assert!(said.contains(socket), "{said}");
        }
    }
    let status = place.run(&["status"]);
    assert_eq!(status.status.code(), Some(3), "no service at all");
}

#[test]
fn wrong_usage_has_its_code() {
    let place = Place::with_ports(1);
    for arguments in [
        &["nonsense"][..],
        &[],
        &["alloc", "--nonsense"],
        &["run"],
        &["release"],
        &["alloc", "--port", "80", "--prefer", "81"],
        &["alloc", "--name", "bad name"],
        &["alloc", "--pool", "nosuch"],
        &["alloc", "--count", "0"],
        &["--config", "/nonexistent.toml", "alloc"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert_ne!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn documents_are_the_same_with_and_without_a_service() {
    with_and_without_a_service(2, |place| {
        let granted = place.json(&["alloc", "--name", "web"]);
        let lease = &granted["leases"][0];
        assert_eq!(granted["created"], true);
        assert_eq!(lease["port"], place.ports[0]);
        assert_eq!(lease["name"], "web");
        assert_eq!(lease["host"], "127.0.0.1");
        let again = place.json(&["alloc", "--name", "web"]);
        assert_eq!(again["created"], false);
        assert_eq!(again["leases"][0]["id"], lease["id"]);
        let list = place.json(&["list"]);
        assert_eq!(list["version"], 1);
        assert_eq!(living(place)[0]["id"], lease["id"]);
        assert_eq!(place.json(&["interfaces"])["version"], 1);
        let who = place.json(&["who", &place.ports[0].to_string()]);
        assert_eq!(who["leases"][0]["id"], lease["id"]);
    });
}

#[test]
fn settings_are_shown_with_their_sources() {
    let place = Place::with_ports(1);
    let file = place.folder().join("config.toml");
    std::fs::write(&file, "[pools.web]\nranges = \"9000-9010\"\n").unwrap();
    let file = file.to_str().unwrap();
    let shown = place.json(&["--config", file, "config", "show"]);
    let source = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key);
        setting.unwrap_or_else(|| panic!("no {key}"))["source"].clone()
    };
    assert_eq!(source("pools.web.ranges"), format!("file {file}:2"));
    assert_eq!(
        source("pools.default.ranges"),
        "environment (PORTBOOK_POOLS__DEFAULT__RANGES)"
    );
    assert_eq!(source("console.enabled"), "default");
    let plain = place.ok(&["--config", file, "config", "show"]);
    assert!(plain.contains(&format!("# file {file}:2")), "{plain}");
}

#[test]
fn a_checked_configuration_is_good_or_says_what_is_wrong() {
    let mut place = Place::with_ports(1);
    place.ok(&["config", "check"]);
    place.set("PORTBOOK_CONSOL__LISTEN", "127.0.0.1:1");
    let bad = place.run(&["config", "check"]);
    assert_eq!(bad.status.code(), Some(2));
    let said = text(&bad.stdout);
    assert!(said.contains("PORTBOOK_CONSOL__LISTEN"), "{said}");
    assert!(
        said.contains("PORTBOOK_CONSOLE__LISTEN"),
        "the nearest known one: {said}"
    );
    let bad = place.run(&["--json", "config", "check"]);
    assert_eq!(bad.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(document["findings"][0]["severity"], "error");
}

#[test]
fn a_written_configuration_holds() {
    let place = Place::with_ports(1);
    let file = place.folder().join("new/config.toml");
    let file = file.to_str().unwrap();
    place.ok(&["config", "init", file]);
    place.ok(&["--config", file, "config", "check"]);
    let again = place.run(&["config", "init", file]);
    assert_eq!(again.status.code(), Some(1), "it would overwrite");
}

#[test]
fn settings_are_read_again_and_bad_ones_change_nothing() {
    let place = Place::with_ports(1);
    let file = place.folder().join("config.toml");
    let fresh = ports(2);
    let pool = |name: &str, port: u16| format!("[pools.{name}]\nranges = \"{port}\"\n");
    std::fs::write(&file, pool("one", fresh[0])).unwrap();
    let server = place.serve_with(&["--config", file.to_str().unwrap()]);
    let reload = |marker: &str| {
        let before = server.log().matches(marker).count();
        server.signal(rustix::process::Signal::HUP);
        eventually(marker, || {
            (server.log().matches(marker).count() > before).then_some(())
        });
    };
    let unknown = place.run(&["alloc", "--pool", "two"]);
    assert_eq!(unknown.status.code(), Some(2));

    let both = pool("one", fresh[0]) + &pool("two", fresh[1]);
    std::fs::write(&file, both).unwrap();
    reload("configuration read again");
    assert_eq!(port(&place.ok(&["alloc", "--pool", "two"])), fresh[1]);

    // A setting that takes effect at the next start is shown with its present value.
    let later = pool("two", fresh[1]) + "[console]\nworkers = 7\n";
    std::fs::write(&file, later).unwrap();
    reload("configuration read again");
    let shown = server.get("/api/v1/config").json();
    let settings = shown["settings"].as_array().unwrap();
    let workers = settings
        .iter()
        .find(|setting| setting["key"] == "console.workers");
    assert_eq!(workers.unwrap()["value"], 2);

    std::fs::write(&file, "[pools.two]\nranges = \"9-1\"\n").unwrap();
    reload("the running settings stay");
    let log = server.log();
    assert!(
        log.contains("pools.two.ranges") && log.contains("9-1"),
        "{log}"
    );
    place.ok(&["release", &fresh[1].to_string()]);
    assert_eq!(port(&place.ok(&["alloc", "--pool", "two"])), fresh[1]);
    assert!(server.stop().success());
}
