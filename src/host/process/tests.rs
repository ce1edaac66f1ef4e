//! Lookups on processes that the tests start themselves.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::namespaces::{same_net_namespace, same_pid_namespace};
use super::*;

/// A child that sleeps until it is killed or dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("60").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `cat`, and waits until it runs: between fork and the end of exec a process has no
/// environment.
pub fn running(mut command: Command) -> Child {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

fn is_readable(fd: &OwnedFd, within: Duration) -> bool {
    let timeout = rustix::time::Timespec::try_from(within).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

#[test]
fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
    let tail = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 4096 2 \
                3 1 4 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 700 800 0";
    let expected = Stat {
        state: 'S',
        parent: 7,
        group: 1,
        session: 1,
        flags: 4_194_560,
        threads: 3,
        start_ticks: 987_654,
        memory: 4096,
        code_end: 4,
        environment: 700..800,
    };
    for name in ["cat", "a b", ") R 1", "((", "x) Z 9 (y"] {
        let stat = parse_stat(&format!("42 ({name}) {tail}"));
        assert_eq!(stat.as_ref(), Some(&expected), "{name:?}");
    }
    assert_eq!(parse_stat("42 (cat S 7"), None);
    assert_eq!(parse_stat("42 (cat) S 7"), None);
}

#[test]
fn a_process_with_living_threads_is_no_zombie() {
    let with = |state, threads| Stat {
        state,
        parent: 1,
        group: 1,
        session: 1,
        flags: 0,
        threads,
        start_ticks: 1,
        memory: 1,
        code_end: 1,
        environment: 1..2,
    };
    assert!(with('Z', 1).is_zombie());
    assert!(!with('Z', 2).is_zombie());
    assert!(!with('S', 1).is_zombie());
}

#[test]
fn the_boot_time_is_in_seconds() {
    let text = "cpu  1 2\nctxt 3\nbtime 1700000000\nprocesses 9\n";
    assert_eq!(
        parse_boot_time(text).unwrap().to_string(),
        "2023-11-14T22:13:20Z"
    );
    assert!(parse_boot_time("cpu 1\n").is_none());
}

#[test]
fn an_owner_is_described_as_the_kernel_knows_it() {
    let child = Sleeper::start();
    let found = owner(child.pid()).unwrap();
    assert_eq!(found.command, "sleep");
    assert_eq!(found.uid, rustix::process::geteuid().as_raw());
    assert_eq!(found.start_ticks, start_ticks(child.pid()).unwrap());
    assert!(found.start_ticks >= start_ticks(std::process::id()).unwrap());
    // A file of this moment carries the kernel's wall clock.
    let file = tempfile::NamedTempFile::new().unwrap();
    let now = Timestamp::try_from(file.as_file().metadata().unwrap().modified().unwrap()).unwrap();
    let age = now.duration_since(found.started_at).abs();
    assert!(age < SignedDuration::from_secs(30), "{age}");
}

#[test]
fn the_pidfd_is_readable_after_the_end() {
    let mut child = Sleeper::start();
    let owner = owner(child.pid()).unwrap();
    let fd = pidfd(&owner).unwrap();
    assert!(is_running(&owner));
    assert!(!is_readable(&fd, Duration::ZERO));
    child.0.kill().unwrap();
    assert!(is_readable(&fd, Duration::from_secs(10)));
    // Not reaped yet: a zombie, which is no owner any more.
    assert!(!is_running(&owner));
    assert!(matches!(
        super::owner(child.pid()),
        Err(ProcessError::Gone(_))
    ));
    child.0.wait().unwrap();
    assert!(matches!(pidfd(&owner), Err(ProcessError::Gone(_))));
    assert!(matches!(command(owner.pid), Err(ProcessError::Gone(_))));
}

#[test]
fn another_process_with_the_pid_is_not_the_owner() {
    let child = Sleeper::start();
    let mut owner = owner(child.pid()).unwrap();
    owner.start_ticks -= 1;
    assert!(matches!(pidfd(&owner), Err(ProcessError::Gone(_))));
    assert!(!is_running(&owner));
    owner.pid = 0;
    assert!(matches!(pidfd(&owner), Err(ProcessError::Gone(0))));
}

#[test]
fn descent_is_followed_upwards() {
    let (child, me) = (Sleeper::start(), std::process::id());
    assert!(is_descendant(child.pid(), me));
    assert!(is_descendant(me, me));
    assert!(is_descendant(child.pid(), parent(me).unwrap()));
    assert!(!is_descendant(me, child.pid()));
}

#[test]
fn a_child_shares_the_namespaces() {
    let child = Sleeper::start();
    assert!(same_pid_namespace(child.pid()).unwrap());
    assert!(same_net_namespace(child.pid()).unwrap());
    assert!(matches!(
        same_net_namespace(u32::MAX),
        Err(ProcessError::Gone(_))
    ));
}

#[test]
fn the_boot_has_an_id() {
    let id: uuid::Uuid = boot_id().unwrap().parse().unwrap();
    assert!(!id.is_nil());
    assert_eq!(boot_id().unwrap(), boot_id().unwrap());
}
