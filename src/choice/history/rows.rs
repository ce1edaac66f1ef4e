//! Writing of history to the record in batches, and loading from it.

use super::History;
use super::decayed::Decayed;
use super::page::Page;
use super::record::{Record, block_of};
use crate::domain::candidate::Totals;
use crate::domain::history::{Changes, PageRow, PortRow};
use crate::domain::port::Port;

impl History {
    /// Takes the changes since the last call, at most about `limit` ports of them.
    pub fn take_changes(&mut self, now_ms: i64, limit: usize) -> Changes {
        let mut changes = Changes {
            dropped: std::mem::take(&mut self.dropped),
            ..Changes::default()
        };
        for page in &mut self.pages {
            let left = limit.saturating_sub(changes.ports.len());
            let ports: Vec<Port> = page.changed.iter().take(left).copied().collect();
            if ports.is_empty() && !page.is_new {
                continue;
            }
            page.is_new = false;
            changes.pages.push(page.row(now_ms));
            for port in ports {
                page.changed.remove(&port);
                changes.ports.extend(page.port_row(port));
            }
        }
        changes
    }

    /// Puts back changes that could not be written.
    pub fn put_back(&mut self, changes: &Changes) {
        self.dropped.extend(&changes.dropped);
        for row in &changes.pages {
            if let Some(page) = self.pages.iter_mut().find(|page| page.id == row.id) {
                page.is_new = true;
            }
        }
        for row in &changes.ports {
            if let Some(page) = self.pages.iter_mut().find(|page| page.id == row.page) {
                page.changed.insert(row.port);
            }
        }
    }

    /// Marks all ports in the latest snapshot as changed. While snapshots see a port again and again,
    /// its count grows without being touched, and the record would never hear of it.
    pub fn mark_running(&mut self) {
        for page in &mut self.pages {
            page.is_new = true;
            page.changed.extend(page.seen.iter());
        }
    }

    /// Loads pages and ports of the record. Ports without a page are left out.
    pub fn load(&mut self, pages: Vec<PageRow>, ports: Vec<PortRow>) {
        for row in pages {
            self.last_id = self.last_id.max(row.id);
            let mut page = self.new_page(row.id, row.addresses, row.protocol, row.at_ms);
            page.checks = Decayed {
                value: row.checks,
                at_ms: row.at_ms,
            };
            page.checks_total = row.checks_total;
            page.is_new = false;
            self.pages.push(page);
        }
        for row in ports {
            if let Some(page) = self.pages.iter_mut().find(|page| page.id == row.page) {
                page.load(row);
            }
        }
    }
}

impl Page {
    fn row(&self, now_ms: i64) -> PageRow {
        PageRow {
            id: self.id,
            addresses: self.group.clone(),
            protocol: self.protocol,
            at_ms: now_ms,
            checks: self.checks.at(self.half_life(), now_ms),
            checks_total: self.checks_total,
        }
    }

    /// Row of a port, as of the last news of it.
    fn port_row(&self, port: Port) -> Option<PortRow> {
        let record = self.ports.get(&port)?;
        let seen_ms = record.run.map(|_| self.checks.at_ms);
        let at_ms = seen_ms.map_or(record.at_ms, |seen_ms| seen_ms.max(record.at_ms));
        let left = self.half_life().left_after(at_ms - record.at_ms);
        Some(PortRow {
            page: self.id,
            port,
            at_ms,
            good: record.good * left,
            failed: record.failed * left,
            busy: record.busy * left + self.run_busy(record, at_ms),
            late: record.late * left,
            tried_ms: record.tried_ms,
            released_at_ms: record.released_at_ms,
            totals: Totals {
                busy: record.totals.busy + self.run_total(record),
                ..record.totals
            },
            occupant: record.occupant.clone(),
        })
    }

    fn load(&mut self, row: PortRow) {
        let half_life = self.half_life();
        let block = self.blocks.entry(block_of(row.port)).or_default();
        block.add(row.good, row.failed, half_life, row.at_ms);
        let record = Record {
            at_ms: row.at_ms,
            good: row.good,
            failed: row.failed,
            busy: row.busy,
            late: row.late,
            run: None,
            tried_ms: row.tried_ms,
            released_at_ms: row.released_at_ms,
            totals: row.totals,
            occupant: row.occupant,
        };
        self.ports.insert(row.port, Box::new(record));
    }
}
