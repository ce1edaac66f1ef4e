//! Choosing on a real host: `cargo bench --bench host -- [--seconds 60] [--busy 40000]`.
//!
//! 1. Two hundred real listeners come and go in a pattern, on a time scale of two minutes a second,
//!    on the ports of two pools alike. One service takes ports of one pool with `learned`, another
//!    of the other with `random`. What counts is the share of binds that were refused.
//! 2. A pool in which one port is free, all others being listened on by several processes, beside an
//!    empty one: how long an allocation takes, `ordered` and `learned`.
//!
//! All of it happens in a network namespace of its own, which takes root.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other measurements need more of it")]
mod common;

mod full;
mod pattern;
mod squatter;

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
    /// Time during which listeners come and go.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of busy ports in the pool with one free port.
    #[arg(long, default_value_t = 40_000)]
    busy: u16,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Role of this program when it starts itself again.
#[derive(Debug, Subcommand)]
enum Role {
    /// Listens on every port from one to another.
    Squat { first: u16, last: u16 },
    /// Listens on some ports now and then.
    ComeAndGo { first: u16, seed: u64 },
}

/// Ephemeral range of the kernel, outside the pools.
const EPHEMERAL: RangeInclusive<u16> = 60_000..=60_999;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Squat { first, last }) => squatter::squat(*first, *last)?,
        Some(Role::ComeAndGo { first, seed }) => squatter::come_and_go(*first, *seed)?,
        None if !arguments.bench => {}
        None if world::is_inside() => {
            pattern::measure(arguments.seconds)?;
            full::measure(arguments.busy)?;
        }
        None => return world::enter(&EPHEMERAL),
    }
    Ok(ExitCode::SUCCESS)
}
