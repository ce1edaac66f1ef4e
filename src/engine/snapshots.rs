//! Occupancy snapshots: who but portbook is on which port, looked at now and then, so that history
//! knows about ports that nobody has tried.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tracing::Instrument;

use super::books::Kept;
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::attempt::SocketState;
use crate::domain::history::{SightingRow, SnapshotRow};
use crate::domain::port::{PortSet, Protocol};
use crate::domain::sighting::Sighting;
use crate::host::interface::resolve;
use crate::host::occupancy::Occupancy;
use crate::telemetry::{Stopwatch, span};

/// What one snapshot saw.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Its number.
    pub seq: i64,
    /// When it was taken.
    pub at: jiff::Timestamp,
    /// On how many sockets of others on ports that some pool may grant.
    pub sightings: usize,
}

/// The snapshots since the record was written, and the runs of sightings that go on.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last_seq: i64,
    last_at: Option<jiff::Timestamp>,
    running: HashMap<Sighting, i64>,
    snapshots: Vec<SnapshotRow>,
    sightings: Vec<SightingRow>,
}

impl Looks {
    pub(super) fn begin_after(&mut self, last_seq: i64) {
        self.last_seq = last_seq;
    }

    /// When the last one was taken, since the start.
    pub(super) const fn last_at(&self) -> Option<jiff::Timestamp> {
        self.last_at
    }

    /// Notes one snapshot: a row for each run that begins or ends with it.
    fn note(&mut self, seen: &HashSet<Sighting>, at: jiff::Timestamp) -> i64 {
        let at_ms = at.as_millisecond();
        self.last_at = Some(at);
        let before = self.last_seq;
        let seq = before + 1;
        self.last_seq = seq;
        self.snapshots.push(SnapshotRow { seq, at_ms });
        let rows = &mut self.sightings;
        self.running.retain(|sighting, first_seq| {
            let goes_on = seen.contains(sighting);
            if !goes_on {
                rows.push(SightingRow {
                    sighting: *sighting,
                    first_seq: *first_seq,
                    last_seq: Some(before),
                });
            }
            goes_on
        });
        for sighting in seen {
            self.running.entry(*sighting).or_insert_with(|| {
                rows.push(SightingRow {
                    sighting: *sighting,
                    first_seq: seq,
                    last_seq: None,
                });
                seq
            });
        }
        seq
    }

    /// The ports that the latest snapshot saw others on, where they are in the way of a group.
    pub(super) fn seen(&self, protocol: Protocol, group: &AddressGroup) -> PortBits {
        let mut seen = PortBits::default();
        let in_the_way = |sighting: &&Sighting| {
            let mut addresses = group.addresses().iter();
            sighting.protocol == protocol && addresses.any(|address| sighting.overlaps(address))
        };
        for sighting in self.running.keys().filter(in_the_way) {
            seen.insert(sighting.port);
        }
        seen
    }

    /// The ports that the latest snapshot saw others on, once for each address that they are on.
    pub(super) fn by_address(&self) -> Vec<(Sighting, PortBits)> {
        let mut found: HashMap<_, (Sighting, PortBits)> = HashMap::new();
        for sighting in self.running.keys() {
            let place = (
                sighting.protocol,
                sighting.local,
                sighting.scope,
                sighting.dual,
            );
            let (_, ports) = found
                .entry(place)
                .or_insert_with(|| (*sighting, PortBits::default()));
            ports.insert(sighting.port);
        }
        found.into_values().collect()
    }

    pub(super) fn take(&mut self) -> (Vec<SnapshotRow>, Vec<SightingRow>) {
        let snapshots = std::mem::take(&mut self.snapshots);
        (snapshots, std::mem::take(&mut self.sightings))
    }

    pub(super) fn put_back(&mut self, snapshots: Vec<SnapshotRow>, sightings: Vec<SightingRow>) {
        self.snapshots.splice(0..0, snapshots);
        // Later rows of the same run are written after these and win.
        self.sightings.splice(0..0, sightings);
    }
}

impl Service {
    /// Looks every `snapshot_interval`, give or take a tenth so that nothing periodic escapes it,
    /// for as long as it is polled.
    pub async fn keep_looking(&self) {
        loop {
            let jitter = lock(&self.rng).f64().mul_add(0.2, 0.9);
            let interval = self.settings().history.snapshot_interval;
            tokio::time::sleep(interval.mul_f64(jitter).max(Duration::from_millis(10))).await;
            if let Err(error) = self.take_snapshot().await {
                tracing::warn!(%error, "no occupancy snapshot");
            }
        }
    }

    /// Looks now.
    pub async fn take_snapshot(&self) -> Result<Look, Refusal> {
        let looking = span::chore("snapshot");
        let look = self.look().instrument(looking.clone()).await;
        match &look {
            Ok(look) => span::counted(&looking, look.sightings),
            Err(refusal) => span::failed(&looking, refusal.code()),
        }
        look
    }

    async fn look(&self) -> Result<Look, Refusal> {
        let begun = Stopwatch::start();
        let ports = self.ports_of_pools();
        // Ours is what was ours before the look or is afterwards: leases come and go meanwhile.
        let before = lock(&self.books).kept();
        let look = || Occupancy::snapshot(&[Protocol::Tcp, Protocol::Udp]);
        let tables = tokio::task::spawn_blocking(look).await;
        let tables = tables.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let tables = tables.map_err(|error| {
            Refusal::InvalidRequest(format!("the socket tables cannot be read: {error}"))
        })?;
        let after = lock(&self.books).kept();
        let ours = |sighting: &Sighting| {
            let mut kept = before.iter().chain(&after);
            kept.any(|kept| is_kept(kept, sighting))
        };
        let seen: HashSet<Sighting> = tables
            .entries
            .iter()
            // What closed connections leave behind is nobody's port.
            .filter(|entry| entry.state != SocketState::Lingering && ports.contains(entry.port))
            .map(crate::host::occupancy::Entry::sighting)
            .filter(|sighting| !ours(sighting))
            .collect();
        let at = self.clock.now();
        self.open_pools(at.as_millisecond());
        let sightings: Vec<Sighting> = seen.iter().copied().collect();
        lock(&self.history).snapshot(&sightings, at.as_millisecond());
        let seq = lock(&self.pending).looks.note(&seen, at);
        self.metrics.looked(begun.elapsed());
        Ok(Look {
            seq,
            at,
            sightings: seen.len(),
        })
    }

    /// The ports that may ever be chosen; what happens on others is nobody's business.
    fn ports_of_pools(&self) -> PortBits {
        let settings = self.settings();
        let of_pools = settings.pools.values().map(|pool| &pool.ranges);
        let of_nics = settings.interfaces.values();
        let of_nics = of_nics.filter_map(|rule| rule.ranges.as_ref());
        let all = of_pools
            .chain(of_nics)
            .fold(PortSet::EMPTY, |all, ranges| all.union(ranges));
        PortBits::from(&all)
    }

    /// Lets history learn about the addresses of every pool, whether or not somebody has asked yet.
    fn open_pools(&self, now_ms: i64) {
        let Ok(host) = self.interfaces.current() else {
            return;
        };
        for pool in self.settings().pools.values() {
            if let Ok(group) = resolve(&host, &pool.interfaces) {
                for protocol in pool.protocol.each() {
                    lock(&self.history).open(&group, *protocol, now_ms);
                }
            }
        }
    }
}

fn is_kept(kept: &Kept, sighting: &Sighting) -> bool {
    let mut addresses = kept.group.addresses().iter();
    kept.protocol == sighting.protocol
        && kept.ports.contains(sighting.port)
        && addresses.any(|address| sighting.overlaps(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::port::Port;

    fn seen(numbers: &[u16]) -> HashSet<Sighting> {
        let sighting = |number: &u16| Sighting {
            protocol: Protocol::Tcp,
            port: Port::new(*number).unwrap(),
            local: "127.0.0.1".parse().unwrap(),
            scope: 0,
            dual: false,
        };
        numbers.iter().map(sighting).collect()
    }

    #[test]
    fn a_run_is_told_when_it_begins_and_when_it_has_ended() {
        let mut looks = Looks::default();
        looks.begin_after(7);
        let mut rows = |numbers: &[u16]| {
            looks.note(&seen(numbers), jiff::Timestamp::UNIX_EPOCH);
            let (snapshots, sightings) = looks.take();
            assert_eq!(snapshots.len(), 1);
            let row = |row: &SightingRow| (row.sighting.port.get(), row.first_seq, row.last_seq);
            sightings.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[80]), [(80, 8, None)]);
        assert_eq!(rows(&[80]), []);
        assert_eq!(rows(&[]), [(80, 8, Some(9))]);
        assert_eq!(rows(&[80]), [(80, 11, None)]);
    }
}
