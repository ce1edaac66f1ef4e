//! One kept-alive HTTP connection, to the API socket or to the console.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A stream of either kind.
trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A connection.
pub struct Api {
    stream: BufReader<Box<dyn Stream>>,
}

/// Answer of the service.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The document, or null.
    pub body: Value,
    /// Length of the body in bytes.
    pub bytes: usize,
}

impl Api {
    /// Connects to the API socket, as the user that this process runs as.
    pub fn connect(socket: &Path) -> Result<Self> {
        Ok(Self::over(UnixStream::connect(socket)?))
    }

    /// Connects to the console at this URL, without a login.
    pub fn visit(url: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("no http:// URL")?;
        let stream = TcpStream::connect(address.trim_end_matches('/'))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
        Self { stream }
    }

    /// Asks for leases; the answer must be a grant. Gives the leases.
    pub fn lease(&mut self, wanted: &Value) -> Result<Vec<Value>> {
        let answer = self.ask("POST", "/api/v1/leases", Some(wanted))?;
        match (answer.status, &answer.body["leases"]) {
            (200 | 201, Value::Array(leases)) => Ok(leases.clone()),
            (status, _) => bail!("{status}: {}", answer.body),
        }
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.send(method, path, body)?;
        let (status, length) = self.head()?;
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text)?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            body,
            bytes: length,
        })
    }

    /// Gives each event of the service to `heed`, until the service hangs up.
    pub fn listen(mut self, mut heed: impl FnMut(&str, &Value)) -> Result<()> {
        self.send("GET", "/api/v1/events", None)?;
        self.head()?;
        let (mut line, mut kind) = (String::new(), String::new());
        // Each event is one chunk, so its lines are whole; the lengths between them are not read.
        while self.stream.read_line(&mut line)? > 0 {
            if let Some(word) = line.trim_end().strip_prefix("event: ") {
                word.clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                heed(&kind, &serde_json::from_str(data)?);
            }
            line.clear();
        }
        Ok(())
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<()> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// Reads status and length of the body.
    fn head(&mut self) -> Result<(u16, usize)> {
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the service hung up");
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                return Ok((status.context("no status")?, length));
            }
            if status.is_none() {
                let word = text.split(' ').nth(1).context("no HTTP")?;
                status = Some(word.parse()?);
            } else if let Some(number) = text.strip_prefix("content-length: ") {
                length = number.parse()?;
            }
        }
    }
}
