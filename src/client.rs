//! The client of a running service: HTTP/1.1 over its Unix socket, one connection a request.
//!
//! A server is believed only if it runs as the caller, as root, or as a user that the caller trusts, and
//! it must answer within a time limit.

mod exchange;
mod peer;

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tracing::Span;

use crate::answers::operation::{self, Input, Operation, Sent};
use crate::answers::problem::{Code, Problem};
use crate::domain::event::LATEST_EVENT;
use crate::telemetry::propagation;

use peer::Peer;

/// Maximum size of an answer that is kept in memory. The longest one is an allocation with an attempt
/// for every port.
const LONGEST_BYTES: usize = 64 << 20;

/// Time limit for an answer unless the caller sets another.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A service's socket that answered when it was last tried.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    answer_within: Duration,
    trusted_uids: Vec<u32>,
    link: Link,
}

/// Way in which the calls of a client wait, with the connection for the first of them.
#[derive(Debug)]
enum Link {
    /// By the runtime that polls them.
    Runtime(Mutex<Option<(UnixStream, Peer)>>),
    /// By blocking the thread.
    Thread(Mutex<Option<(BlockingStream, Peer)>>),
}

/// The body of an answer, piece by piece.
#[derive(Debug)]
pub struct Pieces {
    body: Incoming,
    server: Peer,
    /// For a stream of events, the id of the latest one at its beginning.
    pub latest_event: Option<String>,
}

impl Pieces {
    /// The next piece; `None` after the last one. No piece is lost if the wait for it is given up.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.body.frame().await?.map(hyper::body::Frame::into_data) {
                Ok(Ok(piece)) => return Some(Ok(piece)),
                // Trailers.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
    }
}

/// Failure of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service refused the request.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// No service answers on the socket, or not in HTTP.
    #[error("no portbook service answers on {socket}: {source}; start one with `portbook serve`")]
    Unreachable {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of the connection.
        source: io::Error,
    },
    /// A service accepts connections and does not answer in time.
    #[error("the portbook service on {socket} does not answer: {reason}")]
    Silent {
        /// Path of the socket.
        socket: PathBuf,
        /// Process id of the service. `None` if it is of another pid namespace.
        pid: Option<u32>,
        /// State of the process, and the way out.
        reason: String,
    },
    /// The server runs as a user that is not trusted.
    #[error(
        "the server on {socket} runs as uid {uid}, which is neither you nor root, so its answers do not count: \
         name another socket, or trust it with client.trusted_uids = [{uid}]"
    )]
    Untrusted {
        /// Path of the socket.
        socket: PathBuf,
        /// User of the server.
        uid: u32,
    },
}

impl Client {
    /// A client for this socket. Nothing is connected yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            answer_within: ANSWER_WITHIN,
            trusted_uids: Vec::new(),
            link: Link::Runtime(Mutex::default()),
        }
    }

    /// Connects this client for a process without a runtime. Its calls block their thread, so that
    /// their futures are ready at the first poll; [`stream`](Self::stream) and
    /// [`pieces`](Self::pieces) need a runtime all the same.
    pub fn blocking(mut self) -> Result<Self, ClientError> {
        let connected = self.dial_blocking()?;
        if connected.1.was_killed() {
            return Err(self.broken(io::ErrorKind::ConnectionRefused.into()));
        }
        self.link = Link::Thread(Mutex::new(Some(connected)));
        Ok(self)
    }

    /// Sets the time limit for each answer, 30 seconds by default. An answer that is read piece by
    /// piece has it for its head and for each piece.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    /// Believes servers of these users too, beside the caller's own and root's.
    #[must_use]
    pub fn trusting(mut self, uids: &[u32]) -> Self {
        self.trusted_uids = uids.to_vec();
        self
    }

    /// The service's API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether a trusted server accepts connections on the socket.
    pub async fn is_answered(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Connects for the first request. A server that was killed, and still closes its files, counts as
    /// none once it has ended.
    pub async fn connect(&self) -> Result<(), ClientError> {
        let connected = self.dial().await?;
        if connected.1.is_ending(self.answer_within).await {
            return Err(self.broken(io::ErrorKind::ConnectionRefused.into()));
        }
        if let Link::Runtime(tried) = &self.link {
            *tried.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected);
        }
        Ok(())
    }

    /// Reads the JSON document at `path`, also of another service than portbook.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.send(Method::GET, path, None, Duration::ZERO).await?;
        self.read(&body)
    }

    /// Calls an operation of the API.
    pub async fn call<O: Operation>(&self, input: &O::Input) -> Result<O::Output, ClientError>
    where
        O::Output: DeserializeOwned,
    {
        self.call_with::<O>(input, Duration::ZERO).await
    }

    /// Calls an operation that may take longer than others by `more`.
    pub async fn call_with<O: Operation>(
        &self,
        input: &O::Input,
        more: Duration,
    ) -> Result<O::Output, ClientError>
    where
        O::Output: DeserializeOwned,
    {
        let mut sent = Sent::to(O::PATH);
        input.write(&mut sent)?;
        let method = match O::METHOD {
            operation::Method::Get => Method::GET,
            operation::Method::Post => Method::POST,
            operation::Method::Put => Method::PUT,
            operation::Method::Delete => Method::DELETE,
        };
        let body = self.send(method, &sent.target, sent.body, more).await?;
        // An operation without an output answers without a body.
        self.read(if body.is_empty() { b"null" } else { &body })
    }

    /// Reads an answer of any length piece by piece, as long as `take` returns true.
    pub async fn stream<E>(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<Result<(), E>, ClientError> {
        let mut pieces = self.pieces(path).await?;
        let (limit, server) = (self.answer_within, pieces.server.clone());
        while let Some(piece) = within(limit, &server, pieces.next()).await? {
            match take(&piece.map_err(|error| self.broken(error))?) {
                Ok(false) => break,
                Err(error) => return Ok(Err(error)),
                Ok(true) => {}
            }
        }
        Ok(Ok(()))
    }

    /// Begins to read an answer of any length; returns once its head has come.
    pub async fn pieces(&self, path: &str) -> Result<Pieces, ClientError> {
        let (stream, server) = self.connected().await?;
        let limit = self.answer_within;
        let asked = request(Method::GET, path, None).map_err(|error| self.broken(error))?;
        let answer = within(limit, &server, ask(stream, asked)).await?;
        let answer = answer.map_err(|error| self.broken(error))?;
        let status = answer.status();
        let latest_event = answer.headers().get(LATEST_EVENT);
        let latest_event = latest_event.and_then(|id| id.to_str().ok().map(str::to_owned));
        let body = answer.into_body();
        if status.is_success() {
            return Ok(Pieces {
                body,
                server,
                latest_event,
            });
        }
        let body = within(limit, &server, self.whole(body)).await?;
        let body = body.map_err(|error| self.broken(error))?;
        Err(ClientError::Refused(problem(status, &body)))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.broken(error.into()))
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            source,
        }
    }

    /// Connects, and looks who listens.
    async fn dial(&self) -> Result<(UnixStream, Peer), ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| self.broken(source))?;
        let server = Peer::of(&stream, &self.socket, &self.trusted_uids)?;
        Ok((stream, server))
    }

    /// [`dial`](Self::dial) for a thread that blocks.
    fn dial_blocking(&self) -> Result<(BlockingStream, Peer), ClientError> {
        let stream = BlockingStream::connect(&self.socket);
        let stream = stream.map_err(|source| self.broken(source))?;
        let server = Peer::of_blocking(&stream, &self.socket, &self.trusted_uids)?;
        Ok((stream, server))
    }

    /// The connection that was tried, or a new one.
    async fn connected(&self) -> Result<(UnixStream, Peer), ClientError> {
        let tried = match &self.link {
            Link::Runtime(tried) => taken(tried),
            Link::Thread(_) => None,
        };
        match tried {
            Some(connected) => Ok(connected),
            None => self.dial().await,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        more: Duration,
    ) -> Result<Bytes, ClientError> {
        let limit = self.answer_within.saturating_add(more);
        let asked = request(method, path, body).map_err(|error| self.broken(error))?;
        let (status, body) = match &self.link {
            Link::Thread(tried) => self.exchange_blocking(taken(tried), &asked, limit)?,
            Link::Runtime(_) => {
                let (stream, server) = self.connected().await?;
                let exchanged = within(limit, &server, self.exchange(stream, asked)).await?;
                exchanged.map_err(|error| self.broken(error))?
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Refused(problem(status, &body)))
    }

    /// Exchanges a request and its answer on this thread.
    fn exchange_blocking(
        &self,
        tried: Option<(BlockingStream, Peer)>,
        asked: &Request<Bytes>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (stream, server) = match tried {
            Some(connected) => connected,
            None => self.dial_blocking()?,
        };
        match exchange::exchange(stream, asked, LONGEST_BYTES, limit) {
            Ok((status, body)) => Ok((status, body.into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(server.silent(limit)),
            Err(error) => Err(self.broken(error)),
        }
    }

    async fn exchange(
        &self,
        stream: UnixStream,
        asked: Request<Bytes>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let answer = ask(stream, asked).await?;
        let status = answer.status();
        Ok((status, self.whole(answer.into_body()).await?))
    }

    async fn whole(&self, body: Incoming) -> io::Result<Bytes> {
        let body = Limited::new(body, LONGEST_BYTES).collect().await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    }
}

/// Sends a request, and returns once the head of the answer has come.
async fn ask(stream: UnixStream, asked: Request<Bytes>) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The task ends with the answer.
    tokio::spawn(connection);
    let answer = sender.send_request(asked.map(Full::new)).await;
    answer.map_err(io::Error::other)
}

/// The connection for a first request. `None` if it has been used.
fn taken<S>(tried: &Mutex<Option<S>>) -> Option<S> {
    tried.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn request(method: Method, path: &str, body: Option<Vec<u8>>) -> io::Result<Request<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost");
    if let Some(body) = &body {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len());
    }
    for (name, value) in trace() {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let request = request.body(body.unwrap_or_default().into());
    request.map_err(io::Error::other)
}

/// Waits for a server no longer than `limit`.
async fn within<T>(
    limit: Duration,
    server: &Peer,
    work: impl Future<Output = T>,
) -> Result<T, ClientError> {
    let done = tokio::time::timeout(limit, work).await;
    done.map_err(|_| server.clone().silent(limit))
}

/// The headers of the trace: that of the current span, else that of the environment.
fn trace() -> [(&'static str, Option<String>); 2] {
    let span = Span::current();
    let own = propagation::traceparent_of(&span);
    let (parent, state) = if own.is_some() {
        (own, propagation::tracestate_of(&span))
    } else {
        propagation::of_variables()
    };
    [("traceparent", parent), ("tracestate", state)]
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let detail = format!("the service answered {status} without a reason");
        Problem::new(Code::Failed, detail)
    })
}
