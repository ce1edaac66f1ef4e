//! The client of a running service: HTTP/1.1 over its Unix socket, one connection a request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tracing::Span;

use crate::answers::operation::{self, Input, Operation, Sent};
use crate::answers::problem::{Code, Problem};
use crate::telemetry::propagation;

/// Maximum size of an answer that is kept in memory. The longest one is an allocation with an attempt
/// for every port.
const LONGEST_BYTES: usize = 64 << 20;

/// A service's socket that answered when it was last tried.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    longest_bytes: usize,
    /// Connection of [`connect`](Self::connect), for the first request.
    tried: Mutex<Option<UnixStream>>,
}

/// The body of an answer, piece by piece.
#[derive(Debug)]
pub struct Pieces(Incoming);

impl Pieces {
    /// The next piece; `None` after the last one. No piece is lost if the wait for it is given up.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.0.frame().await?.map(hyper::body::Frame::into_data) {
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
}

impl Client {
    /// A client for this socket. Nothing is connected yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            longest_bytes: LONGEST_BYTES,
            tried: Mutex::default(),
        }
    }

    /// Sets the maximum size of an answer in bytes.
    #[must_use]
    pub fn at_most(mut self, longest_bytes: usize) -> Self {
        self.longest_bytes = longest_bytes;
        self
    }

    /// The service's API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the socket accepts connections.
    pub async fn is_answered(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Connects for the first request.
    pub async fn connect(&self) -> Result<(), ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| self.broken(source))?;
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }

    /// Reads the JSON document at `path`, also of another service than portbook.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.send(Method::GET, path, None).await?;
        self.read(&body)
    }

    /// Calls an operation of the API.
    pub async fn call<O: Operation>(&self, input: &O::Input) -> Result<O::Output, ClientError>
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
        let body = self.send(method, &sent.target, sent.body).await?;
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
        while let Some(piece) = pieces.next().await {
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
        let answer = self.ask(Method::GET, path, None).await;
        let answer = answer.map_err(|error| self.broken(error))?;
        let status = answer.status();
        let body = answer.into_body();
        if status.is_success() {
            return Ok(Pieces(body));
        }
        let body = self.whole(body).await.map_err(|error| self.broken(error))?;
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

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Bytes, ClientError> {
        let (status, body) = self
            .exchange(method, path, body)
            .await
            .map_err(|error| self.broken(error))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Refused(problem(status, &body)))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let answer = self.ask(method, path, body).await?;
        let status = answer.status();
        Ok((status, self.whole(answer.into_body()).await?))
    }

    async fn whole(&self, body: Incoming) -> io::Result<Bytes> {
        let body = Limited::new(body, self.longest_bytes).collect().await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    }

    /// Sends a request, and returns once the head of the answer has come.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<Response<Incoming>> {
        let tried = self
            .tried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let stream = match tried {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket).await?,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // The task ends with the answer.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in trace() {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(io::Error::other)?;
        let answer = sender.send_request(request).await;
        answer.map_err(io::Error::other)
    }
}

/// The headers of the trace: that of the current span, else that of the environment.
fn trace() -> [(&'static str, Option<String>); 2] {
    let span = Span::current();
    let own = propagation::traceparent_of(&span);
    let (parent, state) = if own.is_some() {
        (own, propagation::tracestate_of(&span))
    } else {
        let variable = |name: &str| std::env::var(name).ok();
        (variable("TRACEPARENT"), variable("TRACESTATE"))
    };
    [("traceparent", parent), ("tracestate", state)]
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let detail = format!("the service answered {status} without a reason");
        Problem::new(Code::Failed, detail)
    })
}
