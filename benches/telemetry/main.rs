//! Cost of telemetry with a working and with a failing collector: `cargo bench --bench telemetry`.
//!
//! One service without tracing and one of each other kind run side by side on the release binary; all
//! are loaded in turns, fifteen rounds, each beginning with another one. Ratios are taken within a
//! round. Their median has the fourth and the twelfth of fifteen as its 96.5 % interval (binomial).

mod backend;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod common;
mod subject;

use anyhow::{Result, ensure};

use backend::Backend;
use subject::{Figures, Subject};

/// Number of rounds, and the indices of the sorted ratios that bound the median.
const ROUNDS: usize = 15;
const LOWER: usize = 3;
const UPPER: usize = 11;

/// Largest ratio by which an allocation may be slower with a failing collector.
const MOST: f64 = 1.10;

/// Longest time that a service may take to stop, in seconds.
const STOP_WITHIN: f64 = 2.0;

fn main() -> Result<()> {
    // `cargo test --all-targets` starts this too; a measurement is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!(
        "{:<34} {:>9} {:>9} {:>24}",
        "", "pairs/s", "p50 µs", "p50 beside no tracing"
    );
    let mut kinds = vec![
        Subject::start("no tracing", None, 1.0)?,
        Subject::start("a tenth of the traces", Some(Backend::answering(200)?), 0.1)?,
        Subject::start(
            "every trace (the default)",
            Some(Backend::answering(200)?),
            1.0,
        )?,
        Subject::start("collector down", Some(Backend::down()?), 1.0)?,
        Subject::start("collector hangs", Some(Backend::hanging()?), 1.0)?,
        Subject::start("collector answers 500", Some(Backend::answering(500)?), 1.0)?,
    ];
    let figures = measure(&kinds)?;
    for (subject, own) in kinds.iter().zip(&figures) {
        print(subject, own, &figures[0]);
    }
    println!();
    for subject in kinds.drain(..) {
        let (name, dropped) = (subject.name, subject.dropped()?);
        let seconds = subject.stop()?;
        println!(
            "{name:<34} {dropped:>9} spans lost, stopped in {seconds:.2} s (at most {STOP_WITHIN})"
        );
    }
    Ok(())
}

/// The figures of each subject, a round each.
fn measure(kinds: &[Subject]) -> Result<Vec<Vec<Figures>>> {
    let mut figures: Vec<Vec<Figures>> = kinds.iter().map(|_| Vec::new()).collect();
    // The first round warms up and does not count.
    for round in 0..=ROUNDS {
        for turn in 0..kinds.len() {
            let index = (round + turn) % kinds.len();
            let own = kinds[index].load()?;
            if round > 0 {
                figures[index].push(own);
            }
        }
    }
    ensure!(
        figures.iter().all(|own| own.len() == ROUNDS),
        "a round is missing"
    );
    Ok(figures)
}

fn print(subject: &Subject, own: &[Figures], without: &[Figures]) {
    let median = |value: fn(&Figures) -> f64| sorted(own.iter().map(value))[ROUNDS / 2];
    let ratios = own.iter().zip(without);
    let ratios = sorted(ratios.map(|(own, without)| own.median_us / without.median_us));
    let verdict = if subject.is_broken() && ratios[LOWER] > MOST {
        "  MISSED"
    } else {
        ""
    };
    println!(
        "{:<34} {:>9.0} {:>9.0} {:>10.3} ({:.3} to {:.3}){verdict}",
        subject.name,
        median(|figures| figures.rate),
        median(|figures| figures.median_us),
        ratios[ROUNDS / 2],
        ratios[LOWER],
        ratios[UPPER],
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
