//! Programs that leave their server behind: `cargo bench --bench daemons -- [--daemons 1000]`.
//!
//! Each is started by `portbook run`. It starts a process that starts the server, which binds once both
//! have ended, as daemons do (`daemon(3)`). Beside them clients take the ports of the same pool and give
//! them back. A daemon must never be shut out, its lease must live as long as its server, and the
//! port must be free soon after the server's death. This is done beside few processes and
//! beside many, in turn, which tells the cost of the search for what a program left behind.
//!
//! All of it happens in a network namespace of its own, which takes root.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benchmarks need more of it")]
mod common;

mod daemon;
mod load;

use std::ops::RangeInclusive;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use common::api::Api;
use common::figure;
use common::place::Place;
use common::world;
use daemon::{Daemon, Stage};

/// Arguments of the benchmark.
#[derive(Debug, Parser)]
struct Arguments {
    /// Given by cargo; `cargo test --all-targets` leaves it out, and a measurement is no test.
    #[arg(long, hide = true)]
    bench: bool,
    /// Number of starts and deaths.
    #[arg(long, default_value_t = 1000)]
    daemons: usize,
    /// Number of other processes on the host in half of the rounds.
    #[arg(long, default_value_t = 1000)]
    beside: usize,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Role of this program when it starts itself again.
#[derive(Debug, Subcommand)]
enum Role {
    /// Is a process of a daemon.
    Daemon { stage: Stage, port: u16 },
}

/// Number of rounds; in every other one there are many processes.
const ROUNDS: usize = 10;

/// Ports of the pool, outside the ephemeral range: few, so that a free one is taken soon.
const RANGES: &str = "20000-20011";

/// Ephemeral range of the kernel.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Daemon { stage, port }) => daemon::be(*stage, *port)?,
        None if !arguments.bench => {}
        None if world::is_inside() => measure(&arguments)?,
        None => return world::enter(&EPHEMERAL),
    }
    Ok(ExitCode::SUCCESS)
}

/// Outcomes of some starts and deaths.
#[derive(Default)]
struct Outcomes {
    shut_out: u64,
    early: u64,
    /// Times from the death of a server until its port is free.
    freed: Vec<Duration>,
    /// Times until the record shows that end.
    read: Vec<Duration>,
}

fn measure(arguments: &Arguments) -> Result<()> {
    let place = Place::new(RANGES)?;
    let service = place.serve()?;
    let load = load::Load::start(&place.socket());
    let adopter = daemon::adopter()?;
    let (mut few, mut many) = (Outcomes::default(), Outcomes::default());
    for round in 0..ROUNDS {
        let is_crowded = round % 2 == 1;
        let crowd = Crowd::of(if is_crowded { arguments.beside } else { 0 })?;
        let outcomes = if is_crowded { &mut many } else { &mut few };
        for _ in 0..arguments.daemons / ROUNDS {
            attempt(&place, adopter, outcomes)?;
        }
        drop(crowd);
    }
    figure::heading("Programs that leave their server behind, under load");
    figure::at_most(
        "shut out",
        figure::approximately(few.shut_out + many.shut_out),
        0.0,
        "",
    );
    figure::at_most(
        "leases that ended early",
        figure::approximately(few.early + many.early),
        0.0,
        "",
    );
    let granted = load.end()?;
    figure::plain(
        "ports granted meanwhile",
        figure::approximately(granted.granted),
        "",
    );
    figure::at_most(
        "of these in use by a daemon",
        figure::approximately(granted.in_use),
        0.0,
        "",
    );
    few.freed.sort_unstable();
    many.freed.sort_unstable();
    let middle = |times: &[Duration]| figure::percentile_ms(times, 50);
    figure::plain("port free after, p50", middle(&few.freed), "ms");
    figure::plain(
        "the same beside many processes, p50",
        middle(&many.freed),
        "ms",
    );
    let extra = middle(&many.freed) - middle(&few.freed);
    figure::at_most("many processes cost", extra, 1.0, "ms");
    let mut all = [few.freed, many.freed].concat();
    all.sort_unstable();
    figure::at_most(
        "port free after, p99",
        figure::percentile_ms(&all, 99),
        50.0,
        "ms",
    );
    let mut read = [few.read, many.read].concat();
    read.sort_unstable();
    let last = figure::percentile_ms(&read, 99);
    figure::plain("the record shows it after, p99", last, "ms");
    drop(service);
    Ok(())
}

fn attempt(place: &Place, adopter: u32, outcomes: &mut Outcomes) -> Result<()> {
    let mut api = Api::connect(&place.socket())?;
    let Some(daemon) = Daemon::start(place, adopter, &mut api)? else {
        outcomes.shut_out += 1;
        return Ok(());
    };
    if daemon.has_ended(&mut api)? {
        outcomes.early += 1;
    }
    let freed = daemon.kill(&mut api)?;
    outcomes.freed.push(freed.freed);
    outcomes.read.push(freed.read);
    Ok(())
}

/// Processes that do nothing.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(count: usize) -> Result<Self> {
        let mut crowd = Self(Vec::new());
        for _ in 0..count {
            crowd.0.push(Command::new("sleep").arg("600").spawn()?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for process in &mut self.0 {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
