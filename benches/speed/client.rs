//! As much HTTP/1.1 as a client of the API needs, so that the load generator takes little of the
//! processors that it shares with the service.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const BODY: &str = "{}";

/// One connection, kept alive.
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let buffer = Vec::with_capacity(16 << 10);
        Ok(Self { stream, buffer })
    }

    /// Asks for one port of the default pool and gives the lease's id.
    pub fn allocate(&mut self) -> Result<String> {
        let head = self.post(BODY)?;
        let location = header(head, "location").context("no Location")?;
        let id = location.rsplit('/').next().context("no id")?;
        Ok(id.to_owned())
    }

    /// Asks for this number of ports at once.
    pub fn allocate_many(&mut self, count: usize) -> Result<()> {
        self.post(&format!("{{\"count\":{count}}}")).map(drop)
    }

    /// Gives a lease back.
    pub fn release(&mut self, id: &str) -> Result<()> {
        let request = format!("DELETE /api/v1/leases/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.exchange(&request, "204").map(drop)
    }

    /// Reads what is at a path.
    pub fn get(&mut self, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.exchange(&request, "200").map(drop)
    }

    /// Deletes all attempts but the newest.
    pub fn prune(&mut self, keep: u64) -> Result<()> {
        let body = format!("{{\"keep\":{keep}}}");
        self.send("/api/v1/history/prune", &body, "200").map(drop)
    }

    fn post(&mut self, body: &str) -> Result<&str> {
        self.send("/api/v1/leases", body, "201")
    }

    fn send(&mut self, path: &str, body: &str, status: &str) -> Result<&str> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.exchange(&request, status)
    }

    /// Sends a request and reads its whole answer, which must have this status; gives its head.
    fn exchange(&mut self, request: &str, status: &str) -> Result<&str> {
        self.stream.write_all(request.as_bytes())?;
        self.buffer.clear();
        let head = loop {
            self.read()?;
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
        };
        let length = header(std::str::from_utf8(&self.buffer[..head])?, "content-length");
        let length: usize = length.map_or(Ok(0), str::parse)?;
        while self.buffer.len() < head + 4 + length {
            self.read()?;
        }
        let (head, body) = self.buffer.split_at(head);
        let head = std::str::from_utf8(head)?;
        if head.split(' ').nth(1) != Some(status) {
            bail!("{head}{}", String::from_utf8_lossy(body));
        }
        Ok(head)
    }

    fn read(&mut self) -> Result<()> {
        let mut piece = [0; 8 << 10];
        let count = self.stream.read(&mut piece)?;
        ensure!(count > 0, "the service hung up");
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}
