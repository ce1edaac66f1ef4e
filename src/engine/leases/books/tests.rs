use super::*;
use crate::domain::address::BindAddress;
use crate::domain::lease::tests_support::lease;
use crate::host::clock::Clock;
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

const TCP: Protocol = Protocol::Tcp;
const BOTH: Protocols = Protocols::Both;

fn group(ips: &[&str]) -> AddressGroup {
    AddressGroup::new(ips.iter().map(|ip| BindAddress {
        interface: "eth0".into(),
        ip: ip.parse().unwrap(),
        scope: 0,
    }))
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn at(seconds: u64) -> BootTime {
    BootTime(Duration::from_secs(seconds))
}

#[test]
fn overlapping_requests_reserve_a_port_once() {
    let mut books = Books::default();
    let any = group(&["0.0.0.0", "::"]);
    let ticket = books.reserve(&any, BOTH, port(80)).unwrap();
    let loopback = group(&["127.0.0.1"]);
    for protocols in [Protocols::Tcp, Protocols::Udp, BOTH] {
        let again = books.reserve(&loopback, protocols, port(80));
        assert_eq!(again, Err(Taken::BeingGranted));
    }
    books.cancel(&any, BOTH, port(80), ticket);
    assert!(books.reserve(&loopback, Protocols::Tcp, port(80)).is_ok());
    let other = group(&["127.0.0.2"]);
    assert!(books.reserve(&other, Protocols::Tcp, port(80)).is_ok());
    assert!(books.reserve(&any, Protocols::Udp, port(80)).is_ok());
    let all = books.reserve(&any, BOTH, port(80));
    assert_eq!(all, Err(Taken::BeingGranted));
}

#[test]
fn giving_up_late_frees_nothing_newer() {
    let mut books = Books::default();
    let any = group(&["0.0.0.0"]);
    let first = books.reserve(&any, Protocols::Tcp, port(80)).unwrap();
    assert!(books.cancel_everywhere(first, port(80)));
    let second = books.reserve(&any, Protocols::Tcp, port(80)).unwrap();
    books.cancel(&any, Protocols::Tcp, port(80), first);
    assert!(!books.cancel_everywhere(first, port(80)));
    let reserved: Vec<(Ticket, Port)> = books.reservations().collect();
    assert_eq!(reserved, [(second, port(80))]);
    books.enter(Arc::new(lease(80)));
    books.cancel(&any, Protocols::Tcp, port(80), second);
    let taken = books.reserve(&any, Protocols::Tcp, port(80));
    assert_eq!(taken, Err(Taken::By(lease(80).id)));
}

#[test]
fn a_refused_port_cools_down_and_warms_up() {
    let mut books = Books::default();
    let any = group(&["0.0.0.0"]);
    let refused = Refused {
        at: jiff::Timestamp::UNIX_EPOCH,
        occupant: None,
    };
    books.cool_down(&any, TCP, port(80), at(10), refused.clone());
    assert_eq!(books.why_cooling(&any, TCP, port(80), at(9)), Some(refused));
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
    books.remove(id);
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
    // A name that it has stays.
    books.rename(id, None);
    assert_eq!(books.named(&key).unwrap().id, id);
    books.remove(id);
    assert!(books.named(&key).is_none());
    let unnamed = lease(81);
    let id = unnamed.id;
    books.enter(Arc::new(unnamed));
    books.rename(id, Some("web".parse().unwrap()));
    assert_eq!(books.named(&key).unwrap().id, id);
    books.remove(id);
    assert!(books.named(&key).is_none());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Reserve(usize, Protocols, u16),
    Enter(usize),
    Cancel(usize),
    CancelOnceMore(usize),
    Strike(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let protocols = prop_oneof![Just(Protocols::Tcp), Just(Protocols::Udp), Just(BOTH)];
    prop_oneof![
        4 => (0usize..7, protocols, 1u16..5).prop_map(|(g, p, n)| Step::Reserve(g, p, n)),
        3 => (0usize..40).prop_map(Step::Enter),
        1 => (0usize..40).prop_map(Step::Cancel),
        1 => (0usize..40).prop_map(Step::CancelOnceMore),
        1 => (0usize..40).prop_map(Step::Strike),
    ]
}

/// A reservation that has neither become a lease nor been given up.
#[derive(Debug, Clone)]
struct Pending {
    group: AddressGroup,
    protocols: Protocols,
    port: Port,
    ticket: Ticket,
}

/// The books, and beside them what they must say, kept as plain lists.
#[derive(Default)]
struct Model {
    books: Books,
    pending: Vec<Pending>,
    over: Vec<Pending>,
    living: Vec<Lease>,
    next_id: u128,
}

impl Model {
    /// Whether anything in the lists keeps a port from such a request.
    fn is_taken(&self, group: &AddressGroup, protocols: Protocols, port: Port) -> bool {
        let wanted = |protocol: &Protocol| protocols.each().contains(protocol);
        let pending = self.pending.iter().any(|other| {
            let common = other.protocols.each().iter().any(wanted);
            common && other.port == port && other.group.overlaps(group)
        });
        pending
            || self.living.iter().any(|lease| {
                wanted(&lease.protocol) && lease.port == port && lease.addresses.overlaps(group)
            })
    }

    fn reserve(&mut self, group: AddressGroup, protocols: Protocols, port: Port) {
        let taken = self.is_taken(&group, protocols, port);
        let reserved = self.books.reserve(&group, protocols, port);
        assert_eq!(reserved.is_err(), taken, "{group:?} {protocols} {port}");
        self.pending.extend(reserved.ok().map(|ticket| Pending {
            group,
            protocols,
            port,
            ticket,
        }));
    }

    fn enter(&mut self, pending: Pending) {
        for protocol in pending.protocols.each() {
            let mut new = lease(pending.port.get());
            self.next_id += 1;
            new.id = LeaseId(Uuid::from_u128(self.next_id));
            (new.protocol, new.addresses) = (*protocol, pending.group.clone());
            self.books.enter(Arc::new(new.clone()));
            self.living.push(new);
        }
        self.over.push(pending);
    }

    fn cancel(&mut self, pending: &Pending) {
        let (group, port) = (&pending.group, pending.port);
        self.books
            .cancel(group, pending.protocols, port, pending.ticket);
    }

    fn take(&mut self, step: Step, groups: &[AddressGroup]) {
        match step {
            Step::Reserve(which, protocols, at) => {
                self.reserve(groups[which].clone(), protocols, port(at));
            }
            Step::Enter(which) if !self.pending.is_empty() => {
                let pending = self.pending.remove(which % self.pending.len());
                self.enter(pending);
            }
            Step::Cancel(which) if !self.pending.is_empty() => {
                let pending = self.pending.remove(which % self.pending.len());
                self.cancel(&pending);
                self.over.push(pending);
            }
            Step::CancelOnceMore(which) if !self.over.is_empty() => {
                let over = self.over[which % self.over.len()].clone();
                self.cancel(&over);
            }
            Step::Strike(which) if !self.living.is_empty() => {
                let lease = self.living.remove(which % self.living.len());
                assert!(self.books.remove(lease.id).is_some());
            }
            _ => {}
        }
    }
}

proptest! {
    /// The one rule that must never break: no two living leases overlap, and nobody is refused a
    /// port that is nobody's.
    #[test]
    fn no_two_leases_overlap(steps in proptest::collection::vec(step(), 1..120)) {
        let groups = [
            group(&["0.0.0.0"]), group(&["::"]), group(&["0.0.0.0", "::"]),
            group(&["127.0.0.1"]), group(&["10.0.0.1", "10.0.0.2"]),
            group(&["10.0.0.2", "fd00::1"]), group(&["::1"]),
        ];
        let mut model = Model::default();
        for step in steps {
            model.take(step, &groups);
            prop_assert_eq!(model.books.len(), model.living.len());
            let mut reserved: Vec<Ticket> = model.books.reservations().map(|(t, _)| t).collect();
            reserved.sort_unstable();
            reserved.dedup();
            let mut pending: Vec<Ticket> = model.pending.iter().map(|p| p.ticket).collect();
            pending.sort_unstable();
            prop_assert_eq!(reserved, pending);
        }
    }
}

/// One thing that happens to time, or to leases with an end.
#[derive(Debug, Clone, Copy)]
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
                books.remove(id);
                ends.retain(|(other, ..)| *other != id);
            }
        }
    }
}
