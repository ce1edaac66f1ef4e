//! Everyday use as in public bug reports: names at work, blocks near their preferred port, waiting for
//! a name that moves, notes that are told once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::{self, Place, command, occupant, ports_in_a_row, text};
use crate::tools::Running;

/// Runs `sh` on this script in the background, and waits for its first line.
fn running(place: &Place, arguments: &[&str], script: &str) -> Running {
    let mut command = place.command();
    command.arg("run").args(arguments);
    command.args(["--", "sh", "-c", script]);
    let mut running = Running::piped(command);
    running.line();
    running
}

fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn ports(output: &Output) -> Vec<u16> {
    assert!(output.status.success(), "{}", said(output));
    let lines = text(&output.stdout);
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

fn with_and_without_a_service(test: impl Fn(&Place)) {
    let place = Place::with_ports(8);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
    test(&Place::with_ports(8));
}

#[test]
fn refused_name_shows_its_program_after_exec() {
    with_and_without_a_service(|place| {
        let web = running(place, &["--name", "web"], "echo up; read line");
        let output = place.run(&["run", "--name", "web", "--", "true"]);
        assert_eq!(output.status.code(), Some(125));
        let who = format!("sh (pid {}) lives and has it", web.pid());
        assert!(said(&output).contains(&who), "{}", said(&output));
    });
}

#[test]
fn named_block_keeps_its_row_while_the_preferred_is_taken() {
    let preferred = ports_in_a_row(2);
    let row = ports_in_a_row(2);
    with_and_without_a_service(|place| {
        let block = |first: u16| {
            let first = first.to_string();
            let run = ["run", "--name", "ray", "--block", "2"];
            let prefer = ["--prefer", &*first, "--prefer-span", "0"];
            let script = ["--", "sh", "-c", "echo $PORT_0; echo $PORT_1"];
            place.run(&[&run[..], &prefer, &script].concat())
        };
        assert_eq!(ports(&block(row)), [row, row + 1]);
        let taken = occupant(preferred);
        let output = block(preferred);
        assert_eq!(ports(&output), [row, row + 1], "{}", said(&output));
        let why = format!("{preferred} is in use by ");
        assert!(said(&output).contains(&why), "{}", said(&output));
        assert!(!said(&output).contains("outside"), "{}", said(&output));
        drop(taken);
        let output = block(preferred);
        assert_eq!(ports(&output), [preferred, preferred + 1]);
    });
}

#[test]
fn block_beyond_the_last_port_moves_with_its_reason() {
    let first = ports_in_a_row(3);
    let place = Place::on((first..first + 3).collect(), support::ports(4));
    let output = place.run(&["alloc", "--prefer", "65534", "--block", "3"]);
    assert_eq!(ports(&output), [first, first + 1, first + 2]);
    let why = format!("65534 is no start of a free row: ports end at 65535, so it is {first}");
    let told = said(&output).replace(", 65535 is no start of a free row: ports end at 65535", "");
    assert!(told.contains(&why), "{told}");
}

#[test]
fn wait_follows_a_name_to_its_new_port() {
    let first = ports_in_a_row(2);
    with_and_without_a_service(|place| {
        let [before, after] = [first, first + 1].map(|port| port.to_string());
        let [before, after] =
            [&before, &after].map(|port| ["--name", "web", "--prefer", port.as_str()]);
        drop(running(place, &before, "echo up"));
        let mut wait = place
            .command()
            .args(["wait", "web", "--timeout", "60s"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(wait.stderr.as_mut().unwrap());
        told.read_line(&mut line).unwrap();
        assert!(line.contains("away"), "{line}");

        let serve = "echo up; exec python3 -m http.server $PORT";
        let _web = running(place, &after, serve);
        let status = wait.wait().unwrap();
        assert!(status.success(), "{status}");
    });
}

#[test]
fn return_to_the_preferred_port_is_told_once() {
    let preferred = ports_in_a_row(2);
    with_and_without_a_service(|place| {
        let number = preferred.to_string();
        let prefer = ["alloc", "--name", "web", "--prefer", &number];
        let taken = occupant(preferred);
        let substitute = format!("so it is {}", preferred + 1);
        // A substitute is reported as long as it lasts.
        for arguments in [&prefer[..], &prefer, &prefer[..3]] {
            let output = place.run(arguments);
            assert_eq!(ports(&output), [preferred + 1]);
            assert!(said(&output).contains(&substitute), "{}", said(&output));
        }
        drop(taken);
        let back = format!("{preferred} is preferred and free");
        for (arguments, tells) in [(&prefer[..], true), (&prefer[..3], false)] {
            let output = place.run(arguments);
            assert_eq!(ports(&output), [preferred]);
            let told = said(&output);
            assert_eq!(told.contains(&back), tells, "{told}");
        }
    });
}

#[test]
fn released_lease_names_the_program_that_runs_on() {
    with_and_without_a_service(|place| {
        let web = running(place, &["--name", "web"], "echo up; read line");
        let output = place.run(&["release", "web"]);
        assert!(output.status.success(), "{}", said(&output));
        let who = format!("; sh (pid {}) still runs", web.pid());
        assert!(said(&output).contains(&who), "{}", said(&output));

        // A name whose program is away needs no note.
        drop(running(place, &["--name", "api"], "echo up"));
        let output = place.run(&["release", "api"]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(!said(&output).contains("still runs"), "{}", said(&output));
    });
}

#[test]
fn socket_of_another_user_says_how_to_be_admitted() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let socket = server.socket();
    if !is_root() {
        println!("SKIPPED: only root can become another user");
        return;
    }
    let mut list = command();
    list.args(["list", "--socket"]).arg(&socket);
    std::os::unix::process::CommandExt::uid(&mut list, 12345);
    open_way_to(&socket);
    let output = list.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("socket_mode"), "{}", said(&output));
    assert!(
        !said(&output).contains("portbook serve"),
        "{}",
        said(&output)
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes the folders of this test that lead to a file readable to other users.
fn open_way_to(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for folder in file.ancestors().skip(1).take(2) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn console_of_a_copied_record_says_what_to_stop() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let copy = place.folder().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([place.data_dir(), copy.clone()])
        .status()
        .unwrap();
    assert!(copied.success());
    let mut serve = place.command();
    serve.env("PORTBOOK_DATA_DIR", &copy).arg("serve");
    let output = serve.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = "stop that service before another one uses a copy";
    assert!(said(&output).contains(words), "{}", said(&output));
}
