//! `portbook env` and the variables of services; each format is read back by a real reader.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::host::skipped;
use crate::support::{Place, text};

/// A work tree with this project file.
fn project(place: &Place, file: &str) -> PathBuf {
    let tree = place.folder().join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join(".git"), "gitdir: elsewhere").unwrap();
    std::fs::write(tree.join("portbook.toml"), file).unwrap();
    tree
}

fn portbook(place: &Place, tree: &PathBuf, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.current_dir(tree).args(arguments).output().unwrap()
}

fn ok(place: &Place, tree: &PathBuf, arguments: &[&str]) -> String {
    let output = portbook(place, tree, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn variables(place: &Place, tree: &PathBuf) -> Value {
    serde_json::from_str(&ok(place, tree, &["env", "--format", "json"])).unwrap()
}

/// A reader of YAML with compose's tags. `None` if python3 has no yaml module.
fn yaml(text: &str) -> Option<Value> {
    let script = "import json, sys, yaml
yaml.SafeLoader.add_constructor('!override', lambda l, n: {'override': l.construct_sequence(n)})
json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    let output = Command::new("python3")
        .args(["-c", script, text])
        .output()
        .unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("No module named 'yaml'") {
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn one_service_has_bare_variables_too() {
    let place = Place::with_ports(3);
    let tree = project(&place, "[services.web]\n");
    let port = place.ports[0].to_string();
    assert_eq!(
        variables(&place, &tree),
        json!({"PORT": port, "HOST": "127.0.0.1", "WEB_PORT": port, "WEB_HOST": "127.0.0.1"})
    );
    let tree = project(&place, "[services.web]\n[services.api]\n");
    let two = variables(&place, &tree);
    assert_eq!(two.get("PORT"), None, "{two}");
    assert_eq!(two.as_object().unwrap().len(), 4, "{two}");
}

#[test]
fn services_choose_their_variables_and_refer_to_others() {
    let place = Place::with_ports(4);
    let tree = project(
        &place,
        "[services.db]\nvariable = \"PGPORT\"\nhost_variable = \"PGHOST\"\n\
         env = { DATABASE_URL = \"postgres://{host}:{port}/app?a='b'\", API_URL = \"http://{api.host}:{api.port}\" }\n\
         [services.api]\nhost_variable = false\nhost = \"::1\"\ncount = 2\n",
    );
    let [api, second, db] = [0, 1, 2].map(|index| place.ports[index].to_string());
    let expected = json!({
        "API_PORT": api, "API_PORT_0": api, "API_PORT_1": second, "API_PORT_COUNT": "2",
        "API_URL": format!("http://[::1]:{api}"),
        "DATABASE_URL": format!("postgres://127.0.0.1:{db}/app?a='b'"),
        "PGHOST": "127.0.0.1", "PGPORT": db,
    });
    assert_eq!(variables(&place, &tree), expected);
    // The program of one service gets the port of the other, which keeps it.
    let run = |service: &str, script: &str| {
        ok(
            &place,
            &tree,
            &["run", "--service", service, "--", "sh", "-c", script],
        )
    };
    let said = run("db", "echo $PORT $PGPORT $API_URL ${API_PORT-unset}");
    assert_eq!(said, format!("{db} {db} http://[::1]:{api} unset\n"));
    assert_eq!(
        run("api", "echo $PORT_1 ${HOST-unset}"),
        format!("{second} unset\n")
    );
    let words = [
        "run",
        "--service",
        "db",
        "--",
        "echo",
        "{api.port.1} {port}",
    ];
    assert_eq!(ok(&place, &tree, &words), format!("{second} {db}\n"));
}

#[test]
fn reference_to_an_unused_service_reserves_its_port() {
    let place = Place::with_ports(3);
    let tree = project(
        &place,
        "[services.web]\nenv = { API_URL = \"http://{api.host}:{api.port}\" }\n[services.api]\n",
    );
    let _server = place.serve();
    let said = ok(
        &place,
        &tree,
        &["run", "--service", "web", "--", "sh", "-c", "echo $API_URL"],
    );
    let api = said.trim().rsplit(':').next().unwrap().to_owned();
    let list = place.json(&["list", "--pool", "default"]);
    let state = list["leases"].as_array().unwrap().iter();
    let state = state.clone().find(|lease| lease["name"] == "api").unwrap();
    assert_eq!(
        (state["state"].as_str(), state["port"].to_string()),
        (Some("reserved"), api.clone())
    );
    let said = ok(
        &place,
        &tree,
        &["run", "--service", "api", "--", "sh", "-c", "echo $PORT"],
    );
    assert_eq!(said.trim(), api);
}

#[test]
fn misread_variables_are_left_out_with_a_note() {
    let place = Place::with_ports(2);
    let tree = project(&place, "[services.docker]\n");
    let output = portbook(&place, &tree, &["env"]);
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(
        said.contains("DOCKER_PORT=") && !said.contains("DOCKER_HOST"),
        "{said}"
    );
    assert!(told.contains("host_variable = \"DOCKER_HOST\""), "{told}");
    let output = place.run(&[
        "run",
        "--name",
        "ollama",
        "--",
        "sh",
        "-c",
        "echo ${OLLAMA_HOST-unset}",
    ]);
    assert_eq!(text(&output.stdout), "unset\n");
    assert!(text(&output.stderr).contains("OLLAMA_HOST is not set"));
    let tree = project(
        &place,
        "[services.docker]\nhost_variable = \"DOCKER_HOST\"\n",
    );
    assert_eq!(variables(&place, &tree)["DOCKER_HOST"], "127.0.0.1");
}

#[test]
fn a_range_of_the_project_is_kept_to() {
    let place = Place::with_ports(3);
    let last = place.ports[2];
    let tree = project(&place, &format!("[services.web]\nrange = \"{last}\"\n"));
    assert_eq!(variables(&place, &tree)["PORT"], last.to_string());
}

#[test]
fn every_shell_reads_what_is_written_for_it() {
    let place = Place::with_ports(2);
    let url = "http://{host}:{port}/?a=$(id)&b=it's \\\\ \\\"x\\\" `id`";
    let tree = project(
        &place,
        &format!("[services.web]\nenv = {{ URL = \"{url}\" }}\n"),
    );
    let expected = variables(&place, &tree)["URL"].as_str().unwrap().to_owned();
    let print = "env -0 | tr '\\0' '\\n' | sed -n 's/^URL=//p'";
    for (shell, format, read) in [
        ("sh", "shell", "eval \"$TEXT\""),
        (
            "bash",
            "direnv",
            "watch_file() { test -f \"$1\"; }; eval \"$TEXT\"",
        ),
        ("zsh", "shell", "eval \"$TEXT\""),
        ("fish", "fish", "printf %s $TEXT | source"),
    ] {
        let written = ok(&place, &tree, &["env", "--format", format]);
        let script = format!("{read}\n{print}");
        let output = Command::new(shell)
            .args(["-c", &script])
            .env("TEXT", &written)
            .output();
        let Ok(output) = output else {
            skipped("a shell's variables", &format!("{shell} is not there"));
            continue;
        };
        assert_eq!(
            text(&output.stdout).trim_end(),
            expected,
            "{shell}: {}",
            text(&output.stderr)
        );
    }
    let dotenv = portbook(&place, &tree, &["env", "--format", "dotenv"]);
    assert_eq!(dotenv.status.code(), Some(2));
    assert!(text(&dotenv.stderr).contains("URL cannot be written as dotenv"));
}

#[test]
fn direnv_watches_the_project_file() {
    let place = Place::with_ports(1);
    let tree = project(&place, "[services.web]\n");
    let said = ok(&place, &tree, &["env", "--format", "direnv"]);
    let file = tree.canonicalize().unwrap().join("portbook.toml");
    let script = format!("watch_file() {{ echo \"$1\"; }}\n{said}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&output.stdout).trim(), file.to_str().unwrap());
}

#[test]
fn compose_publishes_the_ports_of_each_service() {
    let place = Place::with_ports(6);
    let [a, b, c] = [0, 1, 2].map(|index| place.ports[index]);
    let tree = project(
        &place,
        "[services.a]\ntarget = 80\ncount = 2\n[services.b]\ninterfaces = \"any\"\n\
         target = 53\nprotocol = \"both\"\n[services.c]\nprefer = 3000\n",
    );
    let output = portbook(&place, &tree, &["env", "--format", "compose"]);
    let written = text(&output.stdout);
    assert!(
        text(&output.stderr).contains("c is left out"),
        "{}",
        text(&output.stderr)
    );
    let Some(read) = yaml(&written) else {
        return skipped("compose", "python3 has no yaml");
    };
    let expected = json!({"services": {
        "a": {"ports": {"override": [format!("127.0.0.1:{a}:80/tcp"), format!("127.0.0.1:{b}:81/tcp")]}},
        "b": {"ports": {"override": [format!("0.0.0.0:{c}:53/tcp"), format!("0.0.0.0:{c}:53/udp")]}},
    }});
    assert_eq!(read, expected, "{written}");
    // Without any target the ports of the file itself are the containers'.
    let tree = project(
        &place,
        &format!("[services.d]\nport = {}\n", place.ports[5]),
    );
    let written = ok(&place, &tree, &["env", "--format", "compose"]);
    assert!(
        written.contains(&format!("{0}:{0}/tcp", place.ports[5])),
        "{written}"
    );
    let tree = project(&place, "[services.e]\n");
    let output = portbook(&place, &tree, &["env", "--format", "compose"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("target = 8080"));
}

#[test]
fn a_hostile_project_is_refused_with_its_line() {
    let place = Place::with_ports(1);
    for setting in [
        "variable = \"LD_PRELOAD\"",
        "host = \"$(id)\"",
        "env = { IFS = \"{port}\" }",
    ] {
        let tree = project(&place, &format!("[services.web]\n{setting}\n"));
        let output = portbook(&place, &tree, &["env"]);
        let said = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout).len()),
            (Some(2), 0),
            "{said}"
        );
        assert!(said.contains("portbook.toml:2"), "{said}");
        let run = portbook(&place, &tree, &["run", "--service", "web", "--", "true"]);
        assert_eq!(run.status.code(), Some(125));
    }
}
