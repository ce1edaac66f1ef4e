//! From the start of the service to its first answer, with a long past on file.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::common::place::Place;
use crate::common::service::Service;
use crate::common::{figure, now};
use crate::record::Record;

/// Number of attempts on file, and the longest start with them (milliseconds): the first, which
/// learns from all of them, is only told.
const PASTS: [(u32, f64); 2] = [(100_000, 100.0), (1_000_000, 500.0)];
const ROUNDS: usize = 9;

/// Longest wait for a first answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Measures and prints.
pub fn measure() -> Result<()> {
    for (attempts, aim) in PASTS {
        figure::heading(&format!(
            "From the start to the first port granted, {attempts} attempts on file"
        ));
        let place = Place::new("25000-29999")?;
        place.serve()?.stop()?;
        let record = Record::open(&place.database())?;
        record.add_history(attempts)?;
        record.close()?;
        figure::plain("of which nothing was learned yet", start(&place)?, "ms");
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(start(&place)?);
        }
        figure::at_most(
            "median of later starts",
            figure::median(&mut times),
            aim,
            "ms",
        );
    }
    Ok(())
}

/// Milliseconds from the start of a service to its first grant.
fn start(place: &Place) -> Result<f64> {
    let begin = now();
    let service = place.start()?;
    first_port(&service)?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    service.stop()?;
    Ok(took)
}

/// Asks for a port until a service answers.
fn first_port(service: &Service) -> Result<()> {
    let begin = now();
    loop {
        if let Ok(mut api) = service.api() {
            return api.lease(&json!({})).map(drop);
        }
        ensure!(begin.elapsed() < PATIENCE, "the service does not answer");
        std::thread::sleep(Duration::from_micros(200));
    }
}
