//! The log of occupancy snapshots: sightings that continue from one snapshot to the next as one run,
//! and the rows that are not on record yet.

use std::collections::HashMap;

use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::history::{SightingRow, SnapshotRow};
use crate::domain::port::Protocol;
use crate::domain::sighting::{Sighting, Visitor};
use crate::host::occupancy::Entry;

/// Maximum number of snapshots, and of rows of sightings, that wait to be written.
const MOST_WAITING: usize = 20_000;

/// A socket that a snapshot saw, and the program behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Seen {
    pub(in crate::engine) inode: u64,
    pub(in crate::engine) visitor: Visitor,
}

/// A sighting that continues.
#[derive(Debug)]
struct Run {
    first_seq: i64,
    inode: u64,
    visitor: Visitor,
}

impl Run {
    fn row(&self, sighting: Sighting, last_seq: Option<i64>) -> SightingRow {
        SightingRow {
            sighting,
            visitor: self.visitor.clone(),
            first_seq: self.first_seq,
            last_seq,
        }
    }
}

/// The snapshots since the last write, and the runs of sightings that continue.
#[derive(Debug, Default)]
pub(super) struct SnapshotLog {
    last_seq: i64,
    last_at: Option<jiff::Timestamp>,
    running: HashMap<Sighting, Run>,
    snapshots: Vec<SnapshotRow>,
    sightings: Vec<SightingRow>,
}

impl SnapshotLog {
    pub(super) fn begin_after(&mut self, last_seq: i64) {
        self.last_seq = last_seq;
    }

    /// Time of the latest snapshot since the start.
    pub(super) const fn last_at(&self) -> Option<jiff::Timestamp> {
        self.last_at
    }

    /// Splits sightings into those that continue a run, with the program of that run, and one socket
    /// for each new sighting.
    pub(super) fn known(
        &self,
        seen: HashMap<Sighting, Vec<Entry>>,
    ) -> (HashMap<Sighting, Seen>, HashMap<Sighting, Entry>) {
        let (mut known, mut new) = (HashMap::new(), HashMap::new());
        for (sighting, entries) in seen {
            let run = self.running.get(&sighting);
            let same = run.filter(|run| entries.iter().any(|entry| entry.inode == run.inode));
            if let Some(run) = same {
                let (inode, visitor) = (run.inode, run.visitor.clone());
                known.insert(sighting, Seen { inode, visitor });
            } else if let Some(entry) = entries.into_iter().min_by_key(|entry| entry.inode) {
                new.insert(sighting, entry);
            }
        }
        (known, new)
    }

    /// Notes one snapshot: a row for each run that begins or ends with it. If another program has
    /// replaced the one that was there, one run ends and another begins. Returns its number.
    pub(super) fn note(&mut self, seen: HashMap<Sighting, Seen>, at: jiff::Timestamp) -> i64 {
        let at_ms = at.as_millisecond();
        self.last_at = Some(at);
        let before = self.last_seq;
        let seq = before + 1;
        self.last_seq = seq;
        self.snapshots.push(SnapshotRow { seq, at_ms });
        let rows = &mut self.sightings;
        self.running.retain(|sighting, run| {
            let now = seen.get(sighting);
            let goes_on = now.filter(|now| run.visitor.may_be(&now.visitor));
            match goes_on {
                Some(now) => run.inode = now.inode,
                None => rows.push(run.row(*sighting, Some(before))),
            }
            goes_on.is_some()
        });
        for (sighting, Seen { inode, visitor }) in seen {
            self.running.entry(sighting).or_insert_with(|| {
                let run = Run {
                    first_seq: seq,
                    inode,
                    visitor,
                };
                rows.push(run.row(sighting, None));
                run
            });
        }
        seq
    }

    /// Returns the ports on which the latest snapshot saw sockets of others that overlap a group.
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

    /// Returns the ports on which the latest snapshot saw sockets of others, once for each address.
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

    /// Returns the names of the programs that the latest snapshot saw, one for each socket.
    #[cfg(feature = "fleet")]
    pub(super) fn commands(&self) -> impl Iterator<Item = &str> {
        let running = self.running.values();
        running.filter_map(|run| run.visitor.command.as_deref())
    }

    /// Whether every row was taken to be written.
    pub(super) fn is_written(&self) -> bool {
        self.snapshots.is_empty() && self.sightings.is_empty()
    }

    pub(super) fn take(&mut self) -> (Vec<SnapshotRow>, Vec<SightingRow>) {
        let snapshots = std::mem::take(&mut self.snapshots);
        (snapshots, std::mem::take(&mut self.sightings))
    }

    pub(super) fn put_back(&mut self, snapshots: Vec<SnapshotRow>, sightings: Vec<SightingRow>) {
        self.snapshots.splice(0..0, snapshots);
        // Later rows of the same run are written after these and win.
        self.sightings.splice(0..0, sightings);
        // A record that takes nothing for days must not fill the memory.
        drop_oldest(&mut self.snapshots);
        drop_oldest(&mut self.sightings);
    }
}

fn drop_oldest<T>(rows: &mut Vec<T>) {
    let beyond = rows.len().saturating_sub(MOST_WAITING);
    rows.drain(..beyond);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::port::Port;

    const SOCKET: Seen = Seen {
        inode: 1,
        visitor: Visitor {
            uid: Some(1000),
            command: None,
        },
    };

    fn sighting(number: u16) -> Sighting {
        Sighting {
            protocol: Protocol::Tcp,
            port: Port::new(number).unwrap(),
            local: "127.0.0.1".parse().unwrap(),
            scope: 0,
            dual: false,
        }
    }

    fn log_after(last_seq: i64) -> SnapshotLog {
        let mut log = SnapshotLog::default();
        log.begin_after(last_seq);
        log
    }

    fn of(command: &str, inode: u64) -> Seen {
        let mut seen = Seen { inode, ..SOCKET };
        seen.visitor.command = Some(command.to_owned());
        seen
    }

    #[test]
    fn runs_have_a_row_at_their_begin_and_at_their_end() {
        let mut log = log_after(7);
        let mut rows = |numbers: &[u16]| {
            let seen = numbers.iter().map(|number| (sighting(*number), SOCKET));
            log.note(seen.collect(), jiff::Timestamp::UNIX_EPOCH);
            let (snapshots, sightings) = log.take();
            assert_eq!(snapshots.len(), 1);
            let row = |row: &SightingRow| (row.sighting.port.get(), row.first_seq, row.last_seq);
            sightings.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[80]), [(80, 8, None)]);
        assert_eq!(rows(&[80]), []);
        assert_eq!(rows(&[]), [(80, 8, Some(9))]);
        assert_eq!(rows(&[80]), [(80, 11, None)]);
    }

    #[test]
    fn another_program_on_the_port_begins_another_run() {
        let mut log = log_after(0);
        let mut rows = |seen: Seen| {
            let seen = HashMap::from([(sighting(80), seen)]);
            log.note(seen, jiff::Timestamp::UNIX_EPOCH);
            let row = |row: &SightingRow| {
                let command = row.visitor.command.clone().unwrap_or_default();
                (command, row.first_seq, row.last_seq)
            };
            log.take().1.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(rows(of("python3", 1)), [("python3".to_owned(), 1, None)]);
        assert_eq!(
            rows(of("python3", 2)),
            [],
            "the same program after a restart"
        );
        assert_eq!(rows(SOCKET), [], "its name cannot be read for a moment");
        let changed = [
            ("python3".to_owned(), 1, Some(3)),
            ("node".to_owned(), 4, None),
        ];
        assert_eq!(rows(of("node", 3)), changed);
    }

    #[test]
    fn only_sockets_without_a_run_are_new() {
        let mut log = log_after(0);
        let seen = HashMap::from([(sighting(80), of("python3", 1))]);
        log.note(seen, jiff::Timestamp::UNIX_EPOCH);
        let entry = |number, inode| Entry {
            protocol: Protocol::Tcp,
            local: "127.0.0.1".parse().unwrap(),
            scope: 0,
            dual: false,
            port: Port::new(number).unwrap(),
            state: crate::domain::attempt::SocketState::Listening,
            uid: Some(1000),
            inode,
            queue: 0,
        };
        let now = HashMap::from([
            (sighting(80), vec![entry(80, 7), entry(80, 1)]),
            (sighting(81), vec![entry(81, 9), entry(81, 8)]),
        ]);
        let (known, new) = log.known(now);
        assert_eq!(known, HashMap::from([(sighting(80), of("python3", 1))]));
        assert_eq!(new, HashMap::from([(sighting(81), entry(81, 8))]));
    }
}
