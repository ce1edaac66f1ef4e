//! Searches for what real programs left behind.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::census::is_process;
use super::*;
use crate::host::process::{MARK, mark_of};

const LEASE: &str = "01930000-0000-7000-8000-000000000001";

fn left_behind_by(origin: &Origin, lease: &str) -> Vec<Owner> {
    left_behind(&[orphaned(origin, lease)]).remove(0)
}

fn orphaned<'p>(origin: &'p Origin, lease: &'p str) -> Orphaned<'p> {
    let pid = origin.pid;
    Orphaned { origin, lease, pid }
}

/// A program that says the pid of a process that it left behind, and has ended.
struct Ended {
    origin: Origin,
    left: u32,
}

impl Ended {
    /// Starts a shell in this way, in the background, and ends once it runs.
    fn run(way: &str) -> Self {
        let script = format!("{way} sh -c 'echo $$; sleep 60 >/dev/null; :' 2>/dev/null & read _");
        let mut program: Child = Command::new("sh")
            .args(["-c", &script])
            .env(MARK, LEASE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = program.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let origin = Origin::of(&owner(program.id()).unwrap()).unwrap();
        program.wait().unwrap();
        let left = line.trim().parse().unwrap();
        Self { origin, left }
    }

    fn is_found(&self) -> bool {
        let found = left_behind_by(&self.origin, LEASE);
        found.iter().any(|owner| owner.pid == self.left)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = i32::try_from(self.left).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.unwrap(), Signal::KILL);
    }
}

#[test]
fn marked_process_is_found_after_its_parent_ended() {
    for way in ["", "nohup", "setsid"] {
        assert!(Ended::run(way).is_found(), "{way}");
    }
}

#[test]
fn young_process_without_environment_is_found_outside_the_session() {
    assert!(Ended::run("env -i setsid").is_found());
    assert!(!Ended::run("env -i").is_found());
}

#[test]
fn programs_that_end_at_once_are_told_apart() {
    let ended = [
        Ended::run(""),
        Ended::run(""),
        Ended::run("PORTBOOK_LEASE=other"),
    ];
    let programs = ended.each_ref().map(|ended| orphaned(&ended.origin, LEASE));
    let found = left_behind(&programs);
    let pids = |found: &[Owner]| found.iter().map(|owner| owner.pid).collect::<Vec<_>>();
    // Both programs of the lease are answered with all that has its mark and is younger.
    assert!(pids(&found[0]).contains(&ended[0].left));
    assert!(pids(&found[1]).contains(&ended[1].left));
    assert!(!pids(&found[2]).contains(&ended[2].left));
}

#[test]
fn process_of_another_lease_is_not_found() {
    assert!(!Ended::run("PORTBOOK_LEASE=other").is_found());
}

#[test]
fn all_processes_are_searched_without_known_ancestors() {
    let mut ended = Ended::run("");
    (ended.origin.parent, ended.origin.session) = (0, 0);
    assert_eq!(ended.origin.orphans(&mut Census::default()), None);
    assert!(ended.is_found());
}

#[test]
fn pids_and_lists_of_children_tell_the_same() {
    let ended = Ended::run("setsid");
    for mut census in [Census::default(), Census::by_lists()] {
        let orphans = ended.origin.orphans(&mut census).unwrap();
        assert!(orphans.contains(&ended.left), "{orphans:?}");
    }
}

#[test]
fn threads_are_no_processes() {
    let me = std::process::id();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || ended.recv());
    let threads = crate::host::process::threads(me);
    assert!(is_process(me) && !threads.is_empty());
    assert!(!threads.into_iter().any(is_process));
    drop(end);
    assert!(thread.join().unwrap().is_err());
}

#[test]
fn pids_begin_again_after_the_last_one() {
    assert!(is_between(7, 5, 9) && is_between(9, 5, 9));
    assert!(!is_between(5, 5, 9) && !is_between(10, 5, 9));
    assert!(is_between(99, 90, 4) && is_between(3, 90, 4));
    assert!(!is_between(50, 90, 4));
}

/// Daemons fork twice, and the first of the two ends at once.
#[test]
fn process_is_found_while_its_parents_end_one_after_another() {
    const FORKS: &str = "fork() { if [ $1 = 0 ]; then exec sleep 60 >/dev/null; fi; \
        (fork $(($1 - 1))) & }; read _; fork 4";
    // Tests of the same machine must not find each other's processes.
    let forking = format!("01930000-0000-7000-8000-{:012}", std::process::id());
    for _ in 0..100 {
        let mut program = Command::new("sh")
            .args(["-c", FORKS])
            .env(MARK, &forking)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let origin = Origin::of(&owner(program.id()).unwrap()).unwrap();
        program.wait().unwrap();
        assert!(!left_behind_by(&origin, &forking).is_empty());
        // Its end of the pipe closes when all but the last have ended.
        std::io::copy(&mut program.stdout.unwrap(), &mut std::io::sink()).unwrap();
        let left = left_behind_by(&origin, &forking).into_iter();
        for left in left.filter(|left| mark_of(left.pid).names(&forking)) {
            let pid = i32::try_from(left.pid).ok().and_then(Pid::from_raw);
            kill_process(pid.unwrap(), Signal::KILL).unwrap();
        }
    }
}

/// Sets the pid that the kernel gave out last (`CONFIG_CHECKPOINT_RESTORE`).
fn set_last_pid(last: u32) {
    std::fs::write("/proc/sys/kernel/ns_last_pid", last.to_string()).unwrap();
}

/// Runs the calling test again, in a pid namespace of its own: other tests go by the order of pids too.
/// Returns whether this is that run.
fn is_among_pids_of_its_own(test: &str) -> bool {
    const INSIDE: &str = "PORTBOOK_TEST_OWN_PIDS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: pids that begin again: this takes root");
        return false;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("{module}::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 passed"), "{said}{failed}");
    false
}

#[test]
fn what_a_long_lived_program_left_behind_is_found_below_its_pid() {
    if !is_among_pids_of_its_own("what_a_long_lived_program_left_behind_is_found_below_its_pid") {
        return;
    }
    set_last_pid(400);
    let mut ended = Ended::run("setsid");
    // Its program had a pid above, and ran on until the kernel had come round to that.
    set_last_pid(20_001);
    ended.origin.pid = 20_000;
    assert!(!ended.is_found(), "pids would do");
    ended.origin.round = None;
    assert!(ended.is_found());
}

#[test]
fn round_of_pids_ends_when_the_kernel_begins_again() {
    if !is_among_pids_of_its_own("round_of_pids_ends_when_the_kernel_begins_again") {
        return;
    }
    set_last_pid(20_000);
    let before = round_of_pids().unwrap();
    set_last_pid(20_001);
    assert_eq!(round_of_pids(), Some(before));
    set_last_pid(400);
    assert_eq!(round_of_pids(), Some(before + 1));
}
