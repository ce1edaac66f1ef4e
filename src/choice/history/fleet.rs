//! Busy ports of other hosts, in the form that pages read: one look by number, no walk.

use std::collections::HashMap;
use std::sync::Arc;

use super::History;
use super::hash::ByNumber;
use super::page::Page;
use crate::domain::address::AddressGroup;
use crate::domain::port::{Port, Protocol};
use crate::domain::prior::{GroupReport, PortReport, Prior, Table, TableKey, kinds_of};

/// Maximum number of ports that are reported of one page, the busiest first.
const MOST_REPORTED: usize = 2_000;

/// Number of snapshots before which a page is not reported: a share of fewer says little.
const LEAST_SNAPSHOTS: u32 = 20;

/// Number of hosts on which each port was busy, for one kind of addresses.
#[derive(Debug)]
pub(super) struct FleetTable {
    pub(super) hosts: u32,
    pub(super) busy: HashMap<Port, u32, ByNumber>,
}

impl FleetTable {
    /// Number of hosts on which a port was busy.
    pub(super) fn on(&self, port: Port) -> u32 {
        self.busy.get(&port).copied().unwrap_or_default()
    }
}

impl From<&Table> for FleetTable {
    fn from(table: &Table) -> Self {
        Self {
            hosts: table.hosts,
            busy: table.busy.iter().map(|(port, on)| (*port, *on)).collect(),
        }
    }
}

/// The tables of all kinds of addresses.
#[derive(Debug, Default)]
pub(super) struct FleetTables(HashMap<TableKey, Arc<FleetTable>>);

impl FleetTables {
    pub(super) fn of(&self, group: &AddressGroup, protocol: Protocol) -> Option<Arc<FleetTable>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(kinds_of(group), protocol)).cloned()
    }
}

impl History {
    /// Sets what other hosts of the fleet have seen, in place of what was set before.
    pub fn set_prior(&mut self, prior: &Prior) {
        let tables = prior.tables.iter();
        let tables = tables.map(|(key, table)| (key.clone(), Arc::new(table.into())));
        self.fleet = FleetTables(tables.collect());
        for page in &mut self.pages {
            page.fleet = self.fleet.of(&page.group, page.protocol);
        }
    }

    /// Returns the ports of each page that are not always free, for other hosts. Pages of few
    /// snapshots are left out.
    pub fn report(&self, now_ms: i64) -> Vec<GroupReport> {
        let pages = self.pages.iter().map(|page| page.report(now_ms));
        pages
            .filter(|report| report.snapshots >= LEAST_SNAPSHOTS)
            .collect()
    }

    /// Returns the names of occupants, one for each port that was refused because of it.
    pub fn occupants(&self) -> impl Iterator<Item = &str> {
        let records = self.pages.iter().flat_map(|page| page.ports.values());
        records.filter_map(|record| record.occupant.as_deref())
    }
}

impl Page {
    fn report(&self, now_ms: i64) -> GroupReport {
        let snapshots = rounded(self.checks.at(self.half_life(), now_ms));
        let ports = self.ports.keys().filter_map(|port| {
            let known = self.evidence(*port, now_ms);
            let [refused, busy, strikes] = [known.failed, known.busy, known.late].map(rounded);
            // The rounded parts of a whole may be more than the whole.
            let busy = busy.min(snapshots);
            let is_free = refused == 0 && busy == 0 && strikes == 0;
            (!is_free).then_some(PortReport(*port, refused, busy, strikes))
        });
        let mut report = GroupReport {
            on: kinds_of(&self.group),
            protocol: self.protocol,
            snapshots,
            ports: ports.collect(),
        };
        report.shorten(MOST_REPORTED);
        report
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are never negative, and a conversion ends at the largest number"
)]
fn rounded(count: f64) -> u32 {
    count.round() as u32
}
