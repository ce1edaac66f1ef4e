//! One page of the books: the ports of one address group and protocol.

use std::collections::{BTreeSet, HashMap};

use super::{Refused, Taken, Ticket};
use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::lease::{BootTime, LeaseId};
use crate::domain::port::{Port, Protocol};

/// The ports of one address group and protocol.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) group: AddressGroup,
    pub(super) protocol: Protocol,
    /// Leased, or being granted right now: what `leases` and `reserved` say, as one set.
    taken: PortBits,
    leases: HashMap<Port, LeaseId>,
    reserved: HashMap<Port, Ticket>,
    cooling: PortBits,
    cool_until: BTreeSet<(BootTime, Port)>,
    /// Until when each cools down, and because of which bind.
    refused: HashMap<Port, (BootTime, Refused)>,
}

impl Page {
    pub(super) fn new(group: AddressGroup, protocol: Protocol) -> Self {
        Self {
            group,
            protocol,
            taken: PortBits::default(),
            leases: HashMap::new(),
            reserved: HashMap::new(),
            cooling: PortBits::default(),
            cool_until: BTreeSet::new(),
            refused: HashMap::new(),
        }
    }

    /// Whether what is on this page keeps ports from such a request.
    pub(super) fn concerns(&self, group: &AddressGroup, protocol: Protocol) -> bool {
        self.protocol == protocol && self.group.overlaps(group)
    }

    /// Whether nothing is on it.
    pub(super) fn is_blank(&self) -> bool {
        self.leases.is_empty() && self.reserved.is_empty() && self.cool_until.is_empty()
    }

    /// Leased, or being granted right now.
    pub(super) const fn taken(&self) -> &PortBits {
        &self.taken
    }

    /// The lease on a port.
    pub(super) fn lease(&self, port: Port) -> Option<LeaseId> {
        self.leases.get(&port).copied()
    }

    /// Every lease, with its port.
    pub(super) fn leases(&self) -> impl Iterator<Item = (Port, LeaseId)> {
        self.leases.iter().map(|(port, id)| (*port, *id))
    }

    /// Returns the lease or request that has a port.
    pub(super) fn holder(&self, port: Port) -> Option<Taken> {
        self.taken.contains(port).then(|| {
            let lease = self.leases.get(&port);
            lease.map_or(Taken::BeingGranted, |id| Taken::By(*id))
        })
    }

    /// Every reservation that has not become a lease.
    pub(super) fn reservations(&self) -> impl Iterator<Item = (Ticket, Port)> {
        let reserved = self.reserved.iter();
        reserved.map(|(port, ticket)| (*ticket, *port))
    }

    pub(super) fn reserve(&mut self, port: Port, ticket: Ticket) {
        self.taken.insert(port);
        self.reserved.insert(port, ticket);
    }

    /// Ends a reservation; whether it was there. Its port stays taken where a lease came of it.
    pub(super) fn give_up(&mut self, port: Port, ticket: Ticket) -> bool {
        if self.reserved.get(&port) != Some(&ticket) {
            return false;
        }
        self.reserved.remove(&port);
        self.free_unless_taken(port);
        true
    }

    /// Writes a lease in; its reservation, if there was one, has served its purpose.
    pub(super) fn enter(&mut self, port: Port, id: LeaseId) {
        self.taken.insert(port);
        self.reserved.remove(&port);
        self.leases.insert(port, id);
    }

    /// Strikes a lease out; never another one, should its port have passed on.
    pub(super) fn remove(&mut self, port: Port, id: LeaseId) {
        if self.leases.get(&port) == Some(&id) {
            self.leases.remove(&port);
            self.free_unless_taken(port);
        }
    }

    fn free_unless_taken(&mut self, port: Port) {
        if !self.leases.contains_key(&port) && !self.reserved.contains_key(&port) {
            self.taken.remove(port);
        }
    }

    /// Leaves a port alone until `until`.
    pub(super) fn cool_down(&mut self, port: Port, until: BootTime, refused: Refused) {
        if let Some((earlier, _)) = self.refused.insert(port, (until, refused)) {
            self.cool_until.remove(&(earlier, port));
        }
        self.cooling.insert(port);
        self.cool_until.insert((until, port));
    }

    /// The refused bind because of which a port is left alone at `now`.
    pub(super) fn why_cooling(&mut self, port: Port, now: BootTime) -> Option<Refused> {
        let cools = self.cooling(now).contains(port);
        let refused = self.refused.get(&port).filter(|_| cools);
        refused.map(|(_, refused)| refused.clone())
    }

    /// The ports that are left alone at `now`.
    pub(super) fn cooling(&mut self, now: BootTime) -> &PortBits {
        while let Some((until, port)) = self.cool_until.first().copied() {
            if until > now {
                break;
            }
            self.cool_until.pop_first();
            self.cooling.remove(port);
            self.refused.remove(&port);
        }
        &self.cooling
    }
}
