//! The books: who has what, until when, and what is left alone for a moment.
//!
//! Kept apart from sockets and tables, so that the rules can be tested as rules. Nothing here
//! waits or makes a system call; so the books may be locked on the hot path.

mod page;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use page::Page;
pub use usage::{Limits, OverLimit, Share, Usage};

use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::attempt::Occupant;
use crate::domain::lease::{BootTime, Lease, LeaseId, Name, Scope, State};
use crate::domain::port::{Port, Protocol, Protocols};

/// Number of pages that are kept even if they are blank.
const PAGES_KEPT: usize = 16;

/// Under what a name is looked up: it is unique per user, scope and protocol, so that one
/// request for TCP and UDP can name both of its leases alike.
pub type NameKey = (u32, Scope, Name, Protocol);

/// All living leases, indexed by port, name and deadline.
#[derive(Debug, Default)]
pub struct Books {
    leases: HashMap<LeaseId, Arc<Lease>>,
    names: HashMap<NameKey, LeaseId>,
    deadlines: BTreeSet<(BootTime, LeaseId)>,
    pages: Vec<Page>,
    tickets: u64,
    usage: Usage,
}

/// The number of one reservation. To give a port up takes its ticket, so that giving up late never
/// frees a port that was reserved anew since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A refused bind: its time and its occupant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// The occupant, as far as the kernel tells.
    pub occupant: Option<Occupant>,
}

/// A port that could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// By this lease.
    By(LeaseId),
    /// By a request that is being answered right now.
    BeingGranted,
}

/// The ports that portbook keeps on one address group.
#[derive(Debug)]
pub struct Kept {
    /// The addresses.
    pub group: AddressGroup,
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub ports: PortBits,
}

impl Books {
    /// Every living lease, in no particular order.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.leases.values()
    }

    /// Returns the number of living leases.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// A living lease.
    pub fn get(&self, id: LeaseId) -> Option<&Arc<Lease>> {
        self.leases.get(&id)
    }

    /// The living lease of a name.
    pub fn named(&self, key: &NameKey) -> Option<&Arc<Lease>> {
        self.names.get(key).and_then(|id| self.leases.get(id))
    }

    /// Returns the living leases on a port, on any address.
    pub fn on_port(&self, protocol: Protocol, port: Port) -> impl Iterator<Item = &Arc<Lease>> {
        self.pages
            .iter()
            .filter(move |page| page.protocol == protocol)
            .filter_map(move |page| page.lease(port))
            .filter_map(|id| self.leases.get(&id))
    }

    /// The ports that a lease or a request being answered keeps from this group, each set once
    /// per overlapping group.
    pub fn taken(
        &self,
        group: &AddressGroup,
        protocol: Protocol,
    ) -> impl Iterator<Item = &PortBits> {
        self.pages
            .iter()
            .filter(move |page| page.concerns(group, protocol))
            .map(Page::taken)
    }

    /// The ports on which a bind was refused a moment ago, for exactly this group.
    pub fn cooling(
        &mut self,
        group: &AddressGroup,
        protocol: Protocol,
        now: BootTime,
    ) -> Option<&PortBits> {
        let page = self
            .pages
            .iter_mut()
            .find(|page| page.protocol == protocol && page.group == *group)?;
        Some(page.cooling(now))
    }

    /// Whether anything in the books keeps a port from this group for one of these protocols.
    pub fn holder(&self, group: &AddressGroup, protocols: Protocols, port: Port) -> Option<Taken> {
        self.pages.iter().find_map(|page| {
            let mut protocols = protocols.each().iter();
            let concerned = protocols.any(|protocol| page.concerns(group, *protocol));
            concerned.then(|| page.holder(port)).flatten()
        })
    }

    /// Keeps a port, for every one of these protocols or for none, for a request that is about to
    /// bind it. Refused if anything overlaps it.
    pub fn reserve(
        &mut self,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
    ) -> Result<Ticket, Taken> {
        if let Some(taken) = self.holder(group, protocols, port) {
            return Err(taken);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        for protocol in protocols.each() {
            self.page(group, *protocol).reserve(port, ticket);
        }
        Ok(ticket)
    }

    /// Gives a reserved port up again, unless it has become a lease or been reserved anew.
    pub fn cancel(
        &mut self,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
        ticket: Ticket,
    ) {
        for protocol in protocols.each() {
            self.page(group, *protocol).give_up(port, ticket);
        }
        self.forget_empty_pages();
    }

    /// Every reservation that has not become a lease.
    pub fn reservations(&self) -> impl Iterator<Item = (Ticket, Port)> {
        self.pages.iter().flat_map(Page::reservations)
    }

    /// Gives a reservation up wherever it stands; whether there was one.
    pub fn cancel_everywhere(&mut self, ticket: Ticket, port: Port) -> bool {
        let pages = self.pages.iter_mut();
        // Each page is asked, as one ticket stands on one for each protocol.
        let given_up = pages.filter_map(|page| page.give_up(port, ticket).then_some(()));
        let any = given_up.count() > 0;
        self.forget_empty_pages();
        any
    }

    /// Drops blank pages, but for a few that are likely to be wanted again. Addresses come and go,
    /// and any caller may ask for odd ones.
    fn forget_empty_pages(&mut self) {
        if self.pages.len() > PAGES_KEPT {
            self.pages.retain(|page| !page.is_blank());
        }
    }

    /// Leaves a port alone until `until`, because of the bind that was refused.
    pub fn cool_down(
        &mut self,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
        until: BootTime,
        refused: Refused,
    ) {
        self.page(group, protocol).cool_down(port, until, refused);
    }

    /// The refused bind because of which a port cools down at `now`, for exactly this group.
    pub fn why_cooling(
        &mut self,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
        now: BootTime,
    ) -> Option<Refused> {
        let mut pages = self.pages.iter_mut();
        let page = pages.find(|page| page.protocol == protocol && page.group == *group)?;
        page.why_cooling(port, now)
    }

    /// Writes a lease in. Its port must have been reserved, or be free (after a restart). Says
    /// whether its deadline is the next of all.
    pub fn enter(&mut self, lease: Arc<Lease>) -> bool {
        let id = lease.id;
        self.page(&lease.addresses, lease.protocol)
            .enter(lease.port, id);
        if !self.leases.contains_key(&id) {
            self.usage.enter(share(&lease));
        }
        if let Some(key) = name_key(&lease) {
            self.names.insert(key, lease.id);
        }
        if let Some(deadline) = lease.deadline() {
            self.deadlines.insert((deadline, lease.id));
        }
        self.leases.insert(id, lease);
        self.deadlines
            .first()
            .is_some_and(|(_, first)| *first == id)
    }

    /// Changes a lease in place and gives its new form; none if it has been struck out.
    pub fn change(&mut self, id: LeaseId, change: impl FnOnce(&mut Lease)) -> Option<Arc<Lease>> {
        let lease = self.leases.get_mut(&id)?;
        let before = lease.deadline();
        let changed = Arc::make_mut(lease);
        change(changed);
        if changed.has_lost_claim() && !changed.state.is_ended() {
            // Whatever a look finds on the port: its number is another host's.
            changed.state = State::Lost;
        }
        let after = lease.deadline();
        if before != after {
            if let Some(deadline) = before {
                self.deadlines.remove(&(deadline, id));
            }
            if let Some(deadline) = after {
                self.deadlines.insert((deadline, id));
            }
        }
        Some(Arc::clone(lease))
    }

    /// Gives a lease without a name one that no other lease has.
    pub fn rename(&mut self, id: LeaseId, name: Option<Name>) {
        let Some(lease) = self
            .leases
            .get_mut(&id)
            .filter(|lease| lease.name.is_none())
        else {
            return;
        };
        Arc::make_mut(lease).name = name;
        if let Some(key) = name_key(lease) {
            self.names.insert(key, id);
        }
    }

    /// Strikes a lease out and frees its port in the books.
    pub fn remove(&mut self, id: LeaseId) -> Option<Arc<Lease>> {
        let lease = self.leases.remove(&id)?;
        if let Some(deadline) = lease.deadline() {
            self.deadlines.remove(&(deadline, id));
        }
        // The name may have moved on to another lease meanwhile.
        if let Some(key) = name_key(&lease)
            && self.names.get(&key) == Some(&id)
        {
            self.names.remove(&key);
        }
        self.page(&lease.addresses, lease.protocol)
            .remove(lease.port, id);
        self.usage.remove(&share(&lease));
        self.forget_empty_pages();
        Some(lease)
    }

    /// The leases whose deadline has passed.
    pub fn due(&self, now: BootTime) -> Vec<Arc<Lease>> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.filter_map(|(_, id)| self.leases.get(id))
            .cloned()
            .collect()
    }

    /// The next deadline of any lease.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Returns the numbers of leases by pool and user.
    pub const fn usage(&mut self) -> &mut Usage {
        &mut self.usage
    }

    /// Returns the number of ports of a range that are leased or being granted, on any address.
    pub fn taken_within(&self, range: &PortBits) -> u32 {
        let mut all = PortBits::default();
        for page in &self.pages {
            all.add(page.taken());
        }
        all.count_common(range)
    }

    /// Returns the ports that are leased or being granted, without those of lost leases.
    pub fn kept(&self) -> Vec<Kept> {
        let lost = |id: LeaseId| {
            let lease = self.leases.get(&id);
            lease.is_some_and(|lease| lease.state == State::Lost)
        };
        let kept = self.pages.iter().map(|page| {
            let mut ports = page.taken().clone();
            for (port, _) in page.leases().filter(|(_, id)| lost(*id)) {
                ports.remove(port);
            }
            Kept {
                group: page.group.clone(),
                protocol: page.protocol,
                ports,
            }
        });
        kept.collect()
    }

    fn page(&mut self, group: &AddressGroup, protocol: Protocol) -> &mut Page {
        let found = self
            .pages
            .iter()
            .position(|page| page.protocol == protocol && page.group == *group);
        let index = found.unwrap_or_else(|| {
            self.pages.push(Page::new(group.clone(), protocol));
            self.pages.len() - 1
        });
        &mut self.pages[index]
    }
}

fn share(lease: &Lease) -> Share {
    (Arc::clone(&lease.pool), lease.uid)
}

/// Under what a named lease is found.
pub fn name_key(lease: &Lease) -> Option<NameKey> {
    let name = lease.name.clone()?;
    Some((lease.uid, lease.scope.clone(), name, lease.protocol))
}
