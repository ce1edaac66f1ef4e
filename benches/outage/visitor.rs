//! The visitor: a process of its own that connects to every listener again and again, and expects
//! an answer.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::common::{now, role};

/// Results of the visits since the last question.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Visits {
    /// Answered.
    pub answered: u64,
    /// Refused.
    pub refused: u64,
    /// Reset, or ended without an answer.
    pub broken: u64,
    /// The slowest answers, in microseconds, slowest first.
    pub slowest_us: Vec<u64>,
    /// For how long.
    pub seconds: f64,
}

/// Number of concurrent visitors.
const THREADS: usize = 4;

/// Number of slowest visits that are kept.
const SLOWEST: usize = 5;

/// Visits all ports in turns until dismissed, and tells what came of it for each line it reads.
pub fn visit(every_ms: u64, ports: &[u16]) -> Result<()> {
    let visits = Arc::new(Mutex::new(Visits::default()));
    let rounds = Arc::new(AtomicU64::new(0));
    for share in ports.chunks(ports.len().div_ceil(THREADS)) {
        let (share, visits, rounds) = (share.to_vec(), Arc::clone(&visits), Arc::clone(&rounds));
        std::thread::spawn(move || {
            loop {
                let begin = now();
                for port in &share {
                    note(&visits, *port);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
                let left = Duration::from_millis(every_ms).checked_sub(begin.elapsed());
                std::thread::sleep(left.unwrap_or_default());
            }
        });
    }
    role::ready();
    let mut since = now();
    for line in std::io::stdin().lines() {
        line?;
        let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = std::mem::take(&mut *visits);
        drop(visits);
        told.seconds = since.elapsed().as_secs_f64();
        since = now();
        println!("{}", serde_json::to_string(&told)?);
    }
    Ok(())
}

fn note(visits: &Mutex<Visits>, port: u16) {
    let begin = now();
    let answer = greeting(port);
    let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(true) => visits.answered += 1,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => visits.refused += 1,
        _ => visits.broken += 1,
    }
    let place = visits.slowest_us.partition_point(|slow| *slow > took);
    if place < SLOWEST {
        visits.slowest_us.insert(place, took);
        visits.slowest_us.truncate(SLOWEST);
    }
}

/// Whether the listener there greets.
fn greeting(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    // Closed by reset, so that nothing lingers on either port.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    Ok(&greeting == b"hello")
}
