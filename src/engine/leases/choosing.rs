//! Choosing a port: reservations, quotas, and the ports that the books keep from a request.

use std::sync::Arc;

use super::Leases;
use super::books::{Kept, Limits, OverLimit, Refused, Share, Taken, Ticket};
use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::lease::{BootTime, Lease};
use crate::domain::port::{Port, Protocol, Protocols};
use crate::domain::reason::Reason;

/// A port that is reserved for one request until this is dropped. If the port has become a lease by
/// then, the lease keeps it.
#[derive(Debug)]
pub(in crate::engine) struct Reservation {
    leases: Arc<Leases>,
    group: AddressGroup,
    protocols: Protocols,
    port: Port,
    ticket: Ticket,
}

impl Reservation {
    /// Reserves a port. `None` if a lease or another request has it.
    pub(in crate::engine) fn of(
        leases: &Arc<Leases>,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
    ) -> Option<Self> {
        let ticket = leases.reserve(group, protocols, port).ok()?;
        Some(Self {
            leases: Arc::clone(leases),
            group: group.clone(),
            protocols,
            port,
            ticket,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (group, protocols) = (&self.group, self.protocols);
        self.leases.state.with(|state| {
            state.books.cancel(group, protocols, self.port, self.ticket);
        });
    }
}

/// Permission for a request to grant a number of leases. They count against quotas until this is
/// dropped; the leases that come of it count by themselves.
#[derive(Debug)]
pub(in crate::engine) struct Admission<'a> {
    leases: &'a Leases,
    share: Share,
    count: usize,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.leases.state.with(|state| {
            state.books.usage().settle(&self.share, self.count);
        });
    }
}

/// The keeper of a port in the books.
#[derive(Debug)]
pub(in crate::engine) enum Keeper {
    /// A lease.
    Lease(Arc<Lease>),
    /// Another request that is being answered right now.
    Request,
}

impl Leases {
    /// Reserves a port until the ticket is cancelled.
    pub(in crate::engine) fn reserve(
        &self,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
    ) -> Result<Ticket, Taken> {
        self.state
            .with(|state| state.books.reserve(group, protocols, port))
    }

    /// Returns every reservation that has not become a lease.
    pub(in crate::engine) fn reservations(&self) -> Vec<(Ticket, Port)> {
        self.state
            .with(|state| state.books.reservations().collect())
    }

    /// Cancels a leaked reservation. Returns whether it was there.
    pub(in crate::engine) fn cancel_leaked(&self, ticket: Ticket, port: Port) -> bool {
        self.state
            .with(|state| state.books.cancel_everywhere(ticket, port))
    }

    /// Admits a request for `count` leases, or returns the limit that it would pass.
    pub(in crate::engine) fn admit(
        &self,
        share: Share,
        count: usize,
        limits: Limits,
    ) -> Result<Admission<'_>, OverLimit> {
        self.state
            .with(|state| state.books.usage().admit(&share, count, limits))?;
        Ok(Admission {
            leases: self,
            share,
            count,
        })
    }

    /// Returns the lease or request that keeps a port from such a request.
    pub(in crate::engine) fn keeper_of(
        &self,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
    ) -> Option<Keeper> {
        self.state
            .with(|state| match state.books.holder(group, protocols, port)? {
                Taken::By(id) => Some(Keeper::Lease(Arc::clone(state.books.get(id)?))),
                Taken::BeingGranted => Some(Keeper::Request),
            })
    }

    /// Passes each set of ports that the books keep from a group to `exclude`: leased ports and, if
    /// asked, ports that cool down.
    pub(in crate::engine) fn exclude_kept(
        &self,
        group: &AddressGroup,
        protocol: Protocol,
        with_cool_down: bool,
        mut exclude: impl FnMut(Reason, &PortBits),
    ) {
        let now = self.clock.boot();
        self.state.with(|state| {
            for taken in state.books.taken(group, protocol) {
                exclude(Reason::Leased, taken);
            }
            let cooling = with_cool_down.then(|| state.books.cooling(group, protocol, now));
            if let Some(cooling) = cooling.flatten() {
                exclude(Reason::CoolingDown, cooling);
            }
        });
    }

    /// Returns the ports that leases and requests keep from a group, and the ports that cool down.
    pub(in crate::engine) fn kept_from(
        &self,
        group: &AddressGroup,
        protocol: Protocol,
    ) -> (PortBits, PortBits) {
        let [mut taken, mut cooling] = [(); 2].map(|()| PortBits::default());
        self.exclude_kept(group, protocol, true, |reason, ports| match reason {
            Reason::CoolingDown => cooling.add(ports),
            _ => taken.add(ports),
        });
        (taken, cooling)
    }

    /// Returns the ports that portbook keeps on each address group, without those of lost leases.
    pub(in crate::engine) fn kept(&self) -> Vec<Kept> {
        self.state.with(|state| state.books.kept())
    }

    /// Returns the number of ports of a range that are leased or being granted, on any address.
    pub(in crate::engine) fn taken_within(&self, range: &PortBits) -> u32 {
        self.state.with(|state| state.books.taken_within(range))
    }

    /// Lets a port cool down until `until`, because of a refused bind.
    pub(in crate::engine) fn cool_down(
        &self,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
        until: BootTime,
        refused: Refused,
    ) {
        self.state.with(|state| {
            let books = &mut state.books;
            books.cool_down(group, protocol, port, until, refused);
        });
    }

    /// Returns the refused bind because of which a port cools down now.
    pub(in crate::engine) fn why_cooling(
        &self,
        group: &AddressGroup,
        protocols: Protocols,
        port: Port,
    ) -> Option<Refused> {
        let now = self.clock.boot();
        self.state.with(|state| {
            let mut protocols = protocols.each().iter();
            protocols.find_map(|each| state.books.why_cooling(group, *each, port, now))
        })
    }
}
