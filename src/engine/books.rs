//! The books: who has what, until when, and what is left alone for a moment.
//!
//! Kept apart from sockets and tables, so that the rules can be tested as rules. Nothing here
//! waits or makes a system call; whoever locks the books may do so on the hot path.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::choice::bits::PortBits;
use crate::domain::address::AddressGroup;
use crate::domain::lease::{BootTime, Lease, LeaseId, Name, Scope};
use crate::domain::port::{Port, Protocol};

/// So many pages are kept whether or not anything is on them.
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
}

/// What is known of one address group and protocol.
#[derive(Debug)]
struct Page {
    group: AddressGroup,
    protocol: Protocol,
    /// Leased, or being granted right now.
    taken: PortBits,
    leases: HashMap<Port, LeaseId>,
    cooling: PortBits,
    cool_until: BTreeSet<(BootTime, Port)>,
}

impl Page {
    fn new(group: AddressGroup, protocol: Protocol) -> Self {
        Self {
            group,
            protocol,
            taken: PortBits::default(),
            leases: HashMap::new(),
            cooling: PortBits::default(),
            cool_until: BTreeSet::new(),
        }
    }

    fn concerns(&self, group: &AddressGroup, protocol: Protocol) -> bool {
        self.protocol == protocol && self.group.overlaps(group)
    }

    fn warm_up(&mut self, now: BootTime) {
        while let Some((until, port)) = self.cool_until.first().copied() {
            if until > now {
                break;
            }
            self.cool_until.pop_first();
            self.cooling.remove(port);
        }
    }
}

/// A port that could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// By this lease.
    By(LeaseId),
    /// By a request that is being answered right now.
    BeingGranted,
}

impl Books {
    /// Every living lease, in no particular order.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.leases.values()
    }

    /// How many leases live.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no lease lives.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// A living lease.
    pub fn get(&self, id: LeaseId) -> Option<&Arc<Lease>> {
        self.leases.get(&id)
    }

    /// The living lease of a name.
    pub fn named(&self, key: &NameKey) -> Option<&Arc<Lease>> {
        self.names.get(key).and_then(|id| self.leases.get(id))
    }

    /// The living leases on a port, whatever their addresses.
    pub fn on_port(&self, protocol: Protocol, port: Port) -> impl Iterator<Item = &Arc<Lease>> {
        self.pages
            .iter()
            .filter(move |page| page.protocol == protocol)
            .filter_map(move |page| page.leases.get(&port))
            .filter_map(|id| self.leases.get(id))
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
            .map(|page| &page.taken)
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
        page.warm_up(now);
        Some(&page.cooling)
    }

    /// Keeps a port for a request that is about to bind it. Refused if anything overlaps it.
    pub fn reserve(
        &mut self,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
    ) -> Result<(), Taken> {
        let overlapping = self
            .pages
            .iter()
            .find(|page| page.concerns(group, protocol) && page.taken.contains(port));
        if let Some(page) = overlapping {
            let holder = page.leases.get(&port);
            return Err(holder.map_or(Taken::BeingGranted, |id| Taken::By(*id)));
        }
        self.page(group, protocol).taken.insert(port);
        Ok(())
    }

    /// Gives a reserved port up again.
    pub fn cancel(&mut self, group: &AddressGroup, protocol: Protocol, port: Port) {
        let page = self.page(group, protocol);
        if !page.leases.contains_key(&port) {
            page.taken.remove(port);
        }
        self.forget_empty_pages();
    }

    /// Addresses come and go, and anybody may ask for odd ones: what says nothing any more is
    /// dropped, but for a few pages that are likely to be wanted again.
    fn forget_empty_pages(&mut self) {
        if self.pages.len() > PAGES_KEPT {
            self.pages.retain(|page| {
                !(page.leases.is_empty() && page.taken.is_empty() && page.cool_until.is_empty())
            });
        }
    }

    /// Leaves a port alone until `until`, because a bind on it was refused.
    pub fn cool_down(
        &mut self,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
        until: BootTime,
    ) {
        let page = self.page(group, protocol);
        if page.cooling.insert(port) {
            page.cool_until.insert((until, port));
        }
    }

    /// Writes a lease in. Its port must have been reserved, or be free (after a restart). Says
    /// whether its deadline is the next of all.
    pub fn enter(&mut self, lease: Arc<Lease>) -> bool {
        let id = lease.id;
        let page = self.page(&lease.addresses, lease.protocol);
        page.taken.insert(lease.port);
        page.leases.insert(lease.port, lease.id);
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
        change(Arc::make_mut(lease));
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

    /// Strikes a lease out and frees its port in the books.
    pub fn strike(&mut self, id: LeaseId) -> Option<Arc<Lease>> {
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
        let page = self.page(&lease.addresses, lease.protocol);
        page.leases.remove(&lease.port);
        page.taken.remove(lease.port);
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

    /// How many ports of a range are leased or being granted, whatever their addresses.
    pub fn taken_within(&self, range: &PortBits) -> u32 {
        let mut all = PortBits::default();
        for page in &self.pages {
            all.add(&page.taken);
        }
        all.count_common(range)
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

/// Under what a named lease is found.
pub fn name_key(lease: &Lease) -> Option<NameKey> {
    let name = lease.name.clone()?;
    Some((lease.uid, lease.scope.clone(), name, lease.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::BindAddress;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;
    use proptest::prelude::*;
    use std::time::Duration;
    use uuid::Uuid;

    const TCP: Protocol = Protocol::Tcp;

    fn group(ips: &[&str]) -> AddressGroup {
        AddressGroup::new(ips.iter().map(|ip| BindAddress {
            interface: "eth0".into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        }))
    }

    /// Wildcards, single addresses, several of one interface, both families.
    fn groups() -> [AddressGroup; 7] {
        [
            group(&["0.0.0.0"]),
            group(&["::"]),
            group(&["0.0.0.0", "::"]),
            group(&["127.0.0.1"]),
            group(&["10.0.0.1", "10.0.0.2"]),
            group(&["10.0.0.2", "fd00::1"]),
            group(&["::1"]),
        ]
    }

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn a_port_is_reserved_once_for_whatever_overlaps() {
        let mut books = Books::default();
        let any = group(&["0.0.0.0", "::"]);
        assert_eq!(books.reserve(&any, TCP, port(80)), Ok(()));
        let loopback = group(&["127.0.0.1"]);
        assert_eq!(
            books.reserve(&loopback, TCP, port(80)),
            Err(Taken::BeingGranted)
        );
        assert_eq!(books.reserve(&loopback, Protocol::Udp, port(80)), Ok(()));
        books.cancel(&any, TCP, port(80));
        assert_eq!(books.reserve(&loopback, TCP, port(80)), Ok(()));
        assert_eq!(books.reserve(&group(&["127.0.0.2"]), TCP, port(80)), Ok(()));
        assert_eq!(books.reserve(&any, TCP, port(80)), Err(Taken::BeingGranted));
    }

    #[test]
    fn a_refused_port_cools_down_and_warms_up() {
        let mut books = Books::default();
        let any = group(&["0.0.0.0"]);
        books.cool_down(&any, TCP, port(80), at(10));
        assert!(books.cooling(&any, TCP, at(9)).unwrap().contains(port(80)));
        assert!(books.cooling(&any, TCP, at(10)).unwrap().is_empty());
    }

    #[test]
    fn deadlines_follow_every_change() {
        let mut books = Books::default();
        let mut one = lease(80);
        (one.claim_by, one.expires) = (Some(at(5)), Some(at(50)));
        let id = one.id;
        books.enter(Arc::new(one));
        assert_eq!(books.next_deadline(), Some(at(5)));
        assert!(books.due(at(4)).is_empty());
        books.change(id, |lease| lease.claim_by = None);
        assert!(books.due(at(49)).is_empty());
        assert_eq!(books.due(at(50)).len(), 1);
        books.strike(id);
        assert_eq!(books.next_deadline(), None);
    }

    #[test]
    fn names_are_found_while_their_lease_lives() {
        let mut books = Books::default();
        let mut one = lease(80);
        one.name = Some("web".parse().unwrap());
        let key = name_key(&one).unwrap();
        let id = one.id;
        books.enter(Arc::new(one));
        assert_eq!(books.named(&key).unwrap().id, id);
        books.strike(id);
        assert!(books.named(&key).is_none());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(usize, Protocol, u16),
        Strike(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let protocol = prop_oneof![Just(TCP), Just(Protocol::Udp)];
        prop_oneof![
            3 => (0usize..7, protocol, 1u16..5).prop_map(|(g, p, n)| Step::Take(g, p, n)),
            1 => (0usize..40).prop_map(Step::Strike),
        ]
    }

    /// What can happen to time, and to leases that have an end.
    #[derive(Debug, Clone)]
    enum Tick {
        Enter(u64),
        Renew(usize, u64),
        Claim(usize),
        Pass(u64),
        /// The administrator sets the clock, to so many seconds since 1970.
        Set(i64),
    }

    fn tick() -> impl Strategy<Value = Tick> {
        let ttl = 1u64..100;
        prop_oneof![
            3 => ttl.clone().prop_map(Tick::Enter),
            2 => (0usize..20, ttl).prop_map(|(which, ttl)| Tick::Renew(which, ttl)),
            1 => (0usize..20).prop_map(Tick::Claim),
            3 => (0u64..60).prop_map(Tick::Pass),
            1 => (0i64..10_000_000).prop_map(Tick::Set),
        ]
    }

    proptest! {
        /// Leases are due from their deadline on and never before, however they were renewed and
        /// whatever became of the wall clock.
        #[test]
        fn leases_are_due_when_their_time_is_up(ticks in proptest::collection::vec(tick(), 1..60)) {
            let clock = Clock::manual();
            let mut books = Books::default();
            // What each lease is to end at: by its expiry, and while unclaimed by its time to claim.
            let mut ends: Vec<(LeaseId, BootTime, Option<BootTime>)> = Vec::new();
            for (number, tick) in (0u16..).zip(ticks) {
                let seconds = Duration::from_secs;
                match tick {
                    Tick::Enter(ttl) => {
                        let mut new = lease(number + 1);
                        new.id = LeaseId(Uuid::from_u128(number.into()));
                        let now = clock.boot();
                        (new.expires, new.claim_by) =
                            (Some(now.after(seconds(ttl))), Some(now.after(seconds(30))));
                        ends.push((new.id, now.after(seconds(ttl)), new.claim_by));
                        books.enter(Arc::new(new));
                    }
                    Tick::Renew(which, ttl) if !ends.is_empty() => {
                        let which = which % ends.len();
                        let until = clock.boot().after(seconds(ttl));
                        ends[which].1 = until;
                        books.change(ends[which].0, |lease| lease.expires = Some(until));
                    }
                    Tick::Claim(which) if !ends.is_empty() => {
                        let which = which % ends.len();
                        ends[which].2 = None;
                        books.change(ends[which].0, |lease| lease.claim_by = None);
                    }
                    Tick::Pass(time) => clock.advance(seconds(time)),
                    Tick::Set(time) => clock.set_wall(jiff::Timestamp::from_second(time).unwrap()),
                    Tick::Renew(..) | Tick::Claim(_) => {}
                }
                let now = clock.boot();
                let first = |(id, expires, claim_by): &(LeaseId, BootTime, Option<BootTime>)| {
                    (claim_by.map_or(*expires, |by| by.min(*expires)), *id)
                };
                let mut due: Vec<LeaseId> = books.due(now).iter().map(|lease| lease.id).collect();
                due.sort_unstable();
                let mut expected: Vec<LeaseId> = ends.iter().map(first)
                    .filter(|(at, _)| *at <= now).map(|(_, id)| id).collect();
                expected.sort_unstable();
                prop_assert_eq!(&due, &expected);
                prop_assert_eq!(books.next_deadline(), ends.iter().map(first).map(|(at, _)| at).min());
                for id in due {
                    books.strike(id);
                    ends.retain(|(other, ..)| *other != id);
                }
            }
        }

        /// What is given up in the middle of a request leaves the port as it was: free for all that
        /// it was free for, and taken from all that overlaps it.
        #[test]
        fn a_cancelled_request_leaves_no_trace(
            taken in proptest::collection::vec((0usize..7, 1u16..4), 0..12),
            which in 0usize..7,
            at in 1u16..4,
        ) {
            let groups = groups();
            let mut books = Books::default();
            for (number, (group, at)) in (0u128..).zip(taken) {
                if books.reserve(&groups[group], TCP, port(at)).is_ok() {
                    let mut new = lease(at);
                    new.id = LeaseId(Uuid::from_u128(number));
                    new.addresses = groups[group].clone();
                    books.enter(Arc::new(new));
                }
            }
            let free = |books: &Books| -> Vec<bool> {
                let free = |group| books.taken(group, TCP).all(|taken| !taken.contains(port(at)));
                groups.iter().map(free).collect()
            };
            let before = free(&books);
            let reserved = books.reserve(&groups[which], TCP, port(at));
            prop_assert_eq!(reserved.is_ok(), before[which]);
            if reserved.is_ok() {
                for (group, free) in groups.iter().zip(free(&books)) {
                    prop_assert!(!free || !group.overlaps(&groups[which]));
                }
            }
            books.cancel(&groups[which], TCP, port(at));
            prop_assert_eq!(free(&books), before);
        }

        /// The one rule that must never break: no two living leases overlap.
        #[test]
        fn no_two_leases_overlap(steps in proptest::collection::vec(step(), 1..80)) {
            let groups = groups();
            let mut books = Books::default();
            let mut order = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Take(which, protocol, at) => {
                        let reserved = books.reserve(&groups[which], protocol, port(at));
                        let blocked = books.leases().any(|other| other.protocol == protocol
                            && other.port == port(at) && other.addresses.overlaps(&groups[which]));
                        prop_assert_eq!(reserved.is_err(), blocked);
                        if reserved.is_ok() {
                            let mut new = lease(at);
                            new.id = LeaseId(Uuid::from_u128(number as u128));
                            (new.protocol, new.addresses) = (protocol, groups[which].clone());
                            order.push(new.id);
                            books.enter(Arc::new(new));
                        }
                    }
                    Step::Strike(which) if !order.is_empty() => {
                        let id = order.remove(which % order.len());
                        prop_assert!(books.strike(id).is_some());
                    }
                    Step::Strike(_) => {}
                }
                prop_assert_eq!(books.len(), order.len());
            }
        }
    }
}
