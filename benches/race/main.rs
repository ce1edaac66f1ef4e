//! The race for ports, measured: `cargo bench --bench race -- [--rounds 1000] [--clients 300]`.
//!
//! In every round all clients at once want a port, and each binds the one it was given a moment
//! later, while others take ports all around. A client that cannot bind its port has lost. The
//! subjects are ways of getting a port; see `subject`. The parts:
//!
//! - `race`: rivals that do not aim (`rivals`): they bind port 0, connect, bind strictly all over
//!   the pool, or check a port, close it, and bind it strictly a moment later.
//! - `aimed`: binders with SO_REUSEADDR all over the pool beside them. An open gate lets those in
//!   by design; what it loses so is counted, and each loss is compared with what the service
//!   reported of that very lease.
//! - `restart`: one named port, its program killed and started again 1,000 times, each time with
//!   a client's connection left behind, while the rivals of the first part go on.
//! - `starts`: the hand-overs `gate` and `bind` side by side, 2,000 starts of a server each, for every kind and
//!   pace of a rival that aims at this one port (`starts`).
//!
//! All of it happens in a network namespace of its own (which takes root), because the rivals that
//! let the kernel choose matter only where it chooses from the pool. So the pool lies wholly inside
//! the ephemeral range there, where no sensible pool lies. portbook holds at most one in twenty
//! ports of that range: it is made 22 times as wide as there are clients, so that this quota,
//! which is left in force, is not what the subjects run into.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other measurements need more of it")]
mod common;

mod aimed;
mod client;
mod losses;
mod restart;
mod rivals;
mod rounds;
mod starts;
mod subject;
mod table;

use std::ops::RangeInclusive;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use common::world;

/// Arguments of the benchmark.
#[derive(Debug, Parser)]
struct Arguments {
    /// Given by cargo; `cargo test --all-targets` leaves it out, and a measurement is no test.
    #[arg(long, hide = true)]
    bench: bool,
    /// One part alone: race, aimed, restart or starts.
    #[arg(long)]
    part: Option<String>,
    /// One subject alone.
    #[arg(long)]
    subject: Option<String>,
    /// Rounds for each subject.
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
    /// Rounds for each subject against those who aim.
    #[arg(long, default_value_t = 100)]
    aimed_rounds: u32,
    /// Restarts of the named port, for each kind of connection left behind.
    #[arg(long, default_value_t = 1000)]
    restarts: u32,
    /// Starts of a server for each hand-over and rival.
    #[arg(long, default_value_t = 2000)]
    starts: u32,
    /// Clients that want a port at once.
    #[arg(long, default_value_t = 300)]
    clients: u16,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Role of this program when it starts itself again.
#[derive(Debug, Subcommand)]
enum Role {
    /// Takes ports.
    Rival { kind: rivals::Kind, clients: u16 },
    /// Wants ports.
    Clients(client::Task),
    /// Serves on a port.
    Serve { port: u16 },
    /// Binds its port once.
    Start(starts::Serve),
    /// Wants one port.
    Attack(starts::Attack),
}

/// The ports that all subjects choose from.
const POOL: RangeInclusive<u16> = 20_000..=20_999;

/// Ephemeral range of the kernel: the quota of one in twenty leaves room for all clients.
fn ephemeral(clients: u16) -> RangeInclusive<u16> {
    let width = (u32::from(clients) * 22).clamp(2_000, 40_000);
    let last = u32::from(*POOL.start()) + width - 1;
    *POOL.start()..=u16::try_from(last).unwrap_or(u16::MAX)
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Rival { kind, clients }) => rivals::take_ports(*kind, &ephemeral(*clients))?,
        Some(Role::Clients(task)) => client::want_ports(task)?,
        Some(Role::Serve { port }) => restart::serve(*port)?,
        Some(Role::Start(task)) => task.run()?,
        Some(Role::Attack(task)) => task.run()?,
        None if !arguments.bench => {}
        None if world::is_inside() => measure(&arguments)?,
        None => return world::enter(&ephemeral(arguments.clients)),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |part| arguments.part.as_deref().is_none_or(|only| only == part);
    if wanted("race") {
        rounds::measure(arguments)?;
    }
    if wanted("aimed") {
        aimed::measure(arguments)?;
    }
    if wanted("restart") {
        restart::measure(arguments)?;
    }
    if wanted("starts") {
        starts::measure(arguments)?;
    }
    Ok(())
}
