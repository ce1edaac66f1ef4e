//! One page of history: the evidence of one address group and protocol.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::decayed::{Decayed, HalfLife};
use super::fleet::FleetTable;
use super::hash::ByNumber;
use super::record::{Block, Record, Run, block_of};
use crate::choice::bits::PortBits;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::candidate::{Evidence, Totals};
use crate::domain::port::{Port, Protocol};
use crate::domain::sighting::Sighting;

/// Evidence of one address group and protocol.
#[derive(Debug)]
pub struct Page {
    pub(super) id: i64,
    pub(super) group: AddressGroup,
    pub(super) protocol: Protocol,
    half_life: HalfLife,
    /// Time at which it was last asked for.
    pub(super) used_ms: i64,
    pub(super) checks: Decayed,
    pub(super) checks_total: u64,
    /// Ports on which the latest snapshot saw an occupant.
    pub(super) seen: PortBits,
    /// Boxed, as a table that grows has as many empty places as full ones.
    pub(super) ports: HashMap<Port, Box<Record>, ByNumber>,
    pub(super) blocks: HashMap<u16, Block, ByNumber>,
    /// Ports that were busy on other hosts. `None` unless some were looked at.
    pub(super) fleet: Option<Arc<FleetTable>>,
    /// Ports whose present form is not on record.
    pub(super) changed: HashSet<Port>,
    /// Whether the page itself must be written.
    pub(super) is_new: bool,
}

impl Page {
    pub(super) fn new(
        id: i64,
        group: AddressGroup,
        protocol: Protocol,
        half_life: HalfLife,
        now_ms: i64,
    ) -> Self {
        Self {
            id,
            group,
            protocol,
            half_life,
            used_ms: now_ms,
            checks: Decayed::default(),
            checks_total: 0,
            seen: PortBits::default(),
            ports: HashMap::default(),
            blocks: HashMap::default(),
            fleet: None,
            changed: HashSet::new(),
            is_new: true,
        }
    }

    /// Ports on which the latest snapshot saw an occupant.
    pub const fn seen(&self) -> &PortBits {
        &self.seen
    }

    /// Number of snapshots since it was first asked for.
    pub const fn checks_total(&self) -> u64 {
        self.checks_total
    }

    /// Number of ports with evidence of their own.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether no port has evidence of its own.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    pub(super) const fn half_life(&self) -> HalfLife {
        self.half_life
    }

    pub(super) fn is(&self, group: &AddressGroup, protocol: Protocol) -> bool {
        self.protocol == protocol && self.group == *group
    }

    pub(super) fn overlaps(&self, group: &AddressGroup) -> bool {
        self.group.overlaps(group)
    }

    /// Whether a bind on all of `group` binds all of this as well.
    pub(super) fn is_covered_by(&self, group: &AddressGroup) -> bool {
        let covered = |mine: &BindAddress| group.addresses().iter().any(|by| by.covers(mine));
        self.group.addresses().iter().all(covered)
    }

    /// Whether a refusal on `address` would have refused this as well.
    pub(super) fn covers(&self, address: &BindAddress) -> bool {
        self.group.addresses().iter().any(|by| by.covers(address))
    }

    /// Evidence of a port that has none of its own: that of its block.
    pub fn of_block(&self, block: u16, now_ms: i64) -> Evidence {
        let half_life = self.half_life;
        let block = self.blocks.get(&block).copied().unwrap_or_default();
        let left = half_life.left_after(now_ms - block.at_ms);
        Evidence {
            checks: self.checks.at(half_life, now_ms),
            block_good: block.good * left,
            block_failed: block.failed * left,
            fleet_hosts: self.fleet.as_ref().map_or(0, |fleet| fleet.hosts),
            totals: Totals {
                checks: self.checks_total,
                ..Totals::default()
            },
            ..Evidence::default()
        }
    }

    /// Ports with evidence of their own, each with the time of its last news, and those without news here that
    /// were busy on other hosts.
    pub fn known(&self) -> impl Iterator<Item = (Port, Option<i64>)> {
        let own = self.ports.iter();
        let own = own.map(|(port, record)| (*port, Some(record.at_ms)));
        let fleet = self.fleet.iter().flat_map(|fleet| fleet.busy.keys());
        let fleet = fleet.filter(|port| !self.ports.contains_key(port));
        own.chain(fleet.map(|port| (*port, None)))
    }

    /// Evidence of a port.
    pub fn evidence(&self, port: Port, now_ms: i64) -> Evidence {
        let half_life = self.half_life;
        let mut evidence = Evidence {
            seen_now: self.seen.contains(port),
            fleet_busy: self.fleet.as_ref().map_or(0, |fleet| fleet.on(port)),
            ..self.of_block(block_of(port), now_ms)
        };
        if let Some(record) = self.ports.get(&port) {
            let left = half_life.left_after(now_ms - record.at_ms);
            evidence.good = record.good * left;
            evidence.failed = record.failed * left;
            evidence.busy = record.busy * left + self.run_busy(record, now_ms);
            evidence.late = record.late * left;
            let ago = |at_ms: i64| now_ms.saturating_sub(at_ms).max(0).unsigned_abs();
            evidence.released_ago_ms = record.released_at_ms.map(ago);
            evidence.totals = Totals {
                busy: record.totals.busy + self.run_total(record),
                checks: self.checks_total,
                ..record.totals
            };
            evidence.occupant.clone_from(&record.occupant);
        }
        evidence
    }

    /// Decayed number of snapshots in the current run.
    pub(super) fn run_busy(&self, record: &Record, now_ms: i64) -> f64 {
        let half_life = self.half_life;
        record.run.map_or(0.0, |run| {
            let all = self.checks.at(half_life, now_ms);
            (all - run.checks.at(half_life, now_ms)).max(0.0)
        })
    }

    pub(super) fn run_total(&self, record: &Record) -> u64 {
        record
            .run
            .map_or(0, |run| self.checks_total - run.checks_total)
    }

    fn touch(&mut self, port: Port, now_ms: i64) -> &mut Record {
        self.changed.insert(port);
        let record = self.ports.entry(port).or_default();
        record.settle(self.half_life, now_ms);
        record
    }

    /// Whether `now_ms` is later than the last attempt on a port.
    pub(super) fn is_news(&self, port: Port, now_ms: i64) -> bool {
        let known = self.ports.get(&port);
        let tried_ms = known.and_then(|record| record.tried_ms);
        tried_ms.is_none_or(|tried_ms| tried_ms < now_ms)
    }

    /// Brings the record of a port up to the time of an attempt on it.
    fn tried(&mut self, port: Port, now_ms: i64) -> &mut Record {
        let record = self.touch(port, now_ms);
        record.tried_ms = record.tried_ms.max(Some(now_ms));
        record
    }

    /// Notes that a port was bound on every address of a group.
    pub(super) fn bound_on(&mut self, group: &AddressGroup, port: Port, now_ms: i64) {
        if !self.is_covered_by(group) {
            return;
        }
        let record = self.tried(port, now_ms);
        record.good += 1.0;
        record.totals.good += 1;
        let block = self.blocks.entry(block_of(port)).or_default();
        block.add(1.0, 0.0, self.half_life, now_ms);
    }

    /// Notes that a bind was refused because of an occupant.
    pub(super) fn refused_on(
        &mut self,
        address: &BindAddress,
        port: Port,
        occupant: Option<&str>,
        now_ms: i64,
    ) {
        if !self.covers(address) {
            return;
        }
        let record = self.tried(port, now_ms);
        record.failed += 1.0;
        record.totals.failed += 1;
        if let Some(occupant) = occupant {
            record.occupant = Some(occupant.into());
        }
        let block = self.blocks.entry(block_of(port)).or_default();
        block.add(0.0, 1.0, self.half_life, now_ms);
    }

    pub(super) fn late(&mut self, port: Port, now_ms: i64) {
        let record = self.touch(port, now_ms);
        record.late += 1.0;
        record.totals.late += 1;
    }

    pub(super) fn released(&mut self, port: Port, now_ms: i64) {
        self.touch(port, now_ms).released_at_ms = Some(now_ms);
    }

    pub(super) fn snapshot(&mut self, sightings: &[Sighting], now_ms: i64) {
        let mut seen = PortBits::default();
        for sighting in sightings {
            if sighting.protocol == self.protocol
                && !seen.contains(sighting.port)
                && self.group.addresses().iter().any(|a| sighting.overlaps(a))
            {
                seen.insert(sighting.port);
            }
        }
        let mut gone = std::mem::replace(&mut self.seen, seen.clone());
        let mut come = seen;
        let before = gone.clone();
        gone.subtract(&come);
        come.subtract(&before);
        for port in gone.iter() {
            self.end_run(port, now_ms);
        }
        self.checks.settle(self.half_life, now_ms);
        let run = Run {
            checks: self.checks,
            checks_total: self.checks_total,
        };
        for port in come.iter() {
            self.touch(port, now_ms).run = Some(run);
        }
        self.checks.value += 1.0;
        self.checks_total += 1;
    }

    /// Adds the snapshots of a run to the others.
    fn end_run(&mut self, port: Port, now_ms: i64) {
        let Some(record) = self.ports.get(&port) else {
            return;
        };
        let busy = self.run_busy(record, now_ms);
        let total = self.run_total(record);
        let record = self.touch(port, now_ms);
        record.run = None;
        record.busy += busy;
        record.totals.busy += total;
    }

    /// Changes the half-life. First every count is brought up to date by the old one.
    pub(super) fn fade_by(&mut self, half_life: HalfLife, now_ms: i64) {
        let running: Vec<Port> = self.seen.iter().collect();
        for port in &running {
            self.end_run(*port, now_ms);
        }
        self.checks.settle(self.half_life, now_ms);
        let run = Run {
            checks: self.checks,
            checks_total: self.checks_total,
        };
        for record in self.ports.values_mut() {
            record.settle(self.half_life, now_ms);
        }
        for port in &running {
            if let Some(record) = self.ports.get_mut(port) {
                record.run = Some(run);
            }
        }
        for block in self.blocks.values_mut() {
            block.settle(self.half_life, now_ms);
        }
        self.half_life = half_life;
    }
}
