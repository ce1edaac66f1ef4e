//! All owners are killed at once, while a client asks for ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use portbook::domain::port::Protocol;
use portbook::internals::Occupancy;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::api::Api;
use crate::common::now;
use crate::common::place::Place;
use crate::figure;
use crate::owner::Owner;

/// Longest wait for all ports.
const PATIENCE: Duration = Duration::from_secs(20);

/// When something happened to each port.
type Times = BTreeMap<u16, Instant>;

/// Measures and prints.
pub fn measure(place: &Place, listening: Vec<Owner>, quiet: Vec<Owner>) -> Result<()> {
    let owners: Vec<Owner> = listening.into_iter().chain(quiet).collect();
    let over = AtomicBool::new(false);
    let (killed, freed, granted) = std::thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| ask(place, &over));
        // For a while there is no port to be had.
        std::thread::sleep(Duration::from_millis(500));
        let before = sockets()?;
        let killed = kill(&owners)?;
        let freed = watch(&before, &killed);
        // Ports that are free now are granted by then.
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        let granted = asking.join().map_err(|_| anyhow!("the asker panicked"))??;
        Ok((killed, freed?, granted))
    })?;
    report(&killed, &freed, &granted);
    Ok(())
}

fn kill(owners: &[Owner]) -> Result<Times> {
    let mut killed = Times::new();
    for owner in owners {
        killed.insert(owner.port, now());
        kill_process(Pid::from_child(&owner.role.child), Signal::KILL)?;
    }
    Ok(killed)
}

/// Asks for one port after the other, and keeps what it gets.
fn ask(place: &Place, over: &AtomicBool) -> Result<Times> {
    let mut api = Api::connect(&place.socket())?;
    let mut granted = Times::new();
    while !over.load(Ordering::Relaxed) {
        let answer = api.ask("POST", "/api/v1/leases", Some(&json!({})))?;
        let port = answer.body["leases"][0]["port"].as_u64();
        match port.and_then(|port| u16::try_from(port).ok()) {
            Some(port) => drop(granted.insert(port, now())),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(granted)
}

/// The sockets on each port, by inode.
type Sockets = BTreeMap<u16, BTreeSet<u64>>;

fn sockets() -> Result<Sockets> {
    let mut sockets = Sockets::new();
    for entry in Occupancy::snapshot(&[Protocol::Tcp])?.entries {
        let there = sockets.entry(entry.port.get()).or_default();
        there.insert(entry.inode);
    }
    Ok(sockets)
}

/// Looks until no port has any of the sockets that it had before: one that the asker gets is bound
/// again, by another socket.
fn watch(before: &Sockets, killed: &Times) -> Result<Times> {
    let (begin, mut freed) = (now(), Times::new());
    while freed.len() < killed.len() && begin.elapsed() < PATIENCE {
        let there = sockets()?;
        let looked = now();
        for port in killed.keys() {
            let still = before.get(port).zip(there.get(port));
            if still.is_none_or(|(before, there)| before.is_disjoint(there)) {
                freed.entry(*port).or_insert(looked);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(freed)
}

fn report(killed: &Times, freed: &Times, granted: &Times) {
    figure::heading("All owners killed at once, while a client asks for ports");
    let since = |times: &Times| -> Vec<Duration> {
        let of = |port: &u16| times.get(port).zip(killed.get(port));
        let each = killed.keys().filter_map(of);
        each.map(|(then, killed)| then.saturating_duration_since(*killed))
            .collect()
    };
    let all = killed.len();
    figure::line("killed", all);
    figure::line("free again", format!("{} of {all}", freed.len()));
    if !freed.is_empty() {
        figure::times("from the kill to the free port", &mut since(freed));
    }
    let first = killed.values().min();
    let last = freed.values().max();
    if let (Some(first), Some(last)) = (first, last) {
        figure::line(
            "from the first kill to the last free port",
            figure::ms(last.duration_since(*first)),
        );
    }
    let early = granted
        .iter()
        .filter(|(port, at)| killed.get(port).is_some_and(|killed| *at < killed));
    figure::line("granted anew so far", granted.len());
    figure::line("of them granted while the old owner lived", early.count());
}
