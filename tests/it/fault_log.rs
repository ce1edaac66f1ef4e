//! Faults of the log (G1, G2): a reader that does not read, and a full disk. The service goes on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::host::skipped;
use crate::support::{Place, ask};
use crate::tools::{Running, ended, exit_status};

const REPORT: &str = "stderr took no log lines for a while";

/// Limit of everything here that must not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service with much to log, whose stderr is not the file of other tests.
fn chatty(mut command: Command, place: &Place) -> (Running, PathBuf) {
    command.args(["serve", "--log", "trace"]);
    let mut service = Running::piped(command);
    assert!(service.line().starts_with("http://"));
    (service, place.data_dir().join("portbook.sock"))
}

/// Number of lines that the service lost so far.
fn lost(socket: &Path) -> u64 {
    let answer = ask(socket, "GET", "/metrics", None).expect("an answer");
    let mut lines = answer.body.lines();
    let count = lines.find_map(|line| line.strip_prefix("portbook_log_lines_dropped_total "));
    count.expect("the metric").parse().unwrap()
}

/// Allocates and releases until more lines are lost.
fn log_until_lines_are_lost(socket: &Path) {
    const MOST: usize = 3000;
    let before = lost(socket);
    for _ in 0..MOST {
        let granted = ask(socket, "POST", "/api/v1/leases", Some(&json!({}))).expect("an answer");
        let id = granted.json()["leases"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        ask(socket, "DELETE", &format!("/api/v1/leases/{id}"), None).expect("an answer");
        if lost(socket) > before {
            return;
        }
    }
    panic!("no line was lost");
}

/// A pipe with room for one page.
fn narrow_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    (reader, writer)
}

#[test]
fn full_pipe_loses_log_lines_and_stops_nothing() {
    let place = Place::with_ports(2);
    let (reader, writer) = narrow_pipe();
    let mut command = place.command();
    command.stderr(writer);
    let (mut service, socket) = chatty(command, &place);
    log_until_lines_are_lost(&socket);
    let mut alloc = place.command();
    alloc.arg("alloc");
    assert!(ended(alloc).status.success());

    // The pipe is read again, up to the report.
    let mut lines = BufReader::new(File::from(reader));
    let mut line = String::new();
    while !line.contains(REPORT) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no report");
    }
    assert!(
        line.contains(" WARN ") && line.contains("lost_lines="),
        "{line}"
    );

    // And not read any more: the end must not wait either.
    log_until_lines_are_lost(&socket);
    kill_process(Pid::from_child(&service.0), Signal::TERM).unwrap();
    let status = exit_status(&mut service.0, PATIENCE).expect("SIGTERM ends it");
    assert!(status.success(), "{status}");
    drop(lines);
}

/// The log on a file system of its own, with room for one page, as `full` fills the rest.
const SMALL_DISK: &str = "mount -t tmpfs -o size=64k tmpfs \"$DISK\" && \
    head -c 60k /dev/zero > \"$DISK/full\" && exec \"$@\" 2> \"$DISK/log\"";

#[test]
fn full_disk_of_the_log_loses_lines_and_recovers() {
    let place = Place::with_ports(2);
    let disk = tempfile::tempdir().unwrap();
    let mut probe = Command::new("unshare");
    probe
        .args(["--mount", "mount", "-t", "tmpfs", "tmpfs"])
        .arg(disk.path());
    if !probe.output().is_ok_and(|output| output.status.success()) {
        skipped("full_disk_of_the_log", "no file system may be mounted here");
        return;
    }
    let portbook = place.command();
    let mut command = Command::new("unshare");
    command.env_clear();
    for (name, value) in portbook.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("DISK", disk.path());
    command.args(["--mount", "sh", "-c", SMALL_DISK, "sh"]);
    command.arg(portbook.get_program());
    let (service, socket) = chatty(command, &place);
    log_until_lines_are_lost(&socket);

    let root = PathBuf::from(format!("/proc/{}/root", service.pid()));
    let disk = root.join(disk.path().strip_prefix("/").unwrap());
    std::fs::remove_file(disk.join("full")).unwrap();
    crate::tools::eventually(REPORT, || {
        ask(&socket, "GET", "/livez", None).expect("an answer");
        let log = std::fs::read(disk.join("log")).unwrap();
        let log = crate::support::text(&log);
        let line = log.lines().find(|line| line.contains(REPORT))?;
        // It is a line of its own, although the one before was cut.
        assert!(
            line.contains(" WARN ") && line.matches("portbook").count() < 3,
            "{line}"
        );
        Some(())
    });
}

#[test]
fn log_without_a_reader_or_with_errors_stops_nothing() {
    let place = Place::with_ports(1);
    let (reader, writer) = narrow_pipe();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [writer, full.into()] {
        let mut command = place.command();
        command.stderr(stderr);
        let (mut service, socket) = chatty(command, &place);
        log_until_lines_are_lost(&socket);
        kill_process(Pid::from_child(&service.0), Signal::TERM).unwrap();
        let status = exit_status(&mut service.0, PATIENCE).expect("SIGTERM ends it");
        assert!(status.success(), "{status}");
    }
}
