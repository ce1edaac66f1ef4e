//! Waiting for conditions without an event, processes that must end, and tables of the kernel.
//! `support` is about portbook itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Interval and number of the looks of `eventually`: half a minute, for a machine under load.
const ROUND: Duration = Duration::from_millis(20);
const ROUNDS: usize = 1500;

/// The longest that a command may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until the result is there; fails after half a minute.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..ROUNDS {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(ROUND);
    }
    panic!("not within half a minute: {what}");
}

/// Runs a command that must end by itself, such as a service that is to refuse its start.
pub fn ended(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let done = exit_status(&mut child, PATIENCE).is_some();
    if !done {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(done, "{command:?} did not end: {output:?}");
    output
}

/// Waits for the end of a process. `None` if it still runs after `patience`.
pub fn exit_status(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let mut end = [PollFd::new(&process, PollFlags::IN)];
    let patience = Timespec::try_from(patience).unwrap();
    let ended = poll(&mut end, Some(&patience)).unwrap();
    (ended == 1).then(|| child.wait().unwrap())
}

/// A process that is killed when dropped.
pub struct Running(pub Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the program can be run"))
    }

    /// Starts a program with pipes for its stdin and stdout.
    pub fn piped(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::start(command)
    }

    /// Reads a line of its stdout, without the newline.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answer of a web server on `port` to a plain GET. `None` until a server answers.
pub fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| answer.starts_with("HTTP/"))
}

/// Whether the kernel lists a TIME_WAIT of `port` on IPv4.
pub fn lingers(port: u16) -> bool {
    const TIME_WAIT: &str = "06";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let suffix = format!(":{port:04X}");
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1).is_some_and(|local| local.ends_with(&suffix))
            && words.get(3) == Some(&TIME_WAIT)
    })
}

/// Whether a bind without SO_REUSEADDR succeeds on every IPv4 address.
pub fn is_strictly_free(port: u16) -> bool {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let at = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&at.into()).is_ok()
}
