//! Passing open sockets, which HTTP cannot, over a Unix socket beside the API's; one question a
//! connection.
//!
//! The question is a line of JSON, `{"lease": "ID"}`. The answer is a line of JSON with the sockets
//! as SCM_RIGHTS beside it: `{"port": 8888, "addresses": ["10.0.0.7:8888", "10.0.0.8:8888"]}`, one socket
//! an address; or `{"problem": …}` as in the API, without a socket. The kernel identifies the caller
//! (`SO_PEERCRED`). `{"sockets": {"lease": "ID", "each": true}}` asks for a socket for each address where
//! one would cover both families.
//!
//! `{"succeed": true}`, from the service's own user or root, begins a take-over ([`super::succession`]).
//! Services of earlier versions know `{"takeover": true}` in its place: such a one ends, sends its holds
//! last, in messages of `{"holds": N}`, and then closes the connection. This one refuses it, because nothing
//! would keep the holds if the asker died.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::access;
use crate::answers::problem::{Code, Problem};
use crate::domain::address::{BindAddress, Family, with_port};
use crate::domain::lease::LeaseId;
use crate::domain::port::Port;
use crate::engine::service::{Caller, Service, Terms};
use crate::host::handover;
use crate::host::hold::Shape;

/// Maximum length of a question in bytes, far above that of any.
const LONGEST_LINE: usize = 1024;

/// Time limit for a question, so that idle connections do not use up descriptors.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time limit for an answer; a service finishes its work before it hands over.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Asks for the sockets of this lease.
    Lease(LeaseId),
    /// Asks for the sockets of a lease on these terms.
    Sockets(Wanted),
    /// Asks a service of an earlier version to end and to pass on its holds.
    Takeover(bool),
    /// Asks the service to pass on all that it has, and to end once its successor answers.
    Succeed(bool),
}

/// Sockets to be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Their lease.
    pub lease: LeaseId,
    /// Whether each address is to have a socket of its own.
    #[serde(default)]
    pub each: bool,
    /// Whether they are for the program that the caller becomes, which may not know of them.
    #[serde(default)]
    pub for_program: bool,
}

impl Wanted {
    /// The terms for the engine.
    pub const fn terms(&self) -> Terms {
        Terms {
            is_for_program: self.for_program,
            shape: if self.each { Shape::Each } else { Shape::One },
        }
    }
}

/// An answer, beside the sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// One socket for each address, in this order.
    Sockets {
        /// The port.
        port: Port,
        /// Its addresses, one for each socket.
        addresses: Vec<String>,
    },
    /// Sockets of holds; their addresses tell their leases.
    Holds {
        /// Number of sockets.
        holds: usize,
    },
    /// All sockets were sent.
    Passed {
        /// Number of sockets.
        passed: usize,
    },
    /// Refused.
    Refused {
        /// Reason.
        problem: Box<Problem>,
    },
}

/// Path of the socket for descriptors: `portbook.fds.sock` beside `portbook.sock`.
pub fn beside(api_socket: &Path) -> PathBuf {
    api_socket.with_extension("fds.sock")
}

/// Answers one connection. One that asks to take over goes to `takeovers`.
pub async fn serve(stream: UnixStream, service: &Service, takeovers: &mpsc::Sender<UnixStream>) {
    if let Err(error) = answer(stream, service, takeovers).await {
        tracing::debug!(%error, "a connection for descriptors ended early");
    }
}

async fn answer(
    stream: UnixStream,
    service: &Service,
    takeovers: &mpsc::Sender<UnixStream>,
) -> io::Result<()> {
    let caller = access::peer(&stream.peer_cred()?);
    let (stream, line) = tokio::time::timeout(PATIENCE, read_line(stream)).await??;
    match serde_json::from_str(&line) {
        Ok(Question::Lease(id)) => give(&stream, service, &caller, id, Terms::default()).await,
        Ok(Question::Sockets(wanted)) => {
            give(&stream, service, &caller, wanted.lease, wanted.terms()).await
        }
        Ok(Question::Succeed(true)) if may_take_over(&caller) => {
            // It waits for the outcome of those before it. At the end of the service its connection closes.
            match takeovers.try_send(stream) {
                Err(TrySendError::Full(stream)) => refuse(&stream, crowded()).await,
                sent => sent.map_err(io::Error::other),
            }
        }
        Ok(Question::Takeover(true)) if may_take_over(&caller) => {
            let detail = "only a portbook of this version or a later one can take over from this service; \
                stop this one first, and then start the earlier version";
            refuse(&stream, Problem::new(Code::InvalidRequest, detail)).await
        }
        Ok(Question::Takeover(_) | Question::Succeed(_)) => {
            let detail = "only the service's own user or root may take over";
            refuse(&stream, Problem::new(Code::Forbidden, detail)).await
        }
        Err(error) => {
            refuse(
                &stream,
                Problem::new(Code::InvalidRequest, error.to_string()),
            )
            .await
        }
    }
}

fn crowded() -> Problem {
    let detail =
        "too many processes wait to take over from this service; ask again once they are done";
    Problem::new(Code::HostError, detail)
}

fn may_take_over(caller: &Caller) -> bool {
    caller.may_act_for(rustix::process::geteuid().as_raw())
}

/// Reads one line, and returns the stream.
async fn read_line(stream: UnixStream) -> io::Result<(UnixStream, String)> {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(LONGEST_LINE, stream);
    let mut limited = tokio::io::AsyncReadExt::take(&mut reader, LONGEST_LINE as u64);
    limited.read_line(&mut line).await?;
    Ok((reader.into_inner(), line))
}

async fn give(
    stream: &UnixStream,
    service: &Service,
    caller: &Caller,
    id: LeaseId,
    terms: Terms,
) -> io::Result<()> {
    match service.give_sockets(caller, id, terms).await {
        Ok((lease, sockets)) => {
            let any = BindAddress::wildcard(Family::Ipv6);
            let addresses = match sockets[..] {
                // One dual-stack socket covers both wildcards.
                [_] if lease.addresses.is_dual() => std::slice::from_ref(&any),
                _ => lease.addresses.addresses(),
            };
            let addresses = addresses.iter();
            let answer = Answer::Sockets {
                port: lease.port,
                addresses: addresses
                    .map(|address| with_port(address, lease.port))
                    .collect(),
            };
            let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            say(stream, &answer, &sockets).await
        }
        Err(refusal) => refuse(stream, refusal.into()).await,
    }
}

async fn refuse(stream: &UnixStream, problem: Problem) -> io::Result<()> {
    let problem = Box::new(problem);
    say(stream, &Answer::Refused { problem }, &[]).await
}

/// Sends one answer with its sockets.
pub(super) async fn say(
    stream: &UnixStream,
    answer: &impl Serialize,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    let message = || handover::send(stream, &text, sockets);
    let sent = stream.async_io(Interest::WRITABLE, message).await?;
    // A line is far smaller than the buffer of a Unix socket.
    if sent == text.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Sends holds to the successor, in messages of as many as fit.
pub async fn pass_on(stream: &UnixStream, holds: &[BorrowedFd<'_>]) -> io::Result<()> {
    for part in holds.chunks(handover::MOST_AT_ONCE) {
        say(stream, &Answer::Holds { holds: part.len() }, part).await?;
    }
    Ok(())
}

/// Failure to fetch sockets.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The service refused the request.
    #[error(transparent)]
    Refused(#[from] Box<Problem>),
    /// No service answers, or not in this protocol.
    #[error("the service passes no sockets on {socket}: {source}")]
    Unreachable {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of the connection.
        source: io::Error,
    },
}

impl FetchError {
    /// Failure of an exchange over a socket.
    pub(super) fn unreachable(socket: PathBuf, source: io::Error) -> Self {
        let source = match source.kind() {
            io::ErrorKind::WouldBlock => {
                let limit = ANSWER_WITHIN.as_secs();
                let silent =
                    format!("it has not answered within {limit} s; it may be stopped or hang");
                io::Error::new(io::ErrorKind::TimedOut, silent)
            }
            _ if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => io::Error::other(
                "it has too many sockets for the descriptors that this process may have; raise RLIMIT_NOFILE (`ulimit -n`)",
            ),
            _ => source,
        };
        Self::Unreachable { socket, source }
    }

    /// Whether no service listens.
    pub fn is_nobody(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, Self::Unreachable { source, .. }
            if matches!(source.kind(), NotFound | ConnectionRefused))
    }
}

/// Asks the service beside `api_socket` for the sockets of a lease.
pub fn fetch(api_socket: &Path, id: LeaseId) -> Result<Vec<OwnedFd>, FetchError> {
    fetch_by(api_socket, &Question::Lease(id))
}

/// Asks for sockets on these terms. An earlier service knows of no terms, and gives them on its own.
pub fn fetch_on_terms(api_socket: &Path, wanted: Wanted) -> Result<Vec<OwnedFd>, FetchError> {
    let (id, each) = (wanted.lease, wanted.each);
    match fetch_by(api_socket, &Question::Sockets(wanted)) {
        Err(FetchError::Refused(problem))
            if problem.code == Code::InvalidRequest.as_str() && !each =>
        {
            fetch(api_socket, id)
        }
        fetched => fetched,
    }
}

fn fetch_by(api_socket: &Path, question: &Question) -> Result<Vec<OwnedFd>, FetchError> {
    let mut sockets = Vec::new();
    for answer in ask(api_socket, question, &mut sockets)? {
        if let Answer::Refused { problem } = answer {
            return Err(FetchError::Refused(problem));
        }
    }
    Ok(sockets)
}

/// Asks a service of an earlier version beside `api_socket` to end, and returns its holds.
pub fn take_over(api_socket: &Path) -> Result<Vec<OwnedFd>, FetchError> {
    let mut holds = Vec::new();
    for answer in ask(api_socket, &Question::Takeover(true), &mut holds)? {
        if let Answer::Refused { problem } = answer {
            return Err(FetchError::Refused(problem));
        }
    }
    Ok(holds)
}

/// Sends a question, and collects the answers until the other side closes.
fn ask(
    api_socket: &Path,
    question: &Question,
    sockets: &mut Vec<OwnedFd>,
) -> Result<Vec<Answer>, FetchError> {
    let socket = beside(api_socket);
    let answers = exchange(&socket, question, sockets);
    answers.map_err(|source| FetchError::unreachable(socket, source))
}

fn exchange(
    socket: &Path,
    question: &Question,
    sockets: &mut Vec<OwnedFd>,
) -> io::Result<Vec<Answer>> {
    let stream = BlockingStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    handover::send(&stream, &line, &[])?;
    let mut text = Vec::new();
    let mut room = [0; 4096];
    loop {
        match handover::receive(&stream, &mut room, sockets)? {
            0 => break,
            length => text.extend_from_slice(&room[..length]),
        }
    }
    let answers = serde_json::Deserializer::from_slice(&text).into_iter();
    let answers: Vec<Answer> = answers.collect::<Result<_, _>>()?;
    if answers.is_empty() && matches!(question, Question::Lease(_) | Question::Sockets(_)) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answers)
}
