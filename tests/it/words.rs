//! Ports as a program gets them: variables, placeholders in its arguments, inherited sockets.

use std::process::Output;

use serde_json::json;

use crate::support::{Place, occupant, text};

/// Prints these variables of a program under `run`, one a line, `-` for unset ones.
fn shown(variables: &[&str]) -> String {
    let each = variables
        .iter()
        .map(|name| format!("echo ${{{name}-unset}};"));
    each.collect()
}

fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut all = vec!["run"];
    all.extend(arguments);
    place.run(&all)
}

/// The lines that a program printed.
fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn refused(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let living = place.json(&["list", "--pool", "default"]);
    assert_eq!(living["leases"], json!([]), "{arguments:?}");
    said
}

fn in_a_row(count: u16) -> Place {
    let first = crate::support::ports_in_a_row(usize::from(count));
    Place::on((first..first + count).collect(), crate::support::ports(4))
}

#[test]
fn several_ports_without_names_are_numbered() {
    let place = Place::with_ports(3);
    let script = shown(&["PORT", "PORT_0", "PORT_2", "PORT_COUNT"]) + "echo $*";
    let words = ["{port}", "{port.1}"];
    let arguments = [
        "--count", "3", "--", "sh", "-c", &script, "x", words[0], words[1],
    ];
    let said = lines(&run(&place, &arguments));
    let [a, b, c] = [0, 1, 2].map(|index| place.ports[index].to_string());
    assert_eq!(said, [&a, &a, &c, "3", &format!("{a} {b}")]);
}

/// A block asked for at its fourth port, asked for again, given back by its name, asked for again.
fn sticky_block(place: &Place) {
    let script = shown(&["PORT", "RAY_PORT", "RAY_PORT_3", "PORT_COUNT"]) + "echo $*";
    let first = place.ports[3];
    let at = |offset: u16| (first + offset).to_string();
    let prefer = ["--prefer", &at(0)];
    let ray = |more: &[&str]| {
        let options = ["--name", "ray", "--block", "4"];
        let program = ["--", "sh", "-c", &script, "x"];
        let words = ["{port+1}", "{ray.port+3}", "{ray.port.2}"];
        let all = [&options[..], more, &program[..], &words[..]].concat();
        lines(&run(place, &all))
    };
    let words = format!("{} {} {}", at(1), at(3), at(2));
    let expected = [at(0), at(0), at(3), "4".to_owned(), words];
    assert_eq!(ray(&prefer), expected);
    assert_eq!(ray(&[]), expected, "its names keep the row");
    // Held differently, the block ends and is granted again: an ended block is the first choice.
    let elsewhere = ["--interface", "loopback"];
    assert_eq!(ray(&elsewhere)[0], at(0), "the same row on other addresses");
    place.ok(&["release", "ray"]);
    let living = place.json(&["list", "--pool", "default"]);
    assert_eq!(living["leases"], json!([]), "{living}");
    // With `ordered` a new block begins at the pool's first port: its names have forgotten the row.
    assert_eq!(ray(&[])[0], place.ports[0].to_string());
}

#[test]
fn a_named_block_comes_back_as_a_whole() {
    let place = in_a_row(8);
    sticky_block(&place);
    let place = in_a_row(8);
    let _server = place.serve();
    sticky_block(&place);
}

#[test]
fn a_block_that_lives_in_part_moves_as_a_whole() {
    let place = in_a_row(8);
    let server = place.serve();
    let first = place.ports[0];
    let two = json!({"name": "ray", "block": 2});
    assert_eq!(server.allocate(&two).status, 201);
    place.ok(&["release", "ray.1"]);
    let _occupant = occupant(first + 1);
    let granted = server.allocate(&two);
    let granted = granted.json();
    let ports = |granted: &serde_json::Value| -> Vec<u64> {
        let leases = granted["leases"].as_array().unwrap();
        leases
            .iter()
            .map(|it| it["port"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        ports(&granted),
        [u64::from(first) + 2, u64::from(first) + 3],
        "{granted}"
    );
    // A longer block moves as well; a living program is not moved.
    let three = json!({"name": "ray", "block": 3});
    let longer = server.allocate(&three).json();
    assert_eq!(ports(&longer)[0], u64::from(first) + 2, "{longer}");
    let owned = json!({"name": "own", "owner_pid": std::process::id()});
    assert_eq!(server.allocate(&owned).status, 201);
    let block = json!({"name": "own", "block": 2});
    let refused = server.allocate(&block);
    assert_eq!(refused.json()["code"], "name_taken", "{refused:?}");
}

#[test]
fn a_preferred_block_begins_at_the_preferred_port() {
    let place = in_a_row(8);
    let _server = place.serve();
    let third = place.ports[3].to_string();
    let said = place.ok(&["alloc", "--name", "w", "--block", "3", "--prefer", &third]);
    assert_eq!(said.lines().next(), Some(&*third));
    place.ok(&["alloc", "--name", "n", "--count", "2"]);
    let names = place.json(&["list", "--pool", "default"]);
    let names: Vec<&str> = names["leases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lease| lease["name"].as_str().unwrap())
        .collect();
    for name in ["w", "w.1", "w.2", "n", "n.1"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[test]
fn placeholders_that_cannot_be_filled_stop_the_program() {
    let place = Place::with_ports(4);
    for (options, word, expected) in [
        (&["--count", "3"][..], "{port.7}", "{port.0} to {port.2}"),
        (&[], "{nosuch.port}", "nothing here is called nosuch"),
        (
            &["--name", "a", "--name", "b"],
            "{port}",
            "such as {a.port}",
        ),
        (&["--count", "2"], "{port+1}", "ask for a block"),
        (&["--block", "2"], "{port+2}", "there are 2"),
    ] {
        let said = refused(&place, &[options, &["--", "echo", word]].concat());
        assert!(
            said.contains(expected) && said.contains("--literal"),
            "{said}"
        );
    }
    let words = ["{\"port\": 1}", "${port}", "{{port}}", "{prot}", "{PORT}"];
    let said = lines(&run(&place, &[&["--", "echo"], &words[..]].concat()));
    assert_eq!(said, [words.join(" ")]);
    let said = lines(&run(&place, &["--literal", "--", "echo", "{nosuch.port}"]));
    assert_eq!(said, ["{nosuch.port}"]);
}

#[test]
fn names_with_one_variable_are_refused_everywhere() {
    let place = Place::with_ports(4);
    let server = place.serve();
    for names in [["my-api", "my_api"], ["Web", "web"]] {
        let options = ["--name", names[0], "--name", names[1]];
        let said = refused(&place, &[&options[..], &["--", "true"]].concat());
        assert!(said.contains("both set"), "{said}");
        let alloc = place.run(&[&["alloc"], &options[..]].concat());
        assert_eq!(alloc.status.code(), Some(2), "{}", text(&alloc.stderr));
        let answer = server.allocate(&json!({"names": names}));
        assert_eq!(answer.json()["code"], "invalid_request", "{answer:?}");
    }
}

#[test]
fn a_variable_of_choice_has_the_port_of_a_name() {
    let place = Place::with_ports(2);
    let names = ["--name", "db", "--name", "web"];
    let chosen = ["--env", "PGPORT=db", "--env", "PORT=1"];
    let script = shown(&["PGPORT", "PORT", "DB_PORT"]);
    let all = [&names[..], &chosen[..], &["--", "sh", "-c", &script]].concat();
    let [db, web] = [0, 1].map(|index| place.ports[index].to_string());
    assert_eq!(lines(&run(&place, &all)), [db.clone(), web, db]);
    // Given back, so that a refusal leaves nothing.
    place.ok(&["release", "db", "web"]);
    for (wrong, code) in [
        ("PGPORT=x", 125),
        ("PGPORT=2", 125),
        ("1A=0", 2),
        ("PGPORT", 2),
    ] {
        let output = run(
            &place,
            &[&names[..], &["--env", wrong, "--", "true"]].concat(),
        );
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{wrong}: {said}");
    }
}

#[test]
fn outer_ports_never_pass_for_the_programs_own() {
    let place = Place::with_ports(2);
    let mut command = place.command();
    for variable in [
        "PORT",
        "HOST",
        "PORT_0",
        "PORT_7",
        "PORT_COUNT",
        "LISTEN_FDS",
    ] {
        command.env(variable, "1");
    }
    command.env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "x");
    command.env("LISTEN_PIDFDID", "1").env("PORT_NAME", "kept");
    let hidden = [
        "PORT",
        "HOST",
        "PORT_0",
        "PORT_7",
        "PORT_COUNT",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
        "PORT_NAME",
    ];
    command.args([
        "run",
        "--name",
        "a",
        "--name",
        "b",
        "--",
        "sh",
        "-c",
        &shown(&hidden),
    ]);
    let said = lines(&command.output().unwrap());
    assert_eq!(said[..9], vec!["unset"; 9], "{said:?}");
    assert_eq!(said[9], "kept");
}

/// A program that is given one socket, as from systemd, and becomes portbook.
const ACTIVATED: &str = "import os, socket, sys
s = socket.create_server(('127.0.0.1', 0)); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), OUTER=str(s.getsockname()[1]))
if sys.argv[1]: os.environ['LISTEN_FDNAMES'] = sys.argv[1]
os.execvp(sys.argv[2], sys.argv[2:])";

/// A program that prints what it was given: names, and whether each port is the one expected.
const ACTIVE: &str = "import os, socket
assert os.environ['LISTEN_PID'] == str(os.getpid()), 'not for this process'
count = int(os.environ['LISTEN_FDS'])
ports = [socket.socket(fileno=3 + n).getsockname()[1] for n in range(count)]
print(os.environ.get('LISTEN_FDNAMES'), ports[0] == int(os.environ['OUTER']),
      all(port == int(os.environ['PORT']) for port in ports[1:]), count)";

#[test]
fn sockets_of_a_supervisor_are_passed_on_before_our_own() {
    let place = Place::with_ports(2);
    let activated = |name: &str, options: &[&str]| {
        let command = place.command();
        let portbook = command.get_program().to_owned();
        let mut python = std::process::Command::new("python3");
        python.env_clear();
        python.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        python
            .args(["-c", ACTIVATED, name])
            .arg(portbook)
            .args(["run", "-i", "127.0.0.1"]);
        python.args(options).args(["--", "python3", "-c", ACTIVE]);
        lines(&python.output().unwrap())
    };
    let fd = ["--name", "g", "--handover", "fd"];
    assert_eq!(activated("metrics", &fd), ["metrics:g True True 2"]);
    assert_eq!(activated("", &fd), ["unknown:g True True 2"]);
    assert_eq!(activated("metrics", &[]), ["metrics True True 1"]);
    assert_eq!(
        activated("metrics", &["--handover", "release"]),
        ["metrics True True 1"]
    );
}

#[test]
fn host_reaches_what_was_asked_for_by_hand() {
    let place = Place::with_ports(2);
    let script = shown(&["HOST", "PORTBOOK_CLIENT_HOST"]) + "echo $*";
    let told = |options: &[&str]| {
        let all = [options, &["--", "sh", "-c", &script, "x", "{host}"]].concat();
        let output = run(&place, &all);
        (lines(&output), text(&output.stderr))
    };
    for (options, host, client) in [
        (&[][..], "127.0.0.1", "127.0.0.1"),
        (&["-i", "any"], "0.0.0.0", "127.0.0.1"),
        (&["-i", "all"], "0.0.0.0", "127.0.0.1"),
        (&["-i", "any,ipv6"], "::", "::1"),
        (&["-i", "127.0.0.1"], "127.0.0.1", "127.0.0.1"),
        (&["-i", "lo,!::1"], "127.0.0.1", "127.0.0.1"),
    ] {
        let (said, note) = told(options);
        assert_eq!(said, [host, client, host], "{options:?}");
        assert!(!note.contains("HOST is"), "{options:?}: {note}");
    }
}

#[test]
fn host_is_told_where_it_is_one_of_several() {
    let place = Place::with_ports(2);
    let output = run(&place, &["-i", "127.0.0.1,127.0.0.2", "--", "true"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("HOST is 127.0.0.1, one of the addresses held (127.0.0.1, 127.0.0.2)"),
        "{said}"
    );
}

#[test]
fn addresses_of_two_protocols_are_listed_once() {
    let place = Place::with_ports(1);
    let script = "echo $PORTBOOK_ADDRESSES";
    let said = lines(&run(
        &place,
        &[
            "-i",
            "127.0.0.1",
            "--protocol",
            "both",
            "--",
            "sh",
            "-c",
            script,
        ],
    ));
    assert_eq!(said, [format!("127.0.0.1:{}", place.ports[0])]);
}

#[test]
fn an_inner_portbook_takes_no_answer_for_a_setting() {
    let place = Place::with_ports(2);
    let portbook = crate::support::PORTBOOK;
    let said = lines(&run(
        &place,
        &["--", portbook, "run", "--", "sh", "-c", "echo $PORT"],
    ));
    assert_eq!(said, [place.ports[1].to_string()]);
}
