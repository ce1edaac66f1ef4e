//! Bytes that the record costs: written to the disk, on file afterwards, and in the log meanwhile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::common::figure::approximately;
use crate::common::load::{self, Until};
use crate::common::place::Place;
use crate::table::{self, Aim};
use crate::{Arguments, POOLS, Pair};

/// Number of pairs of each round.
const PAIRS: u64 = 20_000;
const CONNECTIONS: usize = 8;

/// Longest number of rounds; bytes differ less than times do.
const ROUNDS: usize = 3;

/// Interval at which the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Figures of one build, one of each round.
#[derive(Default)]
struct Figures {
    written: Vec<f64>,
    asked: Vec<f64>,
    processor_us: Vec<f64>,
    file: Vec<f64>,
    log_mb: Vec<f64>,
}

/// Measures and prints.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    let both = builds.map(Clone::clone).zip(POOLS);
    let mut figures = both.map(|(binary, ranges)| (binary.clone(), *ranges, Figures::default()));
    for round in 0..ROUNDS.min(arguments.rounds) {
        for (binary, ranges, figures) in figures.turns(round) {
            figures.round(&Place::of(binary, ranges)?)?;
        }
    }
    let of =
        |value: fn(&Figures) -> &Vec<f64>| figures.map(|(_, _, figures)| value(figures).clone());
    table::heading(&format!(
        "The record of {PAIRS} pairs, {CONNECTIONS} connections, until the service has stopped"
    ));
    let eighth = Aim::TimesAtMost(0.125);
    let written = of(|figures| &figures.written);
    table::row("bytes written to the disk a pair", &written, "B", eighth);
    let asked = of(|figures| &figures.asked);
    table::row("... passed to the file system", &asked, "B", eighth);
    let file = of(|figures| &figures.file);
    table::row(
        "bytes of file an allocation",
        &file,
        "B",
        Aim::AtMost(660.0),
    );
    let log = of(|figures| &figures.log_mb);
    table::row("the logs at their longest", &log, "MB", Aim::AtMost(16.8));
    let processor = of(|figures| &figures.processor_us);
    let less = Aim::TimesAtMost(0.4);
    table::row(
        "processor time a pair, the stop included",
        &processor,
        "µs",
        less,
    );
    Ok(())
}

impl Figures {
    fn round(&mut self, place: &Place) -> Result<()> {
        place.serve()?.stop()?;
        let empty = place.record_bytes()?;
        let service = place.serve()?;
        let before = service.cost()?;
        let is_over = AtomicBool::new(false);
        let longest = thread::scope(|scope| {
            let looking = scope.spawn(|| longest_log(place, &is_over));
            let loaded = load::run(&service, CONNECTIONS, Until::Pairs(PAIRS));
            is_over.store(true, Ordering::Relaxed);
            let longest = looking.join().map_err(|_| anyhow!("a look panicked"));
            loaded.and(longest?)
        })?;
        let cost = service.stop_and_account()?.since(&before);
        let each = |bytes: u64| approximately(bytes) / approximately(PAIRS);
        self.written.push(each(cost.written));
        self.asked.push(each(cost.asked));
        self.processor_us
            .push(cost.processor.as_secs_f64() * 1e6 / approximately(PAIRS));
        self.log_mb.push(approximately(longest) / 1e6);
        let full = place.record_bytes()?;
        self.file.push(each(full.saturating_sub(empty)));
        Ok(())
    }
}

/// Length of the logs at their longest, in bytes.
fn longest_log(place: &Place, is_over: &AtomicBool) -> Result<u64> {
    let mut longest = 0;
    while !is_over.load(Ordering::Relaxed) {
        longest = longest.max(place.log_bytes()?);
        thread::sleep(LOOK_EVERY);
    }
    Ok(longest)
}
