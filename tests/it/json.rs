//! `--json` works everywhere: every command prints one document, and so does every error. Wrong numbers
//! and durations get helpful messages, and so does a valid configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Place, command, text};

/// Commands whose success prints no document here: `run` becomes the program, these go on until they are
/// ended (the first line of `serve` has a test below), `mcp` prints its protocol alone, `wait` is tested with
/// what it waits for, and what asks a fleet has tests with one.
const OTHERS: [&str; 7] = [
    "run",
    "serve",
    "portserver",
    "mcp",
    "wait",
    "fleet",
    "resolve",
];

/// Exit code and code of a question to a fleet on a host that is in none.
const OFF: (i32, &str) = if cfg!(feature = "fleet") {
    (1, "fleet_off")
} else {
    (2, "invalid_request")
};

/// The only document on stdout.
fn document(arguments: &[&str], output: &Output) -> Value {
    let said = text(&output.stdout);
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}{}", text(&output.stderr)))
}

/// Runs a command with `--json` in the project's folder.
fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.arg("--json").args(arguments);
    command.env("XDG_CONFIG_HOME", place.folder().join("config"));
    command.current_dir(place.folder()).output().unwrap()
}

fn answered(place: &Place, arguments: &[&str]) -> Value {
    let output = run(place, arguments);
    let answer = document(arguments, &output);
    let is_done = output.status.success() || arguments[0] == "doctor";
    assert!(is_done, "{arguments:?}: {answer}");
    answer
}

fn refused(place: &Place, arguments: &[&str], exit: i32, code: &str) -> Value {
    let output = run(place, arguments);
    let problem = document(arguments, &output);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {problem}");
    assert_eq!(problem["code"], code, "{arguments:?}: {problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    problem
}

/// Every command that help names.
fn commands() -> BTreeSet<String> {
    let help = command().arg("--help").output().unwrap();
    let help = text(&help.stdout);
    let list = help
        .split("Commands:\n")
        .nth(1)
        .expect("a list of commands");
    let list = list.split("\n\n").next().unwrap();
    let names = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn names<'a>(rows: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    rows.map(str::to_owned).collect()
}

/// A project with one service.
fn project(place: &Place) {
    let file = place.folder().join("portbook.toml");
    std::fs::write(file, "[services.shop]\n").unwrap();
}

#[test]
fn every_command_answers_with_one_document() {
    let place = Place::with_ports(8);
    project(&place);
    let _server = place.serve();
    let free = place.ports[7].to_string();
    let man = place.folder().join("man");
    let man = man.to_str().unwrap();
    let rows: &[&[&str]] = &[
        &["alloc", "--name", "web", "--ttl", "1h"],
        &["alloc", "--dry-run"],
        &["env"],
        &["list"],
        &["list", "--all", "--label", "none"],
        &["renew", "web"],
        &["note", "web", "for a test"],
        &["url", "web"],
        &["explain", "web"],
        &["release", "web", "shop"],
        &["release", "--label", "none"],
        &["exclude", &free, "--reason", "a test"],
        &["exclude"],
        &["include", &free],
        &["who", &free],
        &["stats"],
        &["report"],
        &["report", "--label", "none"],
        &["history", "export"],
        &["history", "export", "--kind", "days"],
        &["history", "export", "--kind", "conflicts"],
        &["history", "prune", "--dry-run"],
        &["status"],
        &["doctor"],
        &["interfaces"],
        &["config", "show"],
        &["config", "check"],
        &["config", "check", "portbook.toml"],
        &["config", "init"],
        &["dashboard", "--no-open"],
        &["token"],
        &["service", "install", "--user", "--print"],
        &["service", "install", "--user"],
        &["completions", "bash"],
        &["man", man],
    ];
    let answers: Vec<Value> = rows.iter().map(|row| answered(&place, row)).collect();
    let answer = |row: &[&str]| &answers[rows.iter().position(|known| *known == row).unwrap()];
    let released = answer(&["release", "web", "shop"])["released"]
        .as_array()
        .unwrap();
    let of = |lease: &Value| lease["name"].as_str().unwrap().to_owned();
    assert_eq!(released.iter().map(of).collect::<Vec<_>>(), ["web", "shop"]);
    let attempts = answer(&["history", "export"])["rows"].as_array().unwrap();
    assert!(attempts.len() > 2 && attempts.iter().all(|row| row["port"].is_u64()));
    let none = answer(&["history", "export", "--kind", "conflicts"]);
    assert_eq!(none["rows"], json!([]));
    let token = answer(&["token"])["token"].as_str().unwrap();
    assert_eq!(token, text(&place.run(&["token"]).stdout).trim());
    let script = answer(&["completions", "bash"])["script"].as_str().unwrap();
    assert_eq!(script, place.ok(&["completions", "bash"]));
    assert_eq!(answer(&["config", "check", "portbook.toml"])["services"], 1);

    let tried = names(rows.iter().map(|row| row[0]).chain(OTHERS));
    assert_eq!(tried, commands(), "a command is not tried");
}

#[test]
fn every_error_is_a_problem_document() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let console = server.console_port().to_string();
    let beside = place.folder().join("file");
    std::fs::write(&beside, "").unwrap();
    let file = beside.to_str().unwrap();
    let rows: &[(&[&str], i32, &str)] = &[
        (
            &["run", "--port", &console, "--", "true"],
            125,
            "port_leased",
        ),
        (&["run", "--", "nosuch-program"], 127, "failed"),
        (&["run", "--", file], 126, "failed"),
        (&["run", "--port", "0", "--", "true"], 2, "invalid_request"),
        (&["alloc", "--port", &console], 1, "port_leased"),
        (&["alloc", "--count", "0"], 2, "invalid_request"),
        (&["alloc", "--pool", "nosuch"], 2, "no_such_pool"),
        (&["env"], 2, "invalid_request"),
        (&["list", "--state", "odd"], 2, "invalid_request"),
        (&["release", "nosuch"], 1, "not_found"),
        (&["renew", "nosuch"], 1, "not_found"),
        (&["note", "nosuch", "text"], 1, "not_found"),
        (&["url", "nosuch"], 1, "not_found"),
        (&["fleet", "hosts"], OFF.0, OFF.1),
        (&["fleet", "claims"], OFF.0, OFF.1),
        (&["fleet", "evict", "build-2", "--yes"], OFF.0, OFF.1),
        (&["fleet", "everywhere"], OFF.0, OFF.1),
        (&["fleet", "reserve", "9100", "--name", "a"], OFF.0, OFF.1),
        (&["fleet", "reserve", "--name", "a"], OFF.0, OFF.1),
        (&["fleet", "release", "9100"], OFF.0, OFF.1),
        (&["resolve", "nosuch"], OFF.0, OFF.1),
        (&["exclude", "70000"], 2, "invalid_request"),
        (&["include", "8"], 1, "not_found"),
        (&["who", "0"], 2, "invalid_request"),
        (&["explain", "nosuch"], 1, "not_found"),
        (&["wait", "0"], 2, "invalid_request"),
        (&["stats", "--since", "soon"], 2, "invalid_request"),
        (&["report", "--since", "soon"], 2, "invalid_request"),
        (
            &["history", "export", "--format", "csv"],
            2,
            "invalid_request",
        ),
        (
            &["history", "export", "--allocation", "7"],
            2,
            "invalid_request",
        ),
        (&["status", "--socket", file], 3, "no_service"),
        (
            &["doctor", "--config", "/nonexistent"],
            2,
            "invalid_request",
        ),
        (&["interfaces", "--nosuch"], 2, "invalid_request"),
        (
            &["config", "show", "--config", "/nonexistent"],
            2,
            "invalid_request",
        ),
        (&["config", "init", file], 1, "failed"),
        (&["serve"], 1, "failed"),
        (&["dashboard", "--socket", file], 3, "no_service"),
        (&["portserver"], 1, "failed"),
        (&["mcp", "--directory", file], 2, "invalid_request"),
        (&["token", "--data-dir", file], 1, "store_unavailable"),
        (&["service", "uninstall"], 2, "invalid_request"),
        (&["completions", "tcsh"], 2, "invalid_request"),
        (&["man", file], 1, "failed"),
    ];
    for (arguments, exit, code) in rows {
        refused(&place, arguments, *exit, code);
    }
    let tried = names(rows.iter().map(|(row, ..)| row[0]));
    assert_eq!(tried, commands(), "a command is not tried");
}

#[test]
fn formats_beside_json_are_refused_in_the_same_words() {
    let place = Place::with_ports(3);
    project(&place);
    let mut rows: Vec<(&[&str], &str)> = vec![
        (&["env"], "dotenv"),
        (&["env"], "json"),
        (&["list"], "prometheus"),
        (&["list"], "traefik"),
        (&["list"], "caddy"),
        (&["report"], "markdown"),
        (&["history", "export"], "csv"),
    ];
    if cfg!(feature = "fleet") {
        rows.push((&["resolve", "web"], "address"));
        rows.push((&["list", "--fleet"], "prometheus"));
    }
    for (command, format) in rows {
        let said = format!("--json and --format {format} contradict each other: leave one out");
        let asked = [command, &["--format", format]].concat();
        // --json stands before the command, and behind it.
        let before = refused(&place, &asked, 2, "invalid_request");
        assert_eq!(before["detail"], said, "{asked:?}");
        let behind = refused(
            &place,
            &[&asked[..], &["--json"]].concat(),
            2,
            "invalid_request",
        );
        assert_eq!(behind["detail"], said, "{asked:?}");
    }
    answered(&place, &["report", "--format", "json"]);
    place.ok(&["--json", "history", "export", "--format", "jsonl"]);
}

#[test]
fn json_behind_the_program_of_run_is_the_programs() {
    let place = Place::with_ports(3);
    let wrong = place.run(&["run", "--port", "0", "--", "true", "--json"]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
}

#[test]
fn service_says_its_console_as_a_document() {
    let place = Place::with_ports(3);
    let mut serving = place.command();
    serving
        .args(["--json", "serve"])
        .stdout(std::process::Stdio::piped());
    let mut serving = serving.stderr(std::process::Stdio::null()).spawn().unwrap();
    let stdout = serving.stdout.take().unwrap();
    let first = serde_json::Deserializer::from_reader(stdout)
        .into_iter::<Value>()
        .next();
    serving.kill().unwrap();
    serving.wait().unwrap();
    let first = first.unwrap().unwrap();
    assert!(
        first["console"].as_str().unwrap().starts_with("http://"),
        "{first}"
    );
}

#[test]
fn status_without_a_service_is_one_document() {
    let place = Place::with_ports(3);
    let output = run(&place, &["status"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(document(&["status"], &output)["running"], false);
}

#[test]
fn numbers_are_refused_in_words() {
    let place = Place::with_ports(3);
    for (arguments, said) in [
        (&["alloc", "--count", "0"][..], "ask for one port at least"),
        (&["alloc", "--block", "0"], "ask for one port at least"),
        (
            &["alloc", "--max-attempts", "0"],
            "allow one attempt at least",
        ),
        (&["alloc", "--owner-pid", "0"], "a process id is 1 or more"),
        (&["alloc", "--count", "many"], "write a whole number"),
        (&["serve", "--max-attempts", "0"], "allow one port at least"),
        (&["list", "--limit", "0"], "ask for one lease at least"),
        (&["alloc", "--ttl", "0"], "a lease of no time ends at once"),
        (
            &["alloc", "--claim-within", "0s"],
            "a lease of no time ends",
        ),
        (&["env", "--claim-within", "0"], "a lease of no time ends"),
        (&["run", "--ttl", "0", "--", "true"], "a lease of no time"),
        (&["renew", "web", "--ttl", "0"], "a lease of no time ends"),
        (&["stats", "--limit", "5000"], "1000 ports at most"),
        (
            &["alloc", "--ttl", "soon"],
            "30s, 10m or 1h30m, or as a number of seconds",
        ),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = text(&output.stderr);
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert!(!told.contains("non-zero type"), "{arguments:?}: {told}");
    }
    let help = place.ok(&["alloc", "--help"]);
    let ttl = help.split("--ttl").nth(1).unwrap();
    let ttl = ttl.split("\n\n").next().unwrap().split_whitespace();
    let ttl = ttl.collect::<Vec<_>>().join(" ");
    assert!(ttl.contains("a number alone: seconds"), "{ttl}");
}

#[test]
fn config_check_says_that_all_is_well() {
    let mut place = Place::with_ports(3);
    let file = place.folder().join("my.toml");
    std::fs::write(&file, "[history]\nattempts_max = 1000\n").unwrap();
    let name = file.to_str().unwrap();
    let check = |place: &Place, arguments: &[&str]| {
        let all = [&["config", "check"], arguments].concat();
        let output = place.run(&all);
        (output.status.code(), text(&output.stdout))
    };
    // A file alone is checked without the other settings.
    place.set("PORTBOOK_SOKCET", "/s");
    let (code, told) = check(&place, &[name]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.ends_with(&format!("1 setting set; read {name}\n")),
        "{told}"
    );
    let (code, told) = check(&place, &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(!told.contains("well"), "{told}");
    place.set("PORTBOOK_SOKCET", "");
    std::fs::write(&file, "[history]\nattempts_maximum = 1000\n").unwrap();
    let (code, told) = check(&place, &[name]);
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("attempts_max") && told.contains(name),
        "{told}"
    );
    let (code, _) = check(&place, &["/nonexistent.toml"]);
    assert_eq!(code, Some(2));
    project(&place);
    let project = place.folder().join("portbook.toml");
    let (code, told) = check(&place, &[project.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("all is well: 1 service set"), "{told}");
    std::fs::write(&project, "[pools.default]\nranges = \"1-2\"\n").unwrap();
    let (code, told) = check(&place, &[project.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn named_socket_without_a_service_names_the_setting() {
    let mut place = Place::with_ports(3);
    let socket = place.folder().join("none.sock");
    let path = socket.to_str().unwrap();
    let told = |output: &Output, setting: &str, exit: i32| {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{said}");
        let names = format!("answers on {path}, which {setting} names");
        assert!(said.contains(&names), "{said}");
        assert!(said.contains("portbook serve"), "{said}");
        assert!(said.contains(&format!("leave {setting} out")), "{said}");
    };
    for arguments in [&["list"][..], &["alloc"], &["status"], &["dashboard"]] {
        let all = [arguments, &["--socket", path]].concat();
        told(&place.run(&all), "--socket", 3);
    }
    told(
        &place.run(&["--socket", path, "run", "--", "true"]),
        "--socket",
        125,
    );
    place.set("PORTBOOK_SOCKET", path);
    told(&place.run(&["alloc"]), "PORTBOOK_SOCKET", 3);
    told(&place.run(&["run", "--", "true"]), "PORTBOOK_SOCKET", 125);
    assert!(!record(&place).exists(), "another record was begun");
    // Without the setting, commands open the record themselves.
    place.set("PORTBOOK_SOCKET", "");
    place.ok(&["alloc"]);
    assert!(record(&place).exists());
}

fn record(place: &Place) -> std::path::PathBuf {
    let folder: &Path = &place.data_dir();
    folder.join("portbook.db")
}
