//! The table, and which aims are met.

use crate::policy::Policy;
use crate::run::Tally;
use crate::world::{Kind, SHIFT_DAY};

/// Result of one policy in one world.
pub struct Result {
    pub kind: Kind,
    pub size: u16,
    pub seed: u64,
    pub policy: Policy,
    pub tally: Tally,
}

/// Prints conflicts an allocation, the worst seed of each, and the aims.
pub fn print(kinds: &[Kind], sizes: &[u16], results: &[Result]) {
    println!("Conflicts an allocation, the worst of all seeds\n");
    let names: Vec<String> = Policy::ALL
        .iter()
        .map(|policy| format!("{:>12}", policy.as_str()))
        .collect();
    println!("{:<12} {:>6} {}", "world", "ports", names.join(" "));
    for kind in kinds {
        for size in sizes {
            let rates: Vec<String> = Policy::ALL
                .iter()
                .map(|policy| format!("{:>12.5}", worst(results, *kind, *size, *policy)))
                .collect();
            println!("{:<12} {size:>6} {}", kind.as_str(), rates.join(" "));
        }
    }
    println!("\nAims, in the worst seed and size of each world\n");
    for kind in kinds {
        aims(*kind, results);
    }
}

fn of(results: &[Result], kind: Kind, policy: Policy) -> impl Iterator<Item = &Result> {
    results
        .iter()
        .filter(move |result| result.kind == kind && result.policy == policy)
}

fn worst(results: &[Result], kind: Kind, size: u16, policy: Policy) -> f64 {
    let rates = of(results, kind, policy).filter(|result| result.size == size);
    rates.map(|result| result.tally.rate()).fold(0.0, f64::max)
}

/// The largest quotient of a policy's figure to that of `random` in the same world.
fn quotient(
    results: &[Result],
    kind: Kind,
    policy: Policy,
    figure: impl Fn(&Tally) -> f64,
) -> (f64, String) {
    let pairs = of(results, kind, policy).map(|mine| {
        let same = |random: &&Result| (random.size, random.seed) == (mine.size, mine.seed);
        let random = of(results, kind, Policy::Random).find(same);
        let random = random.map_or(0.0, |random| figure(&random.tally));
        let quotient = if random > 0.0 {
            figure(&mine.tally) / random
        } else {
            0.0
        };
        (quotient, format!("{} ports, seed {}", mine.size, mine.seed))
    });
    pairs.fold((0.0, String::new()), |worst, next| {
        if next.0 > worst.0 { next } else { worst }
    })
}

fn aims(kind: Kind, results: &[Result]) {
    let limit = if kind.is_visible() { 1.0 / 50.0 } else { 1.0 };
    let (learned, place) = quotient(results, kind, Policy::Learned, Tally::rate);
    line(kind, "learned to random", learned, limit, &place);
    let limit = if kind.is_visible() { 1.0 / 7.0 } else { 1.0 };
    let (sticky, place) = quotient(results, kind, Policy::Sticky, Tally::rate);
    line(kind, "with names to random", sticky, limit, &place);
    let lost = of(results, kind, Policy::Sticky).map(|result| {
        let tally = &result.tally;
        let lost = f64::from(tally.returning - tally.kept) / f64::from(tally.returning.max(1));
        (lost, format!("{} ports, seed {}", result.size, result.seed))
    });
    let (lost, place) = lost.fold((0.0, String::new()), |worst, next| {
        if next.0 > worst.0 { next } else { worst }
    });
    line(kind, "names that lose their port", lost, 0.01, &place);
    if kind == Kind::Shift {
        let after = |tally: &Tally| rate_from(tally, SHIFT_DAY as usize + 1);
        let (learned, place) = quotient(results, kind, Policy::Learned, after);
        line(
            kind,
            "the same a day after the change",
            learned,
            1.0 / 50.0,
            &place,
        );
    }
}

/// Conflicts an allocation from a day on.
fn rate_from(tally: &Tally, day: usize) -> f64 {
    let later = tally.days.iter().skip(day);
    let (requests, conflicts) = later.fold((0, 0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
    f64::from(conflicts) / f64::from(requests.max(1))
}

fn line(kind: Kind, what: &str, value: f64, limit: f64, place: &str) {
    let verdict = if value <= limit { "met" } else { "MISSED" };
    println!(
        "{:<12} {what:<32} {value:>8.5}  aim {limit:>7.4}  {verdict:<6}  {place}",
        kind.as_str()
    );
}
