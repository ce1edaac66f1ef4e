//! Occupancy snapshots: periodic looks at the sockets of other programs, so that history knows ports
//! that no request has tried.

use std::collections::HashMap;
use std::time::Duration;

use tracing::Instrument;

use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::attempt::SocketState;
use crate::domain::port::{PortSet, Protocol};
use crate::domain::sighting::{Sighting, Visitor};
use crate::engine::{engine::Engine, learning::Seen, leases::books::Kept, refusal::Refusal};
use crate::host::interface::resolve;
use crate::host::occupancy::{Entry, Occupancy, processes_of};
use crate::telemetry::{Stopwatch, span};
use std::sync::Arc;

/// The result of one snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Its number.
    pub seq: i64,
    /// Time at which it was taken.
    pub at: jiff::Timestamp,
    /// Number of sockets of others on ports that some pool may grant.
    pub sightings: usize,
}

/// Looks every `snapshot_interval`, give or take a tenth so that nothing periodic escapes it,
/// for as long as it is polled.
pub(super) async fn run(engine: &Arc<Engine>) {
    loop {
        let jitter = engine.rng().f64().mul_add(0.2, 0.9);
        let interval = engine.settings().history.snapshot_interval;
        tokio::time::sleep(interval.mul_f64(jitter).max(Duration::from_millis(10))).await;
        if let Err(error) = take(engine).await {
            tracing::warn!(%error, "could not take an occupancy snapshot; the next interval tries again");
        }
    }
}

/// Looks now.
pub(super) async fn take(engine: &Arc<Engine>) -> Result<Look, Refusal> {
    let looking = span::chore("snapshot");
    let look = look(engine).instrument(looking.clone()).await;
    match &look {
        Ok(look) => span::counted(&looking, look.sightings),
        Err(refusal) => span::failed(&looking, refusal.code()),
    }
    look
}

async fn look(engine: &Arc<Engine>) -> Result<Look, Refusal> {
    let begun = Stopwatch::start();
    let ports = ports_of_pools(engine);
    // A socket is ours if it was before the look or is afterwards: leases come and go meanwhile.
    let before = engine.leases.kept();
    let look = || Occupancy::snapshot(&[Protocol::Tcp, Protocol::Udp]);
    let tables = tokio::task::spawn_blocking(look).await;
    let tables = tables.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let tables = tables.map_err(Refusal::SocketTables)?;
    let after = engine.leases.kept();
    let ours = |sighting: &Sighting| {
        let mut kept = before.iter().chain(&after);
        kept.any(|kept| is_kept(kept, sighting))
    };
    let others = tables
        .entries
        .into_iter()
        // Closed connections leave sockets behind that occupy no port.
        .filter(|entry| entry.state != SocketState::Lingering && ports.contains(entry.port))
        .filter(|entry| !ours(&entry.sighting()));
    let seen = named(engine, grouped(others)).await;
    let at = engine.clock.now();
    let count = seen.len();
    let seq = engine.learning.snapshot(&groups_of_pools(engine), seen, at);
    engine.journal.snapshot_taken(begun.elapsed());
    Ok(Look {
        seq,
        at,
        sightings: count,
    })
}

/// Finds the socket and the program behind each sighting. Only sightings without a run need a walk
/// of `/proc`, one for all of them: on a quiet host there are none.
async fn named(
    engine: &Arc<Engine>,
    seen: HashMap<Sighting, Vec<Entry>>,
) -> HashMap<Sighting, Seen> {
    let (mut known, new) = engine.learning.split_known(seen);
    if new.is_empty() {
        return known;
    }
    let look = move || {
        let found = processes_of(new.values());
        let named = new.into_iter().map(|(sighting, entry)| {
            let of = found.get(&entry.inode).and_then(|all| all.first());
            let visitor = Visitor {
                uid: entry.uid,
                command: of.and_then(|process| process.command.clone()),
            };
            let inode = entry.inode;
            (sighting, Seen { inode, visitor })
        });
        named.collect::<Vec<_>>()
    };
    let named = tokio::task::spawn_blocking(look).await;
    known.extend(named.unwrap_or_default());
    known
}

/// Returns the ports that may ever be chosen. History does not learn about others.
fn ports_of_pools(engine: &Arc<Engine>) -> PortBits {
    let settings = engine.settings();
    let of_pools = settings.pools.values().map(|pool| &pool.ranges);
    let of_nics = settings.interfaces.values();
    let of_nics = of_nics.filter_map(|rule| rule.ranges.as_ref());
    let all = of_pools
        .chain(of_nics)
        .fold(PortSet::EMPTY, |all, ranges| all.union(ranges));
    PortBits::from(&all)
}

/// Returns the addresses of every pool. History learns about them whether or not a request has
/// used them.
fn groups_of_pools(engine: &Arc<Engine>) -> Vec<(AddressGroup, Protocol)> {
    let Ok(host) = engine.interfaces.current() else {
        return Vec::new();
    };
    let mut groups = Vec::new();
    for pool in engine.rules.now().settings.pools.values() {
        if let Ok(group) = resolve(&host, &pool.interfaces) {
            let each = pool.protocol.each().iter();
            groups.extend(each.map(|protocol| (group.clone(), *protocol)));
        }
    }
    groups
}

/// Groups sockets by sighting and keeps the best of each: a listener rather than its connections.
fn grouped(entries: impl Iterator<Item = Entry>) -> HashMap<Sighting, Vec<Entry>> {
    let mut groups: HashMap<Sighting, Vec<Entry>> = HashMap::new();
    for entry in entries {
        let group = groups.entry(entry.sighting()).or_default();
        let best = group.first().map_or(u8::MAX, |best| best.state.rank());
        if entry.state.rank() < best {
            group.clear();
        }
        if entry.state.rank() <= best {
            group.push(entry);
        }
    }
    groups
}

fn is_kept(kept: &Kept, sighting: &Sighting) -> bool {
    let mut addresses = kept.group.addresses().iter();
    kept.protocol == sighting.protocol
        && kept.ports.contains(sighting.port)
        && addresses.any(|address| sighting.overlaps(address))
}
