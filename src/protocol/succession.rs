//! Passing a whole service on to its successor, over the socket for descriptors.
//!
//! The successor asks with `{"succeed": true}`. The service answers with its sockets, in messages of
//! `{"holds": N}`, and at last `{"passed": N}`. Then they speak in steps, `{"step": "received"}`: see
//! [`Step`]. Until the last one the service keeps all that it passed, and goes on if the successor ends.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;

use super::descriptor::{ANSWER_WITHIN, Answer, FetchError, Question, beside, say};
use crate::answers::problem::{Code, Problem};
use crate::engine::KEPT_FREE;
use crate::host::handover;
use crate::host::readiness::Readiness;

/// Time limit for a successor that gave up to say why and to end, before it is killed, and for its end
/// then. It closes its sockets meanwhile.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A word between a service and its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The successor has all sockets.
    Received,
    /// The service leaves the record to the successor.
    Proceed,
    /// The successor has taken up all leases, and could answer.
    Ready,
    /// The service answers no more.
    Go,
    /// The successor answers.
    Answering,
}

#[derive(Serialize, Deserialize)]
struct Said {
    step: Step,
}

/// One end of the connection between a service and its successor.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<UnixStream>,
    /// Part of a line.
    line: Vec<u8>,
    other: Option<Process>,
}

/// The process at the other end.
#[derive(Debug)]
struct Process {
    pid: u32,
    descriptor: OwnedFd,
}

impl Link {
    /// Takes a connection over which a successor asked, or a predecessor passed its sockets.
    pub fn new(stream: UnixStream) -> Self {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let pid = pid.and_then(Pid::from_raw);
        let open = |pid: Pid| {
            let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            Some(Process { pid, descriptor })
        };
        Self {
            // Without one, in another pid namespace, the end of the connection tells.
            other: pid.and_then(open),
            stream: BufReader::new(stream),
            line: Vec::new(),
        }
    }

    /// Process id of the other end. `None` if it is of another pid namespace.
    pub fn pid(&self) -> Option<u32> {
        self.other.as_ref().map(|other| other.pid)
    }

    /// Waits for a step. Not lost if the wait is given up.
    pub async fn hear(&mut self, wanted: Step) -> io::Result<()> {
        self.stream.read_until(b'\n', &mut self.line).await?;
        if self.line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let said: Said = serde_json::from_slice(&std::mem::take(&mut self.line))?;
        if said.step == wanted {
            return Ok(());
        }
        let unexpected = format!("heard {:?} in place of {wanted:?}", said.step);
        Err(io::Error::other(unexpected))
    }

    /// Returns once the other end is gone.
    pub async fn gone(&mut self) -> io::Error {
        match self.hear(Step::Received).await {
            Err(error) => error,
            Ok(()) => io::Error::other("it has received what was not sent"),
        }
    }

    /// Says a step.
    pub async fn say(&self, step: Step) -> io::Result<()> {
        say(self.stream.get_ref(), &Said { step }, &[]).await
    }

    /// Tells a successor why nothing is passed to it.
    pub async fn refuse(&self, why: &io::Error) -> io::Result<()> {
        let detail = format!("the running service cannot hand over, and goes on: {why}");
        let problem = Box::new(Problem::new(Code::HostError, detail));
        say(self.stream.get_ref(), &Answer::Refused { problem }, &[]).await
    }

    /// Passes sockets, in messages of as many as fit.
    pub async fn pass(&self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        super::descriptor::pass_on(self.stream.get_ref(), sockets).await?;
        let passed = sockets.len();
        say(self.stream.get_ref(), &Answer::Passed { passed }, &[]).await
    }

    /// Waits until the other process has ended and closed all that it had; kills it if it does not. An
    /// error if it lives on.
    pub async fn end_other(self) -> io::Result<()> {
        // The end of the connection is all that is known of a process of another pid namespace.
        let Some(other) = self.other else {
            return Ok(());
        };
        let end = Readiness::of(other.descriptor.try_clone()?)?;
        if tokio::time::timeout(END_WITHIN, end.readable())
            .await
            .is_ok()
        {
            return Ok(());
        }
        match pidfd_send_signal(&other.descriptor, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        tokio::time::timeout(END_WITHIN, end.readable()).await?
    }
}

/// What a service passed to its successor.
#[derive(Debug)]
pub struct Inheritance {
    /// Sockets and the lock of the data directory.
    pub sockets: Vec<OwnedFd>,
    /// Connection for the steps. `None` if the service has ended.
    pub link: Option<BlockingStream>,
}

impl Inheritance {
    /// Whether the service ended without a word.
    const fn is_empty(&self) -> bool {
        self.link.is_none() && self.sockets.is_empty()
    }
}

/// Maximum number of services that are asked in turn: each may have had another successor meanwhile.
const ASKED: usize = 16;

/// Asks the service beside `api_socket` for all that it has, and if it ends before it answers, the one that
/// is there then. A service of an earlier version ends when it is asked.
///
/// This process may have `limit` descriptors. What does not fit is refused while the service has it.
pub fn ask(api_socket: &Path, limit: u64) -> Result<Inheritance, FetchError> {
    let mut inheritance = ask_once(api_socket, limit)?;
    for _ in 1..ASKED {
        if !inheritance.is_empty() {
            break;
        }
        inheritance = ask_once(api_socket, limit)?;
    }
    Ok(inheritance)
}

fn ask_once(api_socket: &Path, limit: u64) -> Result<Inheritance, FetchError> {
    let socket = beside(api_socket);
    let mut sockets = Vec::new();
    let asked = exchange(&socket, limit, &mut sockets);
    match asked.map_err(|source| FetchError::unreachable(socket, source))? {
        Reply::Passed(link) => Ok(Inheritance {
            sockets,
            link: Some(link),
        }),
        Reply::Ended => Ok(Inheritance {
            sockets,
            link: None,
        }),
        Reply::Refused(problem) if problem.code == Code::InvalidRequest.as_str() => {
            let sockets = super::descriptor::take_over(api_socket)?;
            Ok(Inheritance {
                sockets,
                link: None,
            })
        }
        Reply::Refused(problem) => Err(FetchError::Refused(problem)),
    }
}

enum Reply {
    Passed(BlockingStream),
    /// The service ended before it had passed all.
    Ended,
    Refused(Box<Problem>),
}

/// Says that all sockets are here, and waits until the service leaves the record.
fn proceed(stream: BlockingStream) -> io::Result<Reply> {
    let mut line = serde_json::to_vec(&Said {
        step: Step::Received,
    })?;
    line.push(b'\n');
    handover::send(&stream, &line, &[])?;
    // One byte after another, since what follows is heard elsewhere.
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"\n") {
        if handover::receive(&stream, &mut byte, &mut Vec::new())? == 0 {
            return Ok(Reply::Ended);
        }
        line.extend(byte);
    }
    match serde_json::from_slice::<Said>(&line)?.step {
        Step::Proceed => Ok(Reply::Passed(stream)),
        step => Err(io::Error::other(format!("heard {step:?}"))),
    }
}

fn exchange(socket: &Path, limit: u64, sockets: &mut Vec<OwnedFd>) -> io::Result<Reply> {
    let stream = BlockingStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut line = serde_json::to_vec(&Question::Succeed(true))?;
    line.push(b'\n');
    handover::send(&stream, &line, &[])?;
    let (mut text, mut room) = (Vec::new(), [0; 4096]);
    loop {
        match handover::receive(&stream, &mut room, sockets)? {
            0 => return Ok(Reply::Ended),
            length => text.extend_from_slice(&room[..length]),
        }
        // Each answer is a line.
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                Answer::Passed { passed } if passed as u64 + KEPT_FREE <= limit => {
                    return proceed(stream);
                }
                Answer::Passed { .. } => return Err(Errno::MFILE.into()),
                Answer::Refused { problem } => return Ok(Reply::Refused(problem)),
                Answer::Holds { .. } | Answer::Sockets { .. } => {}
            }
        }
    }
}
