//! Today's build beside an earlier one, in one run and in turns: `cargo bench --bench against`.
//!
//! The earlier build is made from the repository's history and kept (`builds`). Each part starts both
//! on fresh data directories and lets them work in turns, the order changing with each round, because
//! machines differ more than programs do: ratios count. A part alone:
//! `cargo bench --bench against -- rate`. All of it happens in a network namespace of its own, which
//! takes root.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod common;

mod builds;
mod history;
mod launch;
mod memory;
mod pair;
mod past;
mod portserver;
mod rate;
mod record;
mod reference;
mod requests;
mod start;
mod table;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use common::{figure, world};
use pair::Pair;
use table::Aim;

/// Arguments of the benchmark.
#[derive(Debug, Parser)]
struct Arguments {
    /// Given by cargo; `cargo test --all-targets` leaves it out, and a measurement is no test.
    #[arg(long, hide = true)]
    bench: bool,
    /// Parts to measure; each but `history` if not given.
    parts: Vec<Part>,
    /// Commit that the earlier build is made from.
    #[arg(long, default_value = "ee0e423")]
    commit: String,
    /// Binary of the earlier build, if there is one already.
    #[arg(long)]
    old: Option<PathBuf>,
    /// Binary of today's build; if not given, the one that cargo made for this benchmark.
    #[arg(long)]
    new: Option<PathBuf>,
    /// Number of rounds in which both work.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round under load.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Number of pairs after which memory is read last.
    #[arg(long, default_value_t = 100_000)]
    pairs: u64,
    /// Number of attempts on file in the part `history`.
    #[arg(long, default_value_t = 1_000_000)]
    attempts: u64,
}

/// One part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Size of the binary.
    Size,
    /// Pairs a second, their latency and processor time, at 1, 8 and 64 connections.
    Rate,
    /// Bytes written, bytes of file, length of the log.
    Record,
    /// Resident memory.
    Memory,
    /// Cost of `run`.
    Launch,
    /// From the start to the first port.
    Start,
    /// The port server's protocol beside the reference program.
    Portserver,
    /// The same questions with a long past on file.
    History,
}

impl Part {
    const UNLESS_NAMED: [Self; 7] = [
        Self::Size,
        Self::Rate,
        Self::Record,
        Self::Memory,
        Self::Launch,
        Self::Start,
        Self::Portserver,
    ];

    fn measure(self, arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
        match self {
            Self::Size => size(builds),
            Self::Rate => rate::measure(arguments, builds),
            Self::Record => record::measure(arguments, builds),
            Self::Memory => memory::measure(arguments, builds),
            Self::Launch => launch::measure(builds),
            Self::Start => start::measure(arguments, builds),
            Self::Portserver => portserver::measure(arguments, builds),
            Self::History => history::measure(arguments, builds),
        }
    }
}

/// Ephemeral range of the kernel, outside the pools.
const EPHEMERAL: RangeInclusive<u16> = 60_000..=60_999;

/// Ranges of the default pool, so that two services can live side by side.
const POOLS: Pair<&str> = Pair {
    old: "30000-39999",
    new: "40000-49999",
};

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        return Ok(ExitCode::SUCCESS);
    }
    let builds = builds::find(&arguments)?;
    let parts = match &*arguments.parts {
        [] => &Part::UNLESS_NAMED,
        parts => parts,
    };
    if parts.contains(&Part::Portserver) {
        // A namespace of its own has no way to the package registry.
        reference::install()?;
    }
    if !world::is_inside() {
        return world::enter(&EPHEMERAL);
    }
    println!(
        "old: {}, new: {}",
        builds.old.display(),
        builds.new.display()
    );
    for part in parts {
        part.measure(&arguments, &builds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn size(builds: &Pair<PathBuf>) -> Result<()> {
    let bytes = builds.try_map(|binary| Ok(std::fs::metadata(binary)?.len()))?;
    let megabytes = bytes.map(|bytes| vec![figure::approximately(*bytes) / 1e6]);
    table::heading("Size of the binary");
    table::row("portbook", &megabytes, "MB", Aim::AtMost(14.0));
    Ok(())
}
