//! From the start of the service to its first answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::common::now;
use crate::common::place::Place;
use crate::table::{self, Aim};
use crate::{Arguments, POOLS, Pair};

/// Longest wait for a first answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Measures and prints, with a record that is nearly empty.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    let both = builds.map(Clone::clone).zip(POOLS);
    let mut places = both.try_map(|(binary, ranges)| Place::of(binary, ranges))?;
    table::heading("From the start to the first port granted");
    let times = rounds(&mut places, arguments.rounds)?;
    table::row("nothing on file", &times, "ms", Aim::TimesAtMost(1.0));
    Ok(())
}

/// Times from the start to the first port, in milliseconds; the first start of each is not counted.
pub fn rounds(places: &mut Pair<Place>, rounds: usize) -> Result<Pair<Vec<f64>>> {
    places.try_map(first_port)?;
    let mut times: Pair<Vec<f64>> = places.map(|_| Vec::new());
    for round in 0..rounds {
        let took = places.turns(round).map(|place| first_port(place));
        for (times, took) in times.turns(round).into_iter().zip(took) {
            times.push(took?);
        }
    }
    Ok(times)
}

/// Milliseconds from the start of a service to its first grant.
pub fn first_port(place: &Place) -> Result<f64> {
    let begin = now();
    let service = place.start()?;
    let mut api = loop {
        if let Ok(api) = service.api() {
            break api;
        }
        ensure!(begin.elapsed() < PATIENCE, "the service does not answer");
        std::thread::sleep(Duration::from_micros(200));
    };
    api.lease(&json!({}))?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    service.stop()?;
    Ok(took)
}
