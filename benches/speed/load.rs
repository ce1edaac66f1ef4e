//! Clients that allocate and release as fast as they get answers.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::place::Service;
use crate::record::Record;

/// Number of concurrent clients.
const CLIENTS: usize = 8;

/// Number of pairs after which a client reads its newest lease from the record.
const LOOK_EVERY: usize = 500;

/// Result of one round of load.
#[derive(Default)]
pub struct Round {
    /// Number of ports that were allocated and released.
    pub pairs: u64,
    /// Ports a second.
    pub rate: f64,
    /// The processor time of the service for each, in microseconds.
    pub processor_us: f64,
    /// Time of each allocation.
    pub latencies: Vec<Duration>,
}

/// Loads the service for so long.
pub fn run(service: &Service, record: &Mutex<Record>, length: Duration) -> Result<Round> {
    let (begin, worked) = (crate::now(), service.processor_time()?);
    let latencies: Vec<Vec<Duration>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| one_client(service, record, length)))
            .collect();
        let answers = clients.into_iter().map(|client| {
            let answer = client.join().map_err(|_| anyhow!("a client panicked"));
            answer.and_then(|latencies| latencies)
        });
        answers.collect::<Result<_>>()
    })?;
    let elapsed = begin.elapsed().as_secs_f64();
    let worked = service.processor_time()?.saturating_sub(worked);
    let latencies = latencies.concat();
    let pairs = latencies.len() as u64;
    Ok(Round {
        pairs,
        rate: crate::figure::approximately(pairs) / elapsed,
        processor_us: worked.as_secs_f64() * 1e6 / crate::figure::approximately(pairs),
        latencies,
    })
}

fn one_client(
    service: &Service,
    record: &Mutex<Record>,
    length: Duration,
) -> Result<Vec<Duration>> {
    let mut client = service.client()?;
    let mut latencies = Vec::new();
    let begin = crate::now();
    while begin.elapsed() < length {
        let asked = crate::now();
        let id = client.allocate()?;
        latencies.push(asked.elapsed());
        if latencies.len() % LOOK_EVERY == 1 {
            let record = record.lock().map_err(|_| anyhow!("a client panicked"))?;
            ensure!(record.has_lease(&id)?, "{id} was answered, not committed");
        }
        client.release(&id)?;
    }
    Ok(latencies)
}
