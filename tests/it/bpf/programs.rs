//! Programs that people run, with a port in their code: two copies of each by `portbook run --map`, also at the end of
//! a chain of npm's scripts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::map::{asked_for, mapped};
use super::{is_active, served};
use crate::host::skipped;
use crate::probe::{self, How};
use crate::support::{Place, port};
use crate::tools::{Running, eventually, fetch};

/// Serves its pid, asks itself for it as a health check does, and prints its pid and the answer. Ends with its stdin.
const SERVER: &str = r#"
const http = require("http"), port = PORT;
const server = http.createServer((_, answer) => answer.end(`pid ${process.pid}.`));
server.listen(port, () => http.get(`http://localhost:${port}/`, answer =>
    answer.on("data", text => console.log(process.pid, String(text)))));
process.stdin.resume().on("end", () => process.exit());
"#;

/// A script that starts another one, which starts the server.
const PACKAGE: &str = r#"{"name": "copy", "version": "1.0.0", "scripts": {
    "start": "npm run --silent serve", "serve": "node server.js"}}"#;

/// Starts a copy in a folder of its own, where the files of the program are.
fn copy(place: &Place, folder: &str, program: &[&str]) -> Running {
    let (_, asked) = asked_for(place);
    let command = mapped(place, folder, &asked, program);
    let folder = place.data_dir().join(folder);
    std::fs::write(folder.join("server.js"), SERVER.replace("PORT", &asked)).unwrap();
    std::fs::write(folder.join("package.json"), PACKAGE).unwrap();
    Running::piped(command)
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    version.is_ok_and(|version| version.status.success())
}

fn two_copies_serve_and_check_themselves(program: &[&str]) {
    let what = program.join(" ");
    let Some((place, server)) = served(&what) else {
        return;
    };
    if !is_installed(program[0]) {
        return skipped(&what, &format!("{} is not installed", program[0]));
    }
    let mut copies = ["one", "two"].map(|folder| copy(&place, folder, program));
    let pids = copies.each_mut().map(|copy| {
        let line = copy.line();
        let (pid, answer) = line.split_once(' ').expect("the copy has begun");
        assert_eq!(answer, format!("pid {pid}."));
        pid.to_owned()
    });
    assert_ne!(pids[0], pids[1]);
    let (asked, _) = asked_for(&place);
    probe::bind(Ipv4Addr::UNSPECIFIED.into(), asked, How::Strictly).unwrap();
    let leases = eventually("both leases", || {
        let list = server.get(&format!("/api/v1/leases?name={asked}")).json();
        let leases = list["leases"].as_array().unwrap().clone();
        (leases.len() == 2 && leases.iter().all(is_active)).then_some(leases)
    });
    for lease in &leases {
        let folder = Path::new(lease["directory"].as_str().unwrap());
        let pid = &pids[usize::from(folder.ends_with("two"))];
        let answer = fetch(port(lease)).unwrap();
        assert!(answer.contains(&format!("pid {pid}.")), "{answer}");
    }
}

#[test]
fn two_copies_of_a_program_in_node() {
    two_copies_serve_and_check_themselves(&["node", "server.js"]);
}

#[test]
fn two_copies_at_the_end_of_a_chain_of_npm() {
    two_copies_serve_and_check_themselves(&["npm", "start", "--silent"]);
}
