//! The command line: documents of `--json`, exit codes, output for scripts, and the words that
//! scripts write: commands, flags and their values.

use std::process::Output;

use serde_json::{Value, json};

use super::mask::Mask;
use super::world::World;
use crate::support::text;
use crate::tools::eventually;

/// What a command's stdout is.
#[derive(Clone, Copy, PartialEq)]
enum Stdout {
    /// JSON documents, one or one a line.
    Json,
    /// Lines that scripts read.
    Script,
    /// Rows with a header.
    Csv,
    /// Text for people, which is not recorded.
    People,
}

struct Recorder {
    world: World,
    steps: Vec<Value>,
}

impl Recorder {
    /// Runs a command with `--json`, and gives its document.
    fn json(&mut self, arguments: &[&str]) -> Value {
        let all = [&["--json"], arguments].concat();
        let output = self.world.run(&all);
        self.add(&all, &output, Stdout::Json);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Runs a command whose output scripts read.
    fn script(&mut self, arguments: &[&str]) -> String {
        let output = self.world.run(arguments);
        self.add(arguments, &output, Stdout::Script);
        text(&output.stdout)
    }

    fn csv(&mut self, arguments: &[&str]) {
        let output = self.world.run(arguments);
        self.add(arguments, &output, Stdout::Csv);
    }

    /// Runs a command whose output is for people: only its end is recorded.
    fn people(&mut self, arguments: &[&str]) {
        let output = self.world.run(arguments);
        self.add(arguments, &output, Stdout::People);
    }

    fn add(&mut self, arguments: &[&str], output: &Output, stdout: Stdout) {
        let said = text(&output.stdout);
        let command = format!("portbook {}", arguments.join(" "));
        let step = json!({
            "command": self.world.mask.text(&command),
            "exit": output.status.code(),
            "stdout": recorded(&mut self.world.mask, &said, stdout),
            "stderr": if output.stderr.is_empty() { "" } else { "<words>" },
        });
        self.steps.push(step);
    }
}

fn recorded(mask: &mut Mask, said: &str, stdout: Stdout) -> Value {
    match stdout {
        Stdout::People if said.is_empty() => "".into(),
        Stdout::People => "<words>".into(),
        Stdout::Csv => mask.csv(said),
        Stdout::Script => said.lines().map(|line| mask.text(line)).collect(),
        Stdout::Json => match serde_json::from_str(said) {
            Ok(document) => mask.value(document),
            Err(_) => said
                .lines()
                .map(|line| mask.value(serde_json::from_str(line).expect("a document")))
                .collect(),
        },
    }
}

/// Every answer of the command line.
pub fn record() -> Option<Value> {
    let world = World::new("recording of the command line")?;
    let mut recorder = Recorder {
        world,
        steps: Vec::new(),
    };
    let words = words(&recorder.world);
    without_a_service(&mut recorder);
    let server = recorder.world.serve();
    let token = server.token();
    recorder.world.mask.also(&token, "<token>");
    granting(&mut recorder);
    projects(&mut recorder);
    running(&mut recorder);
    until_ended(&recorder.world);
    refusals(&mut recorder);
    leases(&mut recorder);
    ports(&mut recorder);
    past(&mut recorder);
    host(&mut recorder);
    assert!(server.stop().success());
    Some(json!({ "answers": recorder.steps, "words": words }))
}

/// Each command with its flags and their possible values, as help lists them.
fn words(world: &World) -> Value {
    let mut commands = vec![Vec::new()];
    let mut found = serde_json::Map::new();
    while let Some(command) = commands.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = text(&world.run(&arguments).stdout);
        for below in subcommands(&help) {
            commands.push([command.clone(), vec![below]].concat());
        }
        let mut name = vec!["portbook".to_owned()];
        name.extend(command);
        found.insert(name.join(" "), flags(&help));
    }
    found.into()
}

fn subcommands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let rows = list.lines().take_while(|line| !line.is_empty());
    let rows = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = rows.filter_map(|line| line.split_whitespace().next());
    // Those of a fleet differ from build to build, and have tests of their own.
    names
        .filter(|name| !["help", "fleet", "resolve"].contains(name))
        .map(str::to_owned)
        .collect()
}

/// Flags in the order of the alphabet, and after each its possible values.
fn flags(help: &str) -> Value {
    let mut flags = Vec::new();
    for line in help.lines().map(str::trim) {
        let first = line.split("  ").next().unwrap();
        if first.starts_with("--") || first.starts_with('-') && !first.starts_with("- ") {
            let names = first.split([' ', ',']).filter(|word| word.starts_with('-'));
            flags.push(names.collect::<Vec<_>>().join(" "));
        } else if let (Some(value), Some(flag)) = (line.strip_prefix("- "), flags.last_mut()) {
            flag.push_str(" | ");
            flag.push_str(value.split(':').next().unwrap());
        }
    }
    flags.sort_unstable();
    flags.into()
}

fn without_a_service(recorder: &mut Recorder) {
    recorder.json(&["status"]);
    recorder.json(&["list"]);
    recorder.json(&["alloc", "--name", "early"]);
    recorder.script(&["alloc", "--name", "early"]);
    recorder.json(&["list"]);
    recorder.json(&["dashboard", "--no-open"]);
    recorder.json(&[
        "wait",
        "early",
        "--timeout",
        "1s",
        "--socket",
        "/nonexistent",
    ]);
    recorder.json(&["release", "early"]);
}

fn granting(recorder: &mut Recorder) {
    recorder.script(&["alloc"]);
    recorder.script(&["alloc", "--count", "2"]);
    recorder.json(&[
        "alloc",
        "--name",
        "web",
        "--ttl",
        "1h",
        "--label",
        "team=shop",
    ]);
    recorder.json(&["alloc", "--name", "web"]);
    recorder.json(&[
        "alloc",
        "--dry-run",
        "--strategy",
        "learned",
        "--range",
        "22100",
    ]);
    recorder.people(&["alloc", "--dry-run"]);
    recorder.json(&[
        "alloc",
        "--port",
        "23000",
        "--protocol",
        "both",
        "--claim-within",
        "90s",
    ]);
    recorder.json(&["alloc", "--prefer", "23000", "--name", "near"]);
    recorder.json(&[
        "alloc",
        "--range",
        "22000-22009",
        "--block",
        "2",
        "--interface",
        "127.0.0.1",
    ]);
    recorder.json(&["alloc", "--name", "kept", "--reserve", "--pool", "small"]);
}

fn projects(recorder: &mut Recorder) {
    recorder.json(&["env"]);
    let file = recorder.world.place.folder().join("portbook.toml");
    let project = "[services.shop]\nprefer = 24000\n\n[services.db]\nvariable = \"PGPORT\"\n\
                   env = { DATABASE_URL = \"postgres://{host}:{port}/app\" }\n";
    std::fs::write(file, project).unwrap();
    for format in ["shell", "dotenv", "json", "fish", "direnv", "compose"] {
        recorder.script(&["env", "--format", format]);
    }
    recorder.json(&["env"]);
    recorder.json(&["env", "--instance", "2"]);
    recorder.json(&["alloc", "--service", "shop"]);
    recorder.json(&["config", "check", "portbook.toml"]);
    recorder.json(&["release", "shop"]);
}

fn running(recorder: &mut Recorder) {
    let show =
        "echo $PORT $HOST $PORTBOOK_ADDRESSES $*; env | grep ^PORTBOOK_ | cut -d= -f1 | sort";
    recorder.script(&[
        "run", "--port", "25000", "--", "sh", "-c", show, "sh", "{port}", "{host}",
    ]);
    recorder.script(&[
        "run",
        "--name",
        "x",
        "--name",
        "y",
        "--",
        "sh",
        "-c",
        "echo $X_PORT $Y_PORT",
    ]);
    recorder.script(&["run", "--port", "25001", "--", "sh", "-c", "exit 7"]);
    recorder.script(&["run", "--port", "25002", "--", "/nonexistent"]);
    recorder.json(&["run", "--port", "25003", "--", "/nonexistent"]);
    recorder.json(&["run", "--port", "8888", "--", "true"]);
    recorder.json(&["run", "--port", "0", "--", "true"]);
}

/// Waits until the leases of the programs have ended.
fn until_ended(world: &World) {
    eventually("the programs' leases have ended", || {
        let list = world.run(&["--json", "list"]);
        let list: Value = serde_json::from_slice(&list.stdout).unwrap();
        let mut leases = list["leases"].as_array().unwrap().iter();
        let is_left = leases.any(|lease| {
            lease["owner"]["command"] == "sh"
                || (25000..25010).contains(&lease["port"].as_u64().unwrap())
        });
        (!is_left).then_some(())
    });
}

fn refusals(recorder: &mut Recorder) {
    let rows: [&[&str]; 13] = [
        &["alloc", "--port", "8888"],
        &["alloc", "--count", "0"],
        &["alloc", "--pool", "nosuch"],
        &["alloc", "--pool", "small", "--count", "2"],
        &["alloc", "--nosuch"],
        &["alloc", "--ttl", "soon"],
        &["list", "--state", "odd"],
        &["release", "nosuch"],
        &["renew", "nosuch"],
        &["who", "0"],
        &["explain", "nosuch"],
        &["stats", "--since", "soon"],
        &["nosuch"],
    ];
    for arguments in rows {
        recorder.json(arguments);
        recorder.people(arguments);
    }
}

fn leases(recorder: &mut Recorder) {
    recorder.json(&["list"]);
    recorder.people(&["list"]);
    recorder.json(&["list", "--label", "team"]);
    recorder.json(&["list", "--sort", "-port", "--limit", "2"]);
    recorder.json(&["renew", "web", "--ttl", "2h"]);
    recorder.json(&["explain", "web"]);
    recorder.people(&["explain", "web"]);
    recorder.json(&["wait", "26001", "--timeout", "1s"]);
    recorder.json(&["wait", "--free", "26000"]);
    recorder.people(&["release", "web"]);
    recorder.json(&["release", "near", "kept"]);
    recorder.json(&["release", "--gone"]);
    recorder.json(&["release", "--label", "none"]);
    recorder.json(&["list", "--all", "--name", "web"]);
}

fn ports(recorder: &mut Recorder) {
    recorder.json(&["exclude", "26000-26002", "--reason", "a test bench"]);
    recorder.json(&["exclude", "70000"]);
    recorder.json(&["alloc", "--port", "26000"]);
    recorder.json(&["exclude"]);
    recorder.json(&["include", "26000-26002"]);
    recorder.json(&["include", "26000"]);
    let mut client = recorder.world.client();
    client.listen(26005);
    recorder.json(&["who"]);
    recorder.json(&["who", "26005"]);
    recorder.json(&["who", "26004-26006"]);
    recorder.json(&["alloc", "--port", "26005"]);
}

fn past(recorder: &mut Recorder) {
    for kind in [
        "attempts",
        "days",
        "snapshots",
        "sightings",
        "conflicts",
        "endings",
    ] {
        recorder.json(&["history", "export", "--kind", kind]);
        recorder.csv(&["history", "export", "--kind", kind, "--format", "csv"]);
    }
    recorder.json(&["history", "export", "--outcome", "in_use", "--limit", "1"]);
    recorder.json(&["history", "export", "--allocation", "7"]);
    recorder.json(&["history", "prune", "--keep", "2", "--dry-run"]);
    recorder.json(&["stats"]);
    recorder.json(&["report"]);
    recorder.people(&["report", "--label", "none"]);
}

fn host(recorder: &mut Recorder) {
    recorder.json(&["status"]);
    recorder.json(&["interfaces"]);
    let doctor = recorder.world.run(&["--json", "doctor"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let checks = &doctor["checks"];
    recorder
        .steps
        .push(json!({ "command": "portbook --json doctor", "checks": checks }));
    recorder.json(&["config", "show"]);
    recorder.json(&["config", "check"]);
    recorder.json(&["config", "check", "--config", "/nonexistent"]);
    recorder.json(&["config", "init", "my.toml"]);
    recorder.json(&["config", "init", "my.toml"]);
    recorder.json(&["dashboard", "--no-open"]);
    recorder.json(&["token"]);
    recorder.script(&["token"]);
    recorder.json(&["serve"]);
    recorder.json(&["completions", "tcsh"]);
    recorder.json(&["man", "man"]);
    recorder.script(&["--version"]);
}
