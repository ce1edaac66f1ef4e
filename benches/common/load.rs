//! Connections that allocate and release as fast as they get answers, on one thread: the load
//! generator shares the processors with the service that it measures.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::ClockId;

use super::now;
use super::service::Service;

const ALLOCATE: &[u8] = b"POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\n\
    Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// Result of one round of load.
pub struct Round {
    /// Number of ports that were allocated and released.
    pub pairs: u64,
    /// Pairs a second.
    pub rate: f64,
    /// Time of each allocation, shortest first.
    pub latencies: Vec<Duration>,
    /// Processor time of the service for each pair, in microseconds.
    pub processor_us: f64,
    /// Processor time of this process for each pair, in microseconds.
    pub generator_us: f64,
    /// Bytes that the service made dirty on the disk for each pair.
    pub written: f64,
    /// Bytes that the service passed to the file system for each pair.
    pub asked: f64,
}

/// End of a round.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Passed(Duration),
    /// After this number of pairs.
    Pairs(u64),
}

/// Loads the service. Each connection ends with a release, so no lease is left.
pub fn run(service: &Service, connections: usize, until: Until) -> Result<Round> {
    let (begin, before, own) = (now(), service.cost()?, own_processor_time());
    let latencies = exchange(service, connections, until, |_| {})?;
    let (elapsed, cost) = (begin.elapsed(), service.cost()?.since(&before));
    let own = own_processor_time().saturating_sub(own);
    let pairs = latencies.len() as u64;
    let count = super::figure::approximately(pairs);
    let each = |bytes: u64| super::figure::approximately(bytes) / count;
    Ok(Round {
        pairs,
        rate: count / elapsed.as_secs_f64(),
        generator_us: own.as_secs_f64() * 1e6 / count,
        latencies,
        processor_us: cost.processor.as_secs_f64() * 1e6 / count,
        written: each(cost.written),
        asked: each(cost.asked),
    })
}

/// Processor time of this thread so far.
fn own_processor_time() -> Duration {
    super::reading(ClockId::ThreadCPUTime)
}

/// Allocates and releases, and tells `heed` the number of pairs so far. Gives the time of each
/// allocation, shortest first.
pub fn exchange(
    service: &Service,
    connections: usize,
    until: Until,
    mut heed: impl FnMut(u64),
) -> Result<Vec<Duration>> {
    let begin = now();
    let mut latencies = Vec::new();
    let open = (0..connections).map(|_| Connection::open(service));
    let mut open = open.collect::<Result<Vec<_>>>()?;
    while !open.is_empty() {
        let is_over = match until {
            Until::Passed(length) => begin.elapsed() >= length,
            Until::Pairs(pairs) => latencies.len() as u64 >= pairs,
        };
        for index in ready(&open)?.into_iter().rev() {
            let connection = &mut open[index];
            if !connection.read()? {
                continue;
            }
            if let Some(asked) = connection.asked.take() {
                latencies.push(asked.elapsed());
                heed(latencies.len() as u64);
                connection.release()?;
            } else if is_over {
                open.swap_remove(index);
            } else {
                connection.allocate()?;
            }
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Indices of the connections that can be read, lowest first.
fn ready(open: &[Connection]) -> Result<Vec<usize>> {
    let polled = open.iter();
    let polled = polled.map(|connection| PollFd::new(&connection.stream, PollFlags::IN));
    let mut polled: Vec<PollFd> = polled.collect();
    poll(&mut polled, None)?;
    let events = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(events
        .enumerate()
        .filter_map(|(index, is)| is.then_some(index))
        .collect())
}

/// One connection, kept alive.
struct Connection {
    stream: UnixStream,
    answer: Vec<u8>,
    /// When the port was asked for that is not answered yet.
    asked: Option<Instant>,
}

impl Connection {
    /// Connects and asks for its first port.
    fn open(service: &Service) -> Result<Self> {
        let mut connection = Self {
            stream: UnixStream::connect(service.socket())?,
            answer: Vec::with_capacity(4 << 10),
            asked: None,
        };
        connection.allocate()?;
        Ok(connection)
    }

    fn allocate(&mut self) -> Result<()> {
        self.answer.clear();
        self.asked = Some(now());
        Ok(self.stream.write_all(ALLOCATE)?)
    }

    /// Gives back the lease of the last answer.
    fn release(&mut self) -> Result<()> {
        let path = header(head(&self.answer)?, "location").context("no Location")?;
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.answer.clear();
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// Reads once, and says whether the answer is whole.
    fn read(&mut self) -> Result<bool> {
        let mut piece = [0; 8 << 10];
        let count = self.stream.read(&mut piece)?;
        ensure!(count > 0, "the service hung up");
        self.answer.extend_from_slice(&piece[..count]);
        let Some(end) = end_of_head(&self.answer) else {
            return Ok(false);
        };
        let head = head(&self.answer)?;
        if !matches!(head.get(9..12), Some("200" | "201" | "204")) {
            bail!("{}", String::from_utf8_lossy(&self.answer));
        }
        let length = header(head, "content-length").map_or(Ok(0), str::parse::<usize>)?;
        Ok(self.answer.len() >= end + length)
    }
}

/// Index of the byte after the head.
fn end_of_head(answer: &[u8]) -> Option<usize> {
    let found = answer.windows(4).position(|four| four == b"\r\n\r\n");
    found.map(|index| index + 4)
}

fn head(answer: &[u8]) -> Result<&str> {
    let end = end_of_head(answer).context("no head")?;
    Ok(std::str::from_utf8(&answer[..end])?)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}
