//! A record with a long past, made by the service itself: attempts in twenty days, some of them
//! refused.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::common::load::{self, Until};
use crate::common::place::Place;

const DAYS: u64 = 20;
const CONNECTIONS: usize = 8;

/// One port of so many is taken by another program, so that its attempt is refused.
const TAKEN_EVERY: usize = 50;

/// Number of pairs after which the clock is set forward.
const STEP: u64 = 500;

/// Number of attempts that a pair makes: one of each family.
const A_PAIR: u64 = 2;

/// Fills the record of a place whose pool has these ports.
pub fn make(place: &mut Place, ports: std::ops::RangeInclusive<u16>, attempts: u64) -> Result<()> {
    let shift = place.folder().join("shift");
    set_clock(&shift, DAYS * 24 * 60)?;
    if let Some(library) = faketime() {
        place.set("LD_PRELOAD", &library.display().to_string());
        place.set("FAKETIME_TIMESTAMP_FILE", &shift.display().to_string());
        place.set("FAKETIME_CACHE_DURATION", "1");
        place.set("DONT_FAKE_MONOTONIC", "1");
    } else {
        eprintln!("libfaketime is not installed: all of the past is of today");
    }
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "random");
    place.set("PORTBOOK_HISTORY__ATTEMPTS_MAX", "10000000");
    let taken = ports.step_by(TAKEN_EVERY);
    let taken: Vec<_> = taken
        .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        .collect();
    let service = place.serve()?;
    let pairs = attempts / A_PAIR;
    let mut failed = Ok(());
    load::exchange(&service, CONNECTIONS, Until::Pairs(pairs), |pair| {
        if pair % STEP == 0 {
            let left = pairs.saturating_sub(pair);
            failed = set_clock(&shift, DAYS * 24 * 60 * left / pairs);
        }
    })?;
    failed?;
    service.stop()?;
    drop(taken);
    for variable in ["LD_PRELOAD", "PORTBOOK_POOLS__DEFAULT__STRATEGY"] {
        place.unset(variable);
    }
    Ok(())
}

/// Sets the clock of the service back by this number of minutes.
fn set_clock(shift: &Path, minutes: u64) -> Result<()> {
    // Replaced in one step, since the service may read it at any moment.
    let new = shift.with_extension("new");
    std::fs::write(&new, format!("-{minutes}m"))?;
    Ok(std::fs::rename(new, shift)?)
}

/// The library that shifts the wall clock of one process (Debian: `faketime`).
fn faketime() -> Option<PathBuf> {
    let libraries = ["x86_64", "aarch64"].map(|machine| {
        PathBuf::from(format!(
            "/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"
        ))
    });
    libraries.into_iter().find(|library| library.exists())
}
