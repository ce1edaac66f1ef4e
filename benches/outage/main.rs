//! The service is killed under 1,000 living owners, and then its owners are:
//! `cargo bench --bench outage -- [--handover gate] [--owners 1000] [--every-ms 10]`.
//!
//! 1. Half of the owners listen, and a client visits each of them at a fixed interval,
//!    all the time. The others have their port and do not listen yet. Beside them as many names
//!    wait for owners that are away.
//! 2. The service is killed with SIGKILL and started again. No visit may be refused, reset, or
//!    answered late.
//! 3. An outsider tries to bind every port, strictly and with SO_REUSEADDR. What is promised:
//!    strictly it gets none. With SO_REUSEADDR it gets none where an owner listens, which is the
//!    guard, nor where the owner of a name is away, whose gate is shut. The gate of a living owner
//!    that does not listen yet is open, because that owner may bind at any moment, and who binds
//!    exactly that number with SO_REUSEADDR is let in as it would be: counted, not promised. With
//!    `fd` there is no gate, and an outsider gets nothing in any way.
//! 4. The listeners close one by one. The kernel's table tells how long each port was without a
//!    hold.
//! 5. All owners are killed at once, while a client asks for ports out of a pool that has no
//!    others. Each port must be free within a second, and none may be granted while its owner lives.
//!
//! All of it happens in a network namespace of its own, which takes root.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the race needs more of it")]
mod common;

mod closing;
mod figure;
mod killing;
mod outsider;
mod owner;
mod restart;
mod visitor;

use std::ops::RangeInclusive;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use common::place::Place;
use common::world;
use portbook::domain::lease::Handover;

/// Arguments of the benchmark.
#[derive(Debug, Parser)]
struct Arguments {
    /// Given by cargo; `cargo test --all-targets` leaves it out, and a measurement is no test.
    #[arg(long, hide = true)]
    bench: bool,
    /// Owners; half of them listen. And as many names as do not.
    #[arg(long, default_value_t = 1000)]
    owners: u16,
    /// Hand-over of ports to their owners: with `fd` those that do not listen have closed what they were
    /// given.
    #[arg(long, default_value = "gate")]
    handover: Handover,
    /// Interval of the visits to each listener.
    #[arg(long, default_value_t = 10)]
    every_ms: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Role of this program when it starts itself again.
#[derive(Debug, Subcommand)]
enum Role {
    /// Owns a port.
    Owner {
        port: u16,
        #[arg(long)]
        listens: bool,
    },
    /// Visits ports.
    Visitor { every_ms: u64, ports: Vec<u16> },
}

/// First port of the pool, outside the ephemeral range.
const FIRST: u16 = 20_000;

/// Ephemeral range of the kernel.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Owner { port, listens }) => owner::own(*port, *listens)?,
        Some(Role::Visitor { every_ms, ports }) => visitor::visit(*every_ms, ports)?,
        None if !arguments.bench => {}
        None if world::is_inside() => measure(&arguments)?,
        None => return world::enter(&EPHEMERAL),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Arguments) -> Result<()> {
    let half = arguments.owners / 2;
    let last = FIRST + arguments.owners + half - 1;
    let place = Place::new(&format!("{FIRST}-{last}"))?;
    let service = place.serve()?;
    eprintln!("  {} owners and {half} names …", arguments.owners);
    let names = owner::park_lease(&place, half)?;
    let start = |count, listens| owner::start(&place, count, listens, arguments.handover);
    let quiet = start(half, false)?;
    let mut listening = start(arguments.owners - half, true)?;
    let service = restart::measure(arguments, &place, service, &listening)?;
    outsider::measure(&listening, &quiet, &names, arguments.handover);
    closing::measure(&mut listening)?;
    killing::measure(&place, listening, quiet)?;
    drop(service);
    Ok(())
}
