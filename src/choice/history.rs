//! Lessons of attempts and snapshots: decayed counts per address group, protocol and port.
//!
//! Counts decay lazily: a number is kept with the time it was true at, and brought up to date when it
//! is touched. Addresses overlap, so evidence counts for every group that it proves something about. A
//! bind that worked proves that every address it covered was free. A refused bind proves that each
//! group which covers its address would have been refused. An occupant in the kernel's tables blocks
//! every address that it overlaps.

mod decayed;
mod fleet;
mod hash;
mod page;
mod record;
mod rows;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::attempt::Attempt;
use crate::domain::port::{Port, Protocol};
use crate::domain::sighting::Sighting;

use decayed::HalfLife;
use fleet::FleetTables;
pub use page::Page;

/// Default time after which a count is worth half.
pub const HALF_LIFE: Duration = Duration::from_hours(72);

/// Maximum number of pages. Clients may ask for odd addresses, and addresses come and go; the page that
/// was not asked for the longest makes room.
const PAGES: usize = 64;

/// All evidence. Times are milliseconds of Unix time, since evidence outlives a boot.
#[derive(Debug)]
pub struct History {
    half_life: HalfLife,
    pages: Vec<Page>,
    dropped: Vec<i64>,
    last_id: i64,
    fleet: FleetTables,
}

impl History {
    /// History without evidence.
    pub fn new(half_life: Duration) -> Self {
        Self {
            half_life: HalfLife::of(half_life),
            pages: Vec::new(),
            dropped: Vec::new(),
            last_id: 0,
            fleet: FleetTables::default(),
        }
    }

    /// Changes the half-life from `now_ms` on.
    pub fn set_half_life(&mut self, half_life: Duration, now_ms: i64) {
        self.half_life = HalfLife::of(half_life);
        for page in &mut self.pages {
            page.fade_by(self.half_life, now_ms);
        }
    }

    /// Opens a page for a group, unless there is one. Snapshots count for it from now on.
    pub fn open(&mut self, group: &AddressGroup, protocol: Protocol, now_ms: i64) {
        let known = self.pages.iter_mut().find(|page| page.is(group, protocol));
        if let Some(page) = known {
            page.used_ms = now_ms;
            return;
        }
        if self.pages.len() >= PAGES {
            let oldest = (0..self.pages.len()).min_by_key(|index| self.pages[*index].used_ms);
            if let Some(oldest) = oldest {
                let page = self.pages.swap_remove(oldest);
                self.dropped.push(page.id);
            }
        }
        self.last_id += 1;
        let page = self.new_page(self.last_id, group.clone(), protocol, now_ms);
        self.pages.push(page);
    }

    fn new_page(&self, id: i64, group: AddressGroup, protocol: Protocol, now_ms: i64) -> Page {
        let mut page = Page::new(id, group, protocol, self.half_life, now_ms);
        page.fleet = self.fleet.of(&page.group, protocol);
        page
    }

    /// Page of a group and protocol. `None` before it is opened.
    pub fn page(&self, group: &AddressGroup, protocol: Protocol) -> Option<&Page> {
        self.pages.iter().find(|page| page.is(group, protocol))
    }

    /// Every page.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Learns from the attempts of one allocation, in the order made. Where one address was tried
    /// twice, as at a re-take past lingering connections, the last try counts.
    pub fn learn(&mut self, attempts: &[Attempt]) {
        self.teach(attempts, false);
    }

    /// Learns from attempts on record that may be known already: only those later than the last attempt
    /// learned of their port count.
    pub fn replay(&mut self, attempts: &[Attempt]) {
        self.teach(attempts, true);
    }

    fn teach(&mut self, attempts: &[Attempt], only_news: bool) {
        let same = |one: &Attempt, other: &Attempt| {
            (one.protocol, one.port) == (other.protocol, other.port)
        };
        for tries in attempts.chunk_by(same) {
            let mut last: Vec<&Attempt> = Vec::with_capacity(tries.len());
            for attempt in tries {
                last.retain(|earlier| earlier.address != attempt.address);
                last.push(attempt);
            }
            self.teach_candidate(&last, only_news);
        }
    }

    /// Learns from the last try on each address of one port.
    fn teach_candidate(&mut self, tries: &[&Attempt], only_news: bool) {
        let Some(first) = tries.first() else { return };
        let (protocol, port) = (first.protocol, first.port);
        let refused = tries.iter().find(|attempt| !attempt.outcome.is_success());
        match refused {
            None => {
                let addresses = tries.iter().map(|attempt| attempt.address.clone());
                let group = AddressGroup::new(addresses);
                let now_ms = first.at.as_millisecond();
                self.open(&group, protocol, now_ms);
                for page in self.news(protocol, port, now_ms, only_news) {
                    page.bound_on(&group, port, now_ms);
                }
            }
            // Other outcomes say nothing about the port: no such address, no privilege.
            Some(attempt) if attempt.outcome.is_taken() => {
                let occupant = attempt.occupant.as_ref();
                let command = occupant.and_then(|occupant| occupant.command.as_deref());
                let now_ms = attempt.at.as_millisecond();
                for page in self.news(protocol, port, now_ms, only_news) {
                    page.refused_on(&attempt.address, port, command, now_ms);
                }
            }
            Some(_) => {}
        }
    }

    fn news(
        &mut self,
        protocol: Protocol,
        port: Port,
        now_ms: i64,
        only_news: bool,
    ) -> impl Iterator<Item = &mut Page> {
        self.pages
            .iter_mut()
            .filter(move |page| page.protocol == protocol)
            .filter(move |page| !only_news || page.is_news(port, now_ms))
    }

    /// Notes that a port was bound on every address of a group.
    pub fn bound(&mut self, group: &AddressGroup, protocol: Protocol, port: Port, now_ms: i64) {
        self.open(group, protocol, now_ms);
        for page in self.news(protocol, port, now_ms, false) {
            page.bound_on(group, port, now_ms);
        }
    }

    /// Notes that a bind was refused because of an occupant.
    pub fn refused(
        &mut self,
        address: &BindAddress,
        protocol: Protocol,
        port: Port,
        occupant: Option<&str>,
        now_ms: i64,
    ) {
        for page in self.news(protocol, port, now_ms, false) {
            page.refused_on(address, port, occupant, now_ms);
        }
    }

    /// Notes that an outsider was found on a leased port.
    pub fn late(&mut self, group: &AddressGroup, protocol: Protocol, port: Port, now_ms: i64) {
        for page in self.concerned(group, protocol) {
            page.late(port, now_ms);
        }
    }

    /// Notes that a lease ended.
    pub fn released(&mut self, group: &AddressGroup, protocol: Protocol, port: Port, now_ms: i64) {
        for page in self.concerned(group, protocol) {
            page.released(port, now_ms);
        }
    }

    /// Learns from one snapshot. The work grows with the number of busy ports, and only ports that
    /// changed since the snapshot before are written.
    pub fn snapshot(&mut self, sightings: &[Sighting], now_ms: i64) {
        for page in &mut self.pages {
            page.snapshot(sightings, now_ms);
        }
    }

    fn concerned<'a>(
        &'a mut self,
        group: &'a AddressGroup,
        protocol: Protocol,
    ) -> impl Iterator<Item = &'a mut Page> {
        self.pages
            .iter_mut()
            .filter(move |page| page.protocol == protocol && page.overlaps(group))
    }
}
