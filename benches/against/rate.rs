//! Pairs of allocation and release a second, with latency and processor time, by connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::common::figure::percentile_ms;
use crate::common::load::{self, Round, Until};
use crate::common::place::Place;
use crate::common::service::Service;
use crate::table::{self, Aim};
use crate::{Arguments, POOLS, Pair};

/// A service under load, with what its rounds brought.
struct Subject {
    service: Service,
    rounds: Vec<Round>,
    _place: Place,
}

impl Subject {
    fn start(binary: &Path, ranges: &str) -> Result<Self> {
        let place = Place::of(binary, ranges)?;
        let service = place.serve()?;
        service.pause()?;
        Ok(Self {
            service,
            rounds: Vec::new(),
            _place: place,
        })
    }

    fn round(&mut self, connections: usize, length: Duration) -> Result<()> {
        self.service.resume()?;
        let round = load::run(&self.service, connections, Until::Passed(length))?;
        self.service.pause()?;
        self.rounds.push(round);
        Ok(())
    }
}

/// Measures and prints.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    for connections in [8, 1, 64] {
        let mut subjects = builds
            .map(Clone::clone)
            .zip(POOLS)
            .try_map(|(binary, ranges)| Subject::start(binary, ranges))?;
        // The first round warms up.
        for round in 0..=arguments.rounds {
            for subject in subjects.turns(round) {
                subject.round(connections, Duration::from_secs(arguments.seconds))?;
            }
        }
        report(connections, &subjects);
    }
    Ok(())
}

fn report(connections: usize, subjects: &Pair<Subject>) {
    let of = |value: &dyn Fn(&Round) -> f64| {
        subjects.map(|subject| subject.rounds[1..].iter().map(value).collect())
    };
    let is_main = connections == 8;
    let aim = |aim| if is_main { aim } else { Aim::Told };
    let rate = Aim::TimesAtLeast(if is_main { 2.5 } else { 1.0 });
    table::heading(&format!(
        "Allocate and release over the Unix socket, {connections} connections, each step committed"
    ));
    table::row("pairs a second", &of(&|round| round.rate), "/s", rate);
    let p50 = of(&|round| percentile_ms(&round.latencies, 50));
    table::row("allocation, median", &p50, "ms", Aim::Told);
    let p99 = of(&|round| percentile_ms(&round.latencies, 99));
    let no_higher = aim(Aim::TimesAtMost(1.0));
    table::row("allocation, 99 of 100", &p99, "ms", no_higher);
    let processor = of(&|round| round.processor_us);
    let less = aim(Aim::TimesAtMost(0.4));
    table::row(
        "processor time of the service a pair",
        &processor,
        "µs",
        less,
    );
    let generator = of(&|round| round.generator_us);
    table::row("... of the load generator", &generator, "µs", Aim::Told);
}
