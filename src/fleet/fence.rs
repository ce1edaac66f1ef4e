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

use super::permit::{Change, Changed, Fence, FenceError, OPENING, OpenNumbers};
use crate::domain::claim::Number;
use crate::domain::port::{PortSet, Protocol};

/// Time in seconds after which a call of `nft` is given up; it takes milliseconds.
const LIMIT_S: i64 = 5;

/// Program with its place on most hosts: services often have no `PATH` with `sbin`.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nft", "nft"];

/// Name of the table, of its sets, and of its chain: `static/fence.nft` has them too.
const TABLE: &str = include_str!("../../static/fence.nft");

/// Text of `nft` for a caller that may not change the packet filter.
const NOT_PERMITTED: &str = "Operation not permitted";

/// Way out of that. The section is one of `docs/fleet.md`.
const WAY_TO_RIGHT: &str = "the service needs CAP_NET_ADMIN for a fence: for portbook.service a drop-in gives it that, which docs/fleet.md has under \"Units of the fence\"";

/// Line that lists the rule of the table, in a few hundred bytes.
const LIST: &str = "list chain inet portbook guard\n";

/// Line that lists what is permitted.
const LIST_OPEN: &str = "list set inet portbook may\n";

/// Lines that delete the table. To delete an absent one would be an error.
const UNLOAD: &str = "add table inet portbook\ndelete table inet portbook\n";

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

    /// Deletes the table, if there is one.
    pub async fn unload(&self) -> Result<(), FenceError> {
        self.run(UNLOAD.to_owned()).await.map(drop)
    }

    /// Reads what is permitted.
    pub async fn open_numbers(&self) -> Result<OpenNumbers, FenceError> {
        let listed = self.run(LIST_OPEN.to_owned()).await?;
        Ok(listed
            .split(['{', '}', ',', '\n'])
            .filter_map(open_number)
            .collect())
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
            Ok(Err(error)) => Err(FenceError(format!(
                "nft cannot be run: {error}; Debian has it in the package nftables"
            ))),
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
    Ok(Err(failure(&String::from_utf8_lossy(&output.stderr))))
}

/// The failure that `nft` tells, with the way out if that is known.
fn failure(told: &str) -> FenceError {
    let first = told.lines().next().unwrap_or("nft was silent for too long");
    if told.contains(NOT_PERMITTED) {
        return FenceError(format!("{first}: {WAY_TO_RIGHT}"));
    }
    FenceError(first.to_owned())
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

/// A time as `nft` takes it, a millisecond at least. It refuses numbers of more than eight digits, as the
/// milliseconds of 28 hours have.
fn written_time(time: Duration) -> String {
    let time = time.max(Duration::from_millis(1));
    format!("{}s{}ms", time.as_secs(), time.subsec_millis())
}

/// A permit as `nft` lists it: `tcp . 30001 timeout 12h expires 11h59m59s996ms`.
fn open_number(element: &str) -> Option<(Number, Duration)> {
    let (key, times) = element.trim().split_once(" timeout ")?;
    let (protocol, port) = key.split_once(" . ")?;
    let (_, left) = times.split_once(" expires ")?;
    let number = Number {
        protocol: protocol.parse().ok()?,
        port: port.parse().ok()?,
    };
    Some((number, listed_time(left)?))
}

/// A time as `nft` lists it, such as `1d2h3m4s5ms`. `None` if it is none.
fn listed_time(mut text: &str) -> Option<Duration> {
    let mut time = Duration::ZERO;
    while !text.is_empty() {
        let (count, rest) = text.split_at(text.find(|sign: char| !sign.is_ascii_digit())?);
        let next = rest.find(|sign: char| sign.is_ascii_digit());
        let (unit, rest) = rest.split_at(next.unwrap_or(rest.len()));
        let ms = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        let part = count.parse::<u64>().ok()?.checked_mul(ms)?;
        time = time.checked_add(Duration::from_millis(part))?;
        text = rest;
    }
    Some(time)
}

/// Lines for `nft`, which does all or none. To delete what is absent is an error there: so what is to be
/// shut is opened in the same breath, and what is to be prolonged is not.
fn script(changes: &[Change]) -> String {
    let mut script = String::new();
    let mut line = |verb: &str, number: &Number, time: Option<Duration>| {
        let Number { protocol, port } = number;
        let time = time.map(|time| format!(" timeout {}", written_time(time)));
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
    async fn kernel_tells_what_is_open_until_the_table_is_deleted() {
        let Some(namespace) = Namespace::new() else {
            eprintln!("skipped: a network namespace and nft are needed");
            return;
        };
        let mut nft = namespace.nft();
        nft.unload().await.unwrap();
        let ports: PortSet = "30000-30999".parse().unwrap();
        let guarded = BTreeMap::from([(Protocol::Tcp, ports)]);
        nft.load(&guarded).await.unwrap();
        assert_eq!(nft.open_numbers().await, Ok(OpenNumbers::new()));
        let number = |port: &str| Number {
            protocol: Protocol::Tcp,
            port: port.parse().unwrap(),
        };
        // Half of the longest time of reclaim.
        let long = Duration::from_hours(24 * 15);
        let opened = vec![
            Change::Open(number("30001"), long),
            Change::Open(number("30002"), OPENING),
        ];
        nft.change(opened).await.unwrap();
        let open = nft.open_numbers().await.unwrap();
        assert_eq!(open.len(), 2);
        let left = open[&number("30001")];
        assert!(
            left <= long && left > Duration::from_hours(24 * 15 - 1),
            "{left:?}"
        );
        assert!(open[&number("30002")] <= OPENING);
        nft.unload().await.unwrap();
        assert!(nft.is_loaded().await.is_err());
    }

    #[test]
    fn times_are_read_as_they_are_listed() {
        let day = Duration::from_millis(86_400_000 + 7_200_000 + 180_000 + 4_005);
        assert_eq!(listed_time("1d2h3m4s5ms"), Some(day));
        for wrong in ["5", "h", "1w", "99999999999999999999s", "-1s"] {
            assert_eq!(listed_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn missing_right_is_told_with_a_section_that_the_page_has() {
        let told = failure("Error: cache initialization failed: Operation not permitted\n");
        let told = told.to_string();
        let (_, section) = told.split_once("docs/fleet.md has under \"").unwrap();
        let heading = format!("\n### {}\n", section.trim_end_matches('"'));
        assert!(
            include_str!("../../docs/fleet.md").contains(&heading),
            "{heading}"
        );
        let other = failure("Error: No such file or directory\n").to_string();
        assert!(!other.contains("CAP_NET_ADMIN"), "{other}");
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
             add element inet portbook may { udp . 9100 timeout 60s0ms }\n"
        );
        let shut = script(&[Change::Shut(number)]);
        assert!(
            shut.starts_with("add element")
                && shut.ends_with("delete element inet portbook may { udp . 9100 }\n")
        );
    }
}
