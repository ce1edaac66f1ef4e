//! The fence: a table of nftables, whose elements run out by themselves, over the program `nft`.
//!
//! One program runs at a time, for at most [`LIMIT_S`], on a thread for what may block. The service needs the
//! right to change the packet filter (`CAP_NET_ADMIN`) for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::permit::{Change, Changed, Fence, FenceError, OPENING};
use crate::domain::claim::Number;
use crate::domain::port::{PortSet, Protocol};

/// Time in seconds after which a call of `nft` is given up; it takes milliseconds.
const LIMIT_S: i64 = 5;

/// Program with its place on most hosts: services often have no `PATH` with `sbin`.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nft", "nft"];

/// Name of the table, of its sets, and of its chain: `static/fence.nft` has them too.
const TABLE: &str = include_str!("../../static/fence.nft");

/// Line that lists the rule of the table, in a few hundred bytes.
const LIST: &str = "list chain inet portbook guard\n";

/// The program `nft`.
#[derive(Debug)]
pub struct Nft {
    /// Commands that are tried until one can be started.
    commands: Arc<[Vec<String>]>,
    one_at_a_time: Mutex<()>,
    /// Lines that load the table with the guarded numbers.
    table: String,
}

impl Default for Nft {
    fn default() -> Self {
        Self::of(&[&[PROGRAMS[0]], &[PROGRAMS[1]]])
    }
}

impl Nft {
    fn of(commands: &[&[&str]]) -> Self {
        let command = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            commands: commands.iter().map(command).collect(),
            one_at_a_time: Mutex::default(),
            table: String::new(),
        }
    }

    /// Loads the table, or brings one that is there up to date, with these guarded numbers. What is
    /// permitted stays so.
    pub async fn load(&mut self, guarded: &BTreeMap<Protocol, PortSet>) -> Result<(), FenceError> {
        let mut script = TABLE.to_owned();
        for (protocol, ports) in guarded {
            for range in ports.ranges() {
                let (first, last) = (range.start(), range.end());
                let _ = writeln!(
                    script,
                    "add element inet portbook unique {{ {protocol} . {first}-{last} }}"
                );
            }
        }
        self.table.clone_from(&script);
        self.run(script).await.map(drop)
    }

    /// Runs a script. Returns what it lists.
    async fn run(&self, script: String) -> Result<String, FenceError> {
        let _turn = self.one_at_a_time.lock().await;
        let commands = Arc::clone(&self.commands);
        let done = spawn_blocking(move || {
            let absent = Err(io::Error::from(io::ErrorKind::NotFound));
            let try_next = |before: io::Result<_>, command: &Vec<String>| {
                before.or_else(|_| ran(command, &script))
            };
            commands.iter().fold(absent, try_next)
        });
        match done.await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => Err(FenceError(format!("nft cannot be run: {error}"))),
            Err(error) => Err(FenceError(error.to_string())),
        }
    }
}

/// Runs a command with a script. Returns its stdout. The outer failure is that of its start.
fn ran(command: &[String], script: &str) -> io::Result<Result<String, FenceError>> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let fed = feed(&mut child, script);
    let is_over = fed.and_then(|()| ends(&child));
    if !matches!(is_over, Ok(true)) {
        // What it would write after this is not awaited any more.
        drop(child.kill());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let first = told.lines().next().unwrap_or("nft was silent for too long");
    Ok(Err(FenceError(first.to_owned())))
}

fn feed(child: &mut Child, script: &str) -> io::Result<()> {
    match child.stdin.take() {
        Some(mut input) => input.write_all(script.as_bytes()),
        None => Ok(()),
    }
}

/// Waits for its end. `false` if that takes too long.
fn ends(child: &Child) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec {
        tv_sec: LIMIT_S,
        tv_nsec: 0,
    };
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&limit))? > 0)
}

impl Fence for Nft {
    fn change(&self, changes: Vec<Change>) -> Changed<'_> {
        Box::pin(async move { self.run(script(&changes)).await.map(drop) })
    }

    fn is_loaded(&self) -> Changed<'_> {
        Box::pin(async move {
            let listed = self.run(LIST.to_owned()).await?;
            // A flush of the table keeps the chain without its rule.
            let is_whole = ["@unique", "@may", "drop"]
                .iter()
                .all(|word| listed.contains(word));
            let none = || FenceError("the chain guard has lost its rule".into());
            is_whole.then_some(()).ok_or_else(none)
        })
    }

    fn load_again(&self) -> Changed<'_> {
        Box::pin(async move { self.run(self.table.clone()).await.map(drop) })
    }
}

/// Lines for `nft`, which does all or none. To delete what is absent is an error there: so what is to be
/// shut is opened in the same breath, and what is to be prolonged is not.
fn script(changes: &[Change]) -> String {
    let mut script = String::new();
    let mut line = |verb: &str, number: &Number, time: Option<Duration>| {
        let Number { protocol, port } = number;
        let time = time.map(|time| format!(" timeout {}ms", time.as_millis().max(1)));
        let time = time.unwrap_or_default();
        let _ = writeln!(
            script,
            "{verb} element inet portbook may {{ {protocol} . {port}{time} }}"
        );
    };
    for change in changes {
        match change {
            Change::Open(number, time) => line("add", number, Some(*time)),
            Change::Prolong(number, time) => {
                line("delete", number, None);
                line("add", number, Some(*time));
            }
            Change::Shut(number) => {
                line("add", number, Some(OPENING));
                line("delete", number, None);
            }
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A program that keeps a network namespace of its own until it is dropped.
    struct Namespace(Child);

    impl Namespace {
        /// `None` if this user may not have one, or there is no `nft`.
        fn new() -> Option<Self> {
            Command::new("nft").arg("--version").output().ok()?;
            let mut holder = Command::new("unshare")
                .args(["--net", "sh", "-c", "echo in; exec sleep 600"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut told = [0; 3];
            let is_in = holder.stdout.take()?.read_exact(&mut told);
            is_in.ok().map(|()| Self(holder))
        }

        fn nft(&self) -> Nft {
            let net = format!("--net=/proc/{}/ns/net", self.0.id());
            Nft::of(&[&["nsenter", &net, "nft"]])
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    #[tokio::test]
    async fn kernel_prolongs_what_is_open_and_nothing_else() {
        let Some(namespace) = Namespace::new() else {
            eprintln!("skipped: a network namespace and nft are needed");
            return;
        };
        let mut nft = namespace.nft();
        let number = Number {
            protocol: Protocol::Tcp,
            port: "30001".parse().unwrap(),
        };
        let ports: PortSet = "30000-30999,31005".parse().unwrap();
        let guarded = BTreeMap::from([(Protocol::Tcp, ports)]);
        assert!(
            nft.change(vec![Change::Open(number, OPENING)])
                .await
                .is_err()
        );
        nft.load(&guarded).await.unwrap();
        let long = Change::Prolong(number, Duration::from_hours(12));
        assert!(nft.change(vec![long]).await.is_err());
        nft.change(vec![Change::Open(number, OPENING)])
            .await
            .unwrap();
        nft.change(vec![long]).await.unwrap();
        assert_eq!(nft.is_loaded().await, Ok(()));
        for flush in ["flush ruleset\n", "flush table inet portbook\n"] {
            nft.run(flush.to_owned()).await.unwrap();
            assert!(nft.is_loaded().await.is_err(), "{flush}");
            nft.load_again().await.unwrap();
            assert_eq!(nft.is_loaded().await, Ok(()));
        }
        nft.change(vec![Change::Open(number, OPENING)])
            .await
            .unwrap();
        // What is permitted outlives a start of the service.
        nft.load(&guarded).await.unwrap();
        nft.change(vec![long]).await.unwrap();
        for _ in 0..2 {
            nft.change(vec![Change::Shut(number)]).await.unwrap();
        }
        assert!(nft.change(vec![long]).await.is_err());
    }

    #[tokio::test]
    async fn absent_program_is_told() {
        let nft = Nft::of(&[&["/nonexistent/nft"]]);
        let failed = nft.change(Vec::new()).await.unwrap_err();
        assert!(failed.to_string().contains("cannot be run"), "{failed}");
    }

    #[test]
    fn prolonging_deletes_first_so_that_a_shut_number_stays_shut() {
        let number = Number {
            protocol: Protocol::Udp,
            port: "9100".parse().unwrap(),
        };
        let prolong = script(&[Change::Prolong(number, Duration::from_mins(1))]);
        assert_eq!(
            prolong,
            "delete element inet portbook may { udp . 9100 }\n\
             add element inet portbook may { udp . 9100 timeout 60000ms }\n"
        );
        let shut = script(&[Change::Shut(number)]);
        assert!(
            shut.starts_with("add element")
                && shut.ends_with("delete element inet portbook may { udp . 9100 }\n")
        );
    }
}
