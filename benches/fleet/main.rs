//! The price of a fleet on three members of etcd: `cargo bench --features fleet --bench fleet [-- claims|local]`.
//!
//! * `claims`: unique numbers that eight clients get in a second, over the API, beside keys that eight bare
//!   clients of etcd put in the same way, in turns.
//! * `local`: `portbook run -- true` of a host in a fleet beside that of a host in none, in turns, while
//!   etcd stands still, ends and comes back.
//!
//! All of it happens in a network namespace of its own, which takes root.

mod claims;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod common;
mod engine;
mod local;

use std::ops::RangeInclusive;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use portbook::domain::duration::HumanDuration;

use common::place::Place;
use common::{now, world};
use engine::Engine;

/// Ephemeral range of the kernel: outside the pools.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// Time within which a host joins.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts this too; a measurement is no test.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    if !world::is_inside() {
        return world::enter(&EPHEMERAL);
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| wanted.is_none_or(|wanted| wanted == part);
    let Some(mut engine) = Engine::start()? else {
        eprintln!("SKIPPED: etcd is not installed");
        return Ok(ExitCode::SUCCESS);
    };
    if is_wanted("claims") {
        claims::measure()?;
    }
    if is_wanted("local") {
        local::measure(&mut engine)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A place whose host is in the fleet.
fn member(ranges: &str, name: &str) -> Result<Place> {
    let mut place = Place::new(ranges)?;
    place.set("PORTBOOK_FLEET__ENGINE", &engine::ADDRESSES.join(","));
    place.set("PORTBOOK_FLEET__HOST", name);
    Ok(place)
}

/// Waits until the service of a place is in the fleet.
fn join(place: &Place) -> Result<()> {
    let begin = now();
    loop {
        let mut api = common::api::Api::connect(&place.socket())?;
        let status = api.ask("GET", "/api/v1/fleet/status", None)?.body;
        let state = status["state"].as_str().context("no state")?;
        if state == "joined" {
            return Ok(());
        }
        let limit = HumanDuration(PATIENCE);
        ensure!(begin.elapsed() < PATIENCE, "still {state} after {limit}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
