//! A million attempts on file: bytes, pages, statistics, and the first port after the start.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::common::api::Api;
use crate::common::figure::approximately;
use crate::common::now;
use crate::common::place::Place;
use crate::common::service::Service;
use crate::table::{self, Aim};
use crate::{Arguments, Pair, past, start};

/// Ports of both pools.
const PORTS: Pair<RangeInclusive<u16>> = Pair {
    old: 30_000..=34_999,
    new: 40_000..=44_999,
};

/// Number of times that each question is asked.
const QUESTIONS: usize = 20;

/// Statistics, and the pages that read most of the record. `{port}` is the first port of the pool.
const PATHS: [&str; 12] = [
    "/api/v1/stats?since=7d",
    "/api/v1/stats?since=30d",
    "/api/v1/attempts?outcome=in_use",
    "/",
    "/map",
    "/map?layer=conflicts",
    "/attempts",
    "/attempts?outcome=in_use",
    "/attempts?since=7d",
    "/attempts?errno=98",
    "/attempts?port={port}&outcome=in_use&since=20d",
    "/conflicts",
];

/// Measures and prints.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    let both = builds.map(Clone::clone).zip(PORTS);
    let mut places = both.try_map(|(binary, ports)| {
        let mut place = Place::of(binary, &format!("{}-{}", ports.start(), ports.end()))?;
        past::make(&mut place, ports.clone(), arguments.attempts)?;
        Ok(place)
    })?;
    table::heading(&format!(
        "{} attempts on file, in twenty days",
        arguments.attempts
    ));
    let size = places.try_map(Place::record_bytes)?;
    let size = size.map(|bytes| vec![approximately(*bytes) / 1e6]);
    let most = 300.0 * approximately(arguments.attempts) / 1e6;
    table::row("bytes of file", &size, "MB", Aim::AtMost(most));
    let times = start::rounds(&mut places, arguments.rounds)?;
    table::row(
        "first port after the start",
        &times,
        "ms",
        Aim::TimesAtMost(1.0),
    );
    let services = places.try_map(Place::serve)?;
    for path in PATHS {
        let times = ask(&services, path)?;
        table::row(path, &times, "ms", Aim::TimesAtMost(1.0));
    }
    Ok(())
}

/// Time of each answer of both services to a question, in milliseconds.
fn ask(services: &Pair<Service>, path: &str) -> Result<Pair<Vec<f64>>> {
    let both = Pair {
        old: &services.old,
        new: &services.new,
    };
    let mut asked = services.map(|_| Vec::new()).zip(both.zip(PORTS));
    // The first answer warms up.
    for round in 0..=QUESTIONS {
        for (times, (service, ports)) in asked.turns(round) {
            let path = path.replace("{port}", &ports.start().to_string());
            // A connection of its own: an idle one is closed while the other build works.
            times.push(answer_ms(&mut service.api()?, &path)?);
        }
    }
    Ok(asked.map(|(times, _)| times[1..].to_vec()))
}

fn answer_ms(api: &mut Api, path: &str) -> Result<f64> {
    let begin = now();
    let answer = api.ask("GET", path, None)?;
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
