//! One request and its answer over a socket that blocks: HTTP/1.1 for a process without a runtime.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};

use crate::telemetry::Stopwatch;

/// Maximum number of headers of an answer.
const MOST_HEADERS: usize = 64;

/// Maximum size of the head of an answer.
const LONGEST_HEAD_BYTES: usize = 64 << 10;

/// Number of bytes to read at once: an answer with one lease fits.
const PIECE_BYTES: usize = 4 << 10;

/// The head of an answer.
struct Head {
    /// Number of bytes of the head.
    bytes: usize,
    status: StatusCode,
    /// Number of bytes of the body. `None` if the body ends with the connection.
    length: Option<usize>,
}

/// A stream whose reads and writes together take no longer than a limit.
struct Limited {
    stream: UnixStream,
    limit: Duration,
    taken: Stopwatch,
}

impl Limited {
    /// Time that is left. An error of the kind `WouldBlock` if the time is up, as of a read whose time
    /// is up.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.limit.saturating_sub(self.taken.elapsed()) {
            Duration::ZERO => Err(ErrorKind::WouldBlock.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Limited {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(piece)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Sends a request, and waits for the whole answer, `limit` at most. Its body may have
/// `longest_bytes`. An error of the kind `WouldBlock` if the time is up.
pub(super) fn exchange(
    stream: UnixStream,
    request: &Request<Bytes>,
    longest_bytes: usize,
    limit: Duration,
) -> io::Result<(StatusCode, Vec<u8>)> {
    let mut stream = Limited {
        stream,
        limit,
        taken: Stopwatch::start(),
    };
    stream.write_all(&written(request))?;
    let mut received = Vec::with_capacity(PIECE_BYTES);
    let head = read_head(&mut stream, &mut received)?;
    received.drain(..head.bytes);
    if head.length.unwrap_or(0) > longest_bytes {
        return Err(too_long());
    }
    // Without a length one byte more than allowed tells that there are too many.
    let end = head.length.unwrap_or(longest_bytes.saturating_add(1));
    while received.len() < end && read_piece(&mut stream, &mut received)? > 0 {}
    match head.length {
        Some(length) if received.len() < length => return Err(broken_off()),
        None if received.len() > longest_bytes => return Err(too_long()),
        _ => received.truncate(end),
    }
    Ok((head.status, received))
}

fn written(request: &Request<Bytes>) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend(name.as_str().as_bytes());
        bytes.extend(b": ");
        bytes.extend(value.as_bytes());
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"\r\n");
    bytes.extend(request.body());
    bytes
}

/// Reads until the head of the final answer has come. Interim ones (1xx) are passed over.
fn read_head(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        match head(received)? {
            Some(head) if head.status.is_informational() => drop(received.drain(..head.bytes)),
            Some(head) => return Ok(head),
            None if received.len() > LONGEST_HEAD_BYTES => return Err(too_long()),
            None if read_piece(stream, received)? == 0 => return Err(broken_off()),
            None => {}
        }
    }
}

/// Parses a head. `None` if it has not come as a whole.
fn head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(received).map_err(invalid)?;
    let (httparse::Status::Complete(bytes), Some(code)) = (parsed, answer.code) else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(code).map_err(invalid)?;
    let length = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(0),
        _ => length(answer.headers)?,
    };
    Ok(Some(Head {
        bytes,
        status,
        length,
    }))
}

fn length(headers: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    let value = |wanted: HeaderName| {
        let of_name =
            |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(wanted.as_str());
        headers.iter().find(of_name).map(|header| header.value)
    };
    // portbook sends every document with its length.
    if value(TRANSFER_ENCODING).is_some() {
        return Err(invalid("the answer has a transfer encoding"));
    }
    let length = value(CONTENT_LENGTH).map(std::str::from_utf8);
    let length = length.transpose().map_err(invalid)?;
    length.map(usize::from_str).transpose().map_err(invalid)
}

/// Reads the bytes that are there, or waits for some; 0 if the other side has ended.
fn read_piece(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        match stream.read(&mut piece) {
            Ok(count) => {
                received.extend(&piece[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn too_long() -> io::Error {
    invalid("the answer is too long")
}

fn broken_off() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "connection closed before message completed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchange with a server that answers with these pieces, and then closes.
    fn answered(pieces: &'static [&'static str]) -> io::Result<(StatusCode, Vec<u8>)> {
        let (own, mut other) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut request = [0; 1024];
            let count = other.read(&mut request).unwrap();
            for piece in pieces {
                other.write_all(piece.as_bytes()).unwrap();
            }
            String::from_utf8(request[..count].to_vec()).unwrap()
        });
        let asked = Request::post("/here?a=b").header("host", "localhost");
        let asked = asked.body(Bytes::from_static(b"{}")).unwrap();
        let answer = exchange(own, &asked, 10, Duration::from_secs(20));
        let request = server.join().unwrap();
        assert_eq!(
            request,
            "POST /here?a=b HTTP/1.1\r\nhost: localhost\r\n\r\n{}"
        );
        answer
    }

    fn body(pieces: &'static [&'static str]) -> (u16, String) {
        let (status, body) = answered(pieces).unwrap();
        (status.as_u16(), String::from_utf8(body).unwrap())
    }

    fn error(pieces: &'static [&'static str]) -> String {
        answered(pieces).unwrap_err().to_string()
    }

    #[test]
    fn answer_is_read_to_its_length() {
        let whole = body(&["HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nokmore"]);
        assert_eq!(whole, (201, "ok".to_owned()));
        let pieces = body(&[
            "HTTP/1.1 404 Not",
            " Found\r\ncontent-length: 4\r\n",
            "\r\nno",
            "ne",
        ]);
        assert_eq!(pieces, (404, "none".to_owned()));
        assert_eq!(
            body(&["HTTP/1.1 204 No Content\r\n\r\n"]),
            (204, String::new())
        );
    }

    #[test]
    fn answer_without_a_length_ends_with_the_connection() {
        let whole = body(&["HTTP/1.0 200 OK\r\n\r\n", "all", " of it"]);
        assert_eq!(whole, (200, "all of it".to_owned()));
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let last = body(&[
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7",
        ]);
        assert_eq!(last, (200, "7".to_owned()));
    }

    #[test]
    fn broken_answers_are_errors() {
        let cut = "connection closed before message completed";
        assert_eq!(error(&[]), cut);
        assert_eq!(error(&["HTTP/1.1 200 OK\r\nContent-"]), cut);
        assert_eq!(
            error(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"]),
            cut
        );
        assert_eq!(error(&["SSH-2.0-OpenSSH_9.2\r\n"]), "invalid HTTP version");
        let long = "the answer is too long";
        assert_eq!(
            error(&["HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n"]),
            long
        );
        assert_eq!(error(&["HTTP/1.1 200 OK\r\n\r\n", "eleven bytes"]), long);
        let chunked = error(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]);
        assert_eq!(chunked, "the answer has a transfer encoding");
    }
}
