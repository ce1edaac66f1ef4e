//! Hints: advice on programs that do not do with their port what the lease is for.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, Server, port, ports_in_a_row, text};
use crate::tools::{Running, ended, eventually};
use crate::wait::watches;

/// Listens on the ports that it is given, whatever PORT says.
const LISTEN: &str = r#"
import os, socket, sys
kept = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[1:] if port.isdigit()]
print("listens", flush=True)
sys.stdin.read()
"#;

/// Binds as a program does that sets no SO_REUSEADDR.
const BIND_STRICTLY: &str = r#"
import os, socket, sys
s = socket.socket()
try:
    s.bind(("127.0.0.1", int(os.environ["PORT"])))
except OSError as error:
    sys.exit(str(error))
s.listen()
print("listens", flush=True)
sys.stdin.read()
"#;

fn listening(place: &Place, options: &[&str], arguments: &[&str]) -> Running {
    let mut command = place.command();
    command.arg("run").args(options);
    command
        .args(["--", "python3", "-c", LISTEN])
        .args(arguments);
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "listens");
    program
}

/// A program under `run` that binds its port strictly, until it ends.
fn strict(place: &Place, options: &[&str]) -> String {
    let mut command = place.command();
    command.arg("run").args(options);
    command.args(["--", "python3", "-c", BIND_STRICTLY]);
    let output = ended(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr)
}

fn lease(server: &Server) -> Value {
    let living = server.living("default");
    assert_eq!(living.len(), 1, "{living:?}");
    living[0].clone()
}

fn hint(server: &Server, kind: &str) -> String {
    eventually("the hint", || {
        let lease = lease(server);
        let hint = &lease["hint"];
        (hint["kind"] == kind).then(|| hint["says"].as_str().unwrap().to_owned())
    })
}

fn assert_is_told(place: &Place, server: &Server, says: &str) {
    let id = lease(server)["id"].as_str().unwrap().to_owned();
    for command in ["list", "explain"] {
        let what = port(&lease(server)).to_string();
        let target = (command == "explain").then_some(&*what);
        let output = place.run(&std::iter::once(command).chain(target).collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(said.contains(says), "{command}: {said}");
    }
    assert!(server.log().contains(says), "{}", server.log());
    let bearer = format!("Bearer {}", server.token());
    let authorized = [("Authorization", &*bearer)];
    let page = server.web("GET", &format!("/leases/{id}"), &authorized);
    let begin = says.split(['{', '(']).next().unwrap();
    assert!(page.body.contains(begin), "{page:?}");
    let overview = server.web("GET", "/", &authorized);
    assert!(
        overview.body.contains(begin),
        "the event is on the overview: {overview:?}"
    );
}

#[test]
fn program_on_another_port_is_told_to_take_its_own() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let other = place.console_ports[3].to_string();
    // A word of the command line tells the framework.
    let mut program = listening(
        &place,
        &["--name", "web"],
        &[&other, "/app/node_modules/.bin/vite"],
    );
    let says = hint(&server, "elsewhere");
    let own = place.ports[0];
    let begin = format!("its program listens on {other}, not on {own}: pass the port");
    assert!(says.starts_with(&begin), "{says}");
    assert!(says.ends_with("vite --port {port} --strictPort"), "{says}");
    assert_is_told(&place, &server, &says);
    assert_eq!(lease(&server)["state"], "handed");

    // The next start says it again, and a program on its own port silences it.
    program.0.kill().unwrap();
    eventually("its owner is away", || {
        (lease(&server)["state"] == "reserved").then_some(())
    });
    let right = place.shell(
        "exec portbook run --name web -- python3 -c 'import os, socket, sys
s = socket.create_server((\"127.0.0.1\", int(os.environ[\"PORT\"])))
print(\"listens\", flush=True); sys.stdin.read()' 2>said",
    );
    let mut right = Running::piped(right);
    assert_eq!(right.line(), "listens");
    let said = std::fs::read_to_string(place.folder().join("said")).unwrap();
    assert!(said.contains(&begin), "{said}");
    eventually("no hint any more", || {
        lease(&server).get("hint").is_none().then_some(())
    });
}

#[test]
fn program_that_takes_the_next_port_too_is_shown() {
    let first = ports_in_a_row(2);
    let [own, next] = [first, first + 1];
    let place = Place::on(vec![own], crate::support::ports(4));
    let server = place.serve();
    let both = [own, next].map(|port| port.to_string());
    let _program = listening(&place, &["--name", "turn"], &[&both[0], &both[1]]);
    let says = hint(&server, "neighbours");
    assert!(says.contains(&format!("also listens on {next},")), "{says}");
    assert!(says.contains("--block 2"), "{says}");
    assert_is_told(&place, &server, &says);
    assert_eq!(lease(&server)["state"], "active");
}

#[test]
fn port_of_another_lease_of_the_program_is_no_hint() {
    let first = ports_in_a_row(2);
    let place = Place::on(vec![first, first + 1], crate::support::ports(4));
    let server = place.serve();
    let other = place.console_ports[3].to_string();
    let both = ["--name", "web", "--name", "api"];
    let _program = listening(&place, &both, &["{web.port}", "{api.port}"]);
    // A third program shows that the look has been.
    let mut third = place.command();
    third.args(["run", "--port", &place.console_ports[2].to_string()]);
    third.args(["--", "python3", "-c", LISTEN, &other]);
    let mut third = Running::piped(third);
    assert_eq!(third.line(), "listens");
    let leases = eventually("the hint on the third", || {
        let living = server.living("default");
        let hinted = living.iter().any(|lease| lease["hint"].is_object());
        hinted.then_some(living)
    });
    let hinted: Vec<u16> = leases
        .iter()
        .filter(|lease| lease["hint"].is_object())
        .map(port)
        .collect();
    assert_eq!(hinted, [place.console_ports[2]]);
}

#[test]
fn strict_binder_is_told_of_the_hand_over() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let said = strict(&place, &["--name", "old"]);
    assert!(said.contains("Address already in use"), "{said}");
    assert!(!said.contains("SO_REUSEADDR"), "{said}");
    let says = hint(&server, "never_listened");
    assert!(says.contains("--handover release"), "{says}");
    assert_is_told(&place, &server, &says);

    // Once may be no fault; a second time in a row is told in scripts too.
    strict(&place, &["--name", "old"]);
    eventually("twice", || {
        (lease(&server)["hint"]["times"] == 2).then_some(())
    });
    let said = strict(&place, &["--name", "old"]);
    assert!(said.contains("last time: old"), "{said}");
    assert!(said.contains("2 times in a row"), "{said}");
    assert!(said.contains("--handover release"), "{said}");
}

#[test]
fn strict_binder_of_an_old_process_is_told_too() {
    let place = Place::with_ports(1);
    let server = place.serve();
    // A script that builds for a while becomes `run`: its process is older than the lease.
    for _ in 0..2 {
        let mut command =
            place.shell("sleep 11; exec portbook run --name old -- python3 -c \"$SCRIPT\"");
        command.env("SCRIPT", BIND_STRICTLY);
        let output = ended(command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    eventually("twice", || {
        (lease(&server)["hint"]["times"] == 2).then_some(())
    });
}

#[test]
fn server_behind_a_shell_is_told_whose_the_sockets_are() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let behind_shell = || {
        let mut command = place.command();
        command.args(["run", "--name", "web", "--handover", "fd", "--"]);
        command.args(["sh", "-c", "python3 -c \"$0\"; exit $?", BIND_STRICTLY]);
        let output = ended(command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr)
    };
    let said = behind_shell();
    assert!(said.contains("Address already in use"), "{said}");
    let says = hint(&server, "never_listened");
    assert!(
        says.contains("LISTEN_PID") && says.contains("write exec"),
        "{says}"
    );
    behind_shell();
    eventually("twice", || {
        (lease(&server)["hint"]["times"] == 2).then_some(())
    });
    let said = behind_shell();
    assert!(
        said.contains("last time: web") && said.contains("write exec"),
        "{said}"
    );
}

/// Ignores the sockets that it was given, and listens on the port that it is told, if any.
const IGNORE: &str = r#"
import socket, sys
kept = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[1:]]
print("runs", flush=True)
sys.stdin.readline()
given = socket.socket(fileno=3)
while True:
    given.accept()[0].sendall(b"hello")
"#;

fn ignoring(place: &Place, arguments: &[&str]) -> Running {
    let mut command = place.command();
    command.args(["run", "--name", "web", "--handover", "fd", "--"]);
    command.args(["python3", "-c", IGNORE]).args(arguments);
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "runs");
    program
}

#[test]
fn program_that_leaves_connections_waiting_is_told_and_is_not_active() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut program = ignoring(&place, &[]);
    let mut client = std::net::TcpStream::connect(("127.0.0.1", place.ports[0])).unwrap();
    let says = hint(&server, "sockets_ignored");
    let begin = format!("connections to {} wait: ", place.ports[0]);
    assert!(says.starts_with(&begin), "{says}");
    assert!(says.contains("--handover gate"), "{says}");
    assert_eq!(lease(&server)["state"], "handed");
    assert_is_told(&place, &server, &says);

    // It takes them after all.
    let input = program.0.stdin.as_mut().unwrap();
    input.write_all(b"go\n").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    eventually("it serves, without a hint", || {
        let lease = lease(&server);
        (lease["state"] == "active" && lease.get("hint").is_none()).then_some(())
    });
}

#[test]
fn program_that_never_takes_its_sockets_is_not_active_before_its_first_client() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let _program = ignoring(&place, &[]);
    let others = [
        // A thread that runs waits for no client.
        ("busy", "tcp", "while :; do :; done"),
        ("udp", "udp", "exec sleep 60"),
        // It waits for packets, on a socket of its own.
        (
            "own",
            "udp",
            "exec python3 -c 'import socket as s; u = s.socket(2, 2); u.bind((\"127.0.0.1\", 0)); u.recv(9)'",
        ),
    ];
    let _others = others.map(|(name, protocol, script)| {
        let mut command = place.command();
        command.args([
            "run",
            "--name",
            name,
            "--protocol",
            protocol,
            "--handover",
            "fd",
        ]);
        command.args(["--", "sh", "-c", script]);
        Running::start(command)
    });
    eventually("all have their leases", || {
        (server.living("default").len() == 4).then_some(())
    });
    // Hint::EARLY and two rounds.
    for _ in 0..13 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let living = server.living("default");
        let states: Vec<_> = living
            .iter()
            .map(|lease| (&lease["name"], &lease["state"]))
            .collect();
        assert_eq!(states.len(), 4);
        assert!(
            states.iter().all(|(_, state)| *state == "handed"),
            "{states:?}"
        );
    }
}

/// Sleeps in `poll(2)` until a client comes to the sockets that it was given, or, with an argument, until a
/// pipe has something.
const POLL: &str = "
import os, select, sys
unused = os.pipe()
list = select.poll()
list.register(unused[0] if len(sys.argv) > 1 else 3, select.POLLIN)
print('waits', flush=True)
list.poll()";

#[test]
fn program_in_poll_is_active_only_if_it_waits_for_its_sockets() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let polling = |name: &str, arguments: &[&str]| {
        let mut command = place.command();
        command.args(["run", "--name", name, "--handover", "fd", "--"]);
        command.args(["python3", "-c", POLL]).args(arguments);
        let mut program = Running::piped(command);
        assert_eq!(program.line(), "waits");
        program
    };
    let state = |name: &str| {
        let mut leases = server.living("default").into_iter();
        leases.find(|lease| lease["name"] == name).unwrap()["state"].clone()
    };
    let _ignores = polling("ignores", &["pipe"]);
    let _serves = polling("serves", &[]);
    eventually("the one that waits for its sockets is active", || {
        (state("serves") == "active").then_some(())
    });
    // It was started first.
    assert_eq!(state("ignores"), "handed");
}

#[test]
fn server_that_polls_blocking_sockets_is_active_before_its_first_client() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--name", "web", "--handover", "fd", "--"]);
    command.args(["python3", "-c"]).arg(
        "import select
e = select.epoll(); e.register(3, select.EPOLLIN)
print('serves', flush=True); e.poll()",
    );
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "serves");
    eventually("active", || {
        (lease(&server)["state"] == "active").then_some(())
    });
}

#[test]
fn child_that_inherits_given_sockets_is_not_active() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--name", "web", "--handover", "fd", "--"]);
    command.args(["sh", "-c", "sleep 60 >/dev/null 2>&1 & exit 1"]);
    ended(command);
    eventually("the child has the lease", || {
        (lease(&server)["owner"]["command"] == "sleep").then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(lease(&server)["state"], "handed");
}

#[test]
fn program_under_fd_on_another_port_is_told_and_is_not_active() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let other = place.console_ports[3].to_string();
    let _program = ignoring(&place, &[&other]);
    let says = hint(&server, "sockets_ignored");
    let own = place.ports[0];
    let begin = format!("its program listens on {other} and was not seen to serve {own}");
    assert!(says.starts_with(&begin), "{says}");
    assert_eq!(lease(&server)["state"], "handed");
    assert_is_told(&place, &server, &says);
}

#[test]
fn server_with_an_event_loop_is_active_before_its_first_client() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--name", "web", "--handover", "fd", "--"]);
    command.args(["python3", "-c"]).arg(
        "import select, socket
s = socket.socket(fileno=3); s.setblocking(False)
print('serves', flush=True); select.select([s], [], [])",
    );
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "serves");
    eventually("active", || {
        (lease(&server)["state"] == "active").then_some(())
    });
}

#[test]
fn advice_works_and_ends_with_a_listener() {
    let place = Place::with_ports(1);
    let server = place.serve();
    strict(&place, &["--name", "old"]);
    hint(&server, "never_listened");
    let mut command = place.command();
    command.args(["run", "--name", "old", "--handover", "release"]);
    command.args(["--", "python3", "-c", BIND_STRICTLY]);
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "listens");
    eventually("no hint any more", || {
        let lease = lease(&server);
        (lease["state"] == "active" && lease.get("hint").is_none()).then_some(())
    });
}

#[test]
fn wait_says_why_a_strict_binder_never_listened() {
    for options in [&["--name", "old"][..], &[]] {
        let place = Place::with_ports(1);
        let _server = place.serve();
        // The program goes on once its stdin is read, when the wait knows its lease.
        let script = format!("import sys; sys.stdin.readline()\n{BIND_STRICTLY}");
        let mut program = place.command();
        program.arg("run").args(options);
        program.args(["--", "python3", "-c", &script]);
        program.stderr(Stdio::null());
        let mut program = Running::piped(program);
        eventually("the lease", || {
            place.json(&["list"])["leases"].get(0).cloned()
        });
        let mut wait = place.command();
        wait.args(["wait", &place.ports[0].to_string(), "--timeout", "20s"]);
        wait.stderr(Stdio::piped());
        let mut wait = Running::start(wait);
        eventually("the wait knows the program", || {
            watches(&wait.0).then_some(())
        });
        program
            .0
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"go\n")
            .unwrap();
        let status = wait.0.wait().unwrap();
        let mut said = String::new();
        wait.0
            .stderr
            .as_mut()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("ended before it listened"), "{said}");
        assert!(said.contains("--handover release"), "{said}");
    }
}

/// Listens on its port, and ends with the first line on stdin.
const SERVES: &str = "import os, socket, sys\n\
    it = socket.socket()\n\
    it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    it.bind(('127.0.0.1', int(os.environ['PORT'])))\n\
    it.listen()\n\
    sys.stdin.readline()";

#[test]
fn program_that_a_wait_saw_is_not_told_that_it_never_listened() {
    let place = Place::with_ports(4);
    let server = place.serve();
    for name in ["one", "two", "three", "four"] {
        let mut command = place.command();
        command.args(["run", "--name", name, "--", "python3", "-c", SERVES]);
        let mut program = Running::piped(command);
        place.ok(&["wait", name, "--timeout", "20s"]);
        let mut stdin = program.0.stdin.take().unwrap();
        stdin.write_all(b"end\n").unwrap();
        assert!(program.0.wait().unwrap().success());
        let path = format!("/api/v1/leases?name={name}");
        let parked = eventually("parked", || {
            let lease = server.get(&path).json()["leases"][0].clone();
            (lease["state"] == "reserved").then_some(lease)
        });
        assert_eq!(parked.get("hint"), None, "{parked}");
    }
}
