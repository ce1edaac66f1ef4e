//! Value of learning: ten simulated days of a host with the service's own choice module.
//!
//! `cargo bench --bench simulate -- [--seed N] [--seeds N] [--days N] [--worlds a,b] [--sizes a,b]
//! [--quick]`. Every figure follows from the seed.
//!
//! A **conflict** is a bind that was refused because an occupant was there, or a late one: an
//! occupant that comes for a port while it is leased. A policy sees what the service would see: its
//! own attempts, the late conflicts that can be noticed, and a snapshot a minute where it takes any.
//!
//! `-- --fleet [--seed N] [--hosts N]` simulates a fleet instead: the first day of new hosts, without and with what
//! other hosts know of their ports.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts that are small beside what a float holds"
)]

mod fleet;
mod host;
mod policy;
mod report;
mod run;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use policy::Policy;
use report::Result;
use world::{Kind, World};

/// Arguments of the simulation.
struct Wanted {
    seed: u64,
    seeds: u64,
    days: u32,
    kinds: Vec<Kind>,
    sizes: Vec<u16>,
    /// Whether a fleet is simulated, and its number of new hosts.
    fleet: bool,
    hosts: u32,
}

impl Wanted {
    fn parse() -> std::result::Result<Self, String> {
        let mut wanted = Self {
            seed: 1,
            seeds: 10,
            days: 10,
            kinds: Kind::ALL.to_vec(),
            sizes: vec![500, 2_000, 64_000],
            fleet: false,
            hosts: 150,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match &*argument {
                "--seed" => wanted.seed = number(&value()?)?,
                "--seeds" => wanted.seeds = number(&value()?)?,
                "--days" => wanted.days = number(&value()?)?,
                "--worlds" => {
                    let words = value()?;
                    let kinds = words.split(',').map(Kind::parse);
                    wanted.kinds = kinds.collect::<std::result::Result<_, _>>()?;
                }
                "--sizes" => {
                    let words = value()?;
                    let sizes = words.split(',').map(number);
                    wanted.sizes = sizes.collect::<std::result::Result<_, _>>()?;
                }
                "--fleet" => wanted.fleet = true,
                "--hosts" => wanted.hosts = number(&value()?)?,
                "--quick" => {
                    (wanted.seeds, wanted.sizes) = (2, vec![500, 2_000]);
                }
                // Added by cargo.
                "--bench" => {}
                other => return Err(format!("{other} is not known")),
            }
        }
        if wanted.days < 3 {
            return Err("three days at least: what is learned shows on the second".to_owned());
        }
        Ok(wanted)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> std::result::Result<T, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not a number that fits"))
}

fn main() {
    // `cargo test --all-targets` starts this too; a simulation of ten days is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    match Wanted::parse() {
        Ok(wanted) if wanted.fleet => fleet::print(wanted.seed, wanted.hosts),
        Ok(wanted) => report::print(&wanted.kinds, &wanted.sizes, &simulate(&wanted)),
        Err(wrong) => println!("simulate: {wrong}"),
    }
}

/// Every world of every size and seed, spread over the processors.
fn simulate(wanted: &Wanted) -> Vec<Result> {
    let mut jobs = Vec::new();
    // The long ones first, so that no processor is left alone with one at the end.
    let mut sizes = wanted.sizes.clone();
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    for size in sizes {
        for kind in &wanted.kinds {
            jobs.extend((wanted.seed..wanted.seed + wanted.seeds).map(|seed| (size, *kind, seed)));
        }
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((size, kind, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let done = world_of(*kind, *size, *seed, wanted.days);
                    let mut results = results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    results.extend(done);
                }
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One world under every policy.
fn world_of(kind: Kind, size: u16, seed: u64, days: u32) -> Vec<Result> {
    let world = World::new(kind, size, seed, days);
    let run = |policy: Policy| Result {
        kind,
        size,
        seed,
        policy,
        tally: run::run(&world, policy),
    };
    Policy::ALL.into_iter().map(run).collect()
}
