//! From the start of the service to its first answer, with a long past on file.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::figure;
use crate::place::{Place, Service};
use crate::record::Record;

const ATTEMPTS: u32 = 100_000;
const ROUNDS: usize = 9;

/// How long to wait for a first answer at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures and prints.
pub fn measure() -> Result<()> {
    let place = Place::new("20000-24999")?;
    place.serve()?.stop()?;
    let record = Record::open(&place.database())?;
    record.add_past(ATTEMPTS)?;
    record.close()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = crate::now();
        let service = place.start()?;
        first_port(&service)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        service.stop()?;
    }
    figure::heading("From the start to the first port granted, 100,000 attempts on file");
    figure::at_most("median", figure::median(&mut times), 100.0, "ms");
    Ok(())
}

/// Asks for a port until somebody answers.
fn first_port(service: &Service) -> Result<()> {
    let begin = crate::now();
    loop {
        if let Ok(mut client) = service.client() {
            let id = client.allocate()?;
            return client.release(&id);
        }
        ensure!(begin.elapsed() < PATIENCE, "the service does not answer");
        std::thread::sleep(Duration::from_micros(200));
    }
}
