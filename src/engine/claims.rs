//! The book of claims: numbers that this host has claimed in its fleet, or may have, and those that other
//! hosts were seen to have a moment ago.
//!
//! A claim is entered before its commit is sent, is on record with its lease, and leaves once the engine is
//! known not to have it. In between the number is left out of searches, so that a host never has two claims on one.
//! Whether a claim is to stay follows from its lease alone: without a living one it is withdrawn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::lock::Guarded;
use crate::choice::bits::PortBits;
use crate::domain::claim::{Claim, ClaimCounts, ClaimStage, LeaseClaim, Number};
use crate::domain::everywhere::claimant;
#[cfg(feature = "fleet")]
use crate::domain::hint::Hint;
#[cfg(feature = "fleet")]
use crate::domain::lease::Lease;
use crate::domain::lease::{BootTime, LeaseId};
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;

/// Maximum number of numbers of which an explanation names the host: a fleet has many thousands, and each search
/// would look through them.
const MOST_TOLD: usize = 64;

/// Time for which numbers that other hosts have are left out of searches.
const KNOWN_FOR: Duration = Duration::from_secs(5);

/// The book. It takes its own lock alone.
#[derive(Debug, Default)]
pub struct ClaimBook {
    state: Guarded<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    claims: BTreeMap<Number, Entered>,
    leases: HashMap<LeaseId, Number>,
    /// Ports of `claims`, so that a search need not gather them.
    own: Ports,
    /// Hosts that took numbers from leases of this host, as far as they were seen.
    #[cfg(feature = "fleet")]
    lost_to: HashMap<LeaseId, String>,
    /// Hosts of the numbers that were claimed when that was last read.
    others: BTreeMap<Number, String>,
    /// Ports of `others`.
    known: Ports,
    read_at: Option<BootTime>,
}

/// Ports by protocol.
#[derive(Debug, Default)]
struct Ports {
    tcp: PortBits,
    udp: PortBits,
}

impl Ports {
    const fn of(&mut self, protocol: Protocol) -> &mut PortBits {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }
}

/// A claim with what is known in memory alone.
#[derive(Debug, Clone)]
pub struct Entered {
    /// The claim. Shared: the book is looked through often.
    pub claim: Arc<Claim>,
    /// Whether a request has it in hand, so that its lease is not on record yet.
    pub is_in_hand: bool,
    /// Time at which no request had it in hand any more: after a restart, that of the start.
    pub since: BootTime,
}

impl ClaimBook {
    /// Enters the claims on record, at a start.
    pub fn restore(&self, claims: Vec<Claim>, now: BootTime) {
        self.state.with(|state| {
            for claim in claims {
                state.put(Entered {
                    claim: Arc::new(claim),
                    is_in_hand: false,
                    since: now,
                });
            }
        });
    }

    /// Returns the claim of a lease, as its document has it.
    pub fn of_lease(&self, id: LeaseId) -> Option<LeaseClaim> {
        self.state.with(|state| {
            let number = state.leases.get(&id)?;
            let entered = state.claims.get(number)?;
            Some(entered.claim.of_lease())
        })
    }

    /// Returns this host in words if it has a claim on a number. A second one would be in its way.
    pub(super) fn unsettled(&self, number: Number) -> Option<String> {
        let is_own = self.state.with(|state| state.claims.contains_key(&number));
        is_own.then(|| "this host, whose claim is not settled yet".to_owned())
    }

    /// Returns the host that has a number, as far as it was seen a moment ago; this host's own claims
    /// count for ever. `None` if it may be free.
    pub(super) fn holder(&self, number: Number, now: BootTime) -> Option<String> {
        if let Some(own) = self.unsettled(number) {
            return Some(own);
        }
        self.state.with(|state| {
            let host = state.others_at(now)?.get(&number)?;
            Some(of_fleet(host))
        })
    }

    /// Returns the ports of a protocol that are known to be claimed.
    pub(super) fn taken(&self, protocol: Protocol, now: BootTime) -> PortBits {
        self.state.with(|state| {
            let mut taken = state.own.of(protocol).clone();
            if state.others_at(now).is_some() {
                taken.add(state.known.of(protocol));
            }
            taken
        })
    }

    /// Notes the host that has the number of a lease now.
    #[cfg(feature = "fleet")]
    pub(super) fn lost_to(&self, id: LeaseId, host: &str) {
        self.state
            .with(|state| drop(state.lost_to.insert(id, host.to_owned())));
    }

    /// Returns the advice on a lease whose number the fleet has taken from this host. `None` if it has not.
    #[cfg(feature = "fleet")]
    pub(super) fn hint(&self, lease: &Lease) -> Option<Hint> {
        if lease.ended_at.is_some() || !lease.has_lost_claim() {
            return None;
        }
        let host = self
            .state
            .with(|state| state.lost_to.get(&lease.id).cloned());
        let host = host.map(|host| claimant(&host));
        Some(Hint::claim_lost(lease, host.as_deref()))
    }

    /// Returns the hosts, in words, that were seen a moment ago to have some of these ports: those of the first
    /// [`MOST_TOLD`] that others have.
    pub(super) fn claimants(
        &self,
        protocol: Protocol,
        among: &PortBits,
        now: BootTime,
    ) -> BTreeMap<String, Vec<Port>> {
        let mut claimants: BTreeMap<String, Vec<Port>> = BTreeMap::new();
        self.state.with(|state| {
            if state.others_at(now).is_none() {
                return;
            }
            let both = state.known.of(protocol).iter();
            let both = both.filter(|port| among.contains(*port));
            for port in both.take(MOST_TOLD) {
                if let Some(host) = state.others.get(&Number { protocol, port }) {
                    claimants.entry(of_fleet(host)).or_default().push(port);
                }
            }
        });
        claimants
    }

    /// Counts the claims by state. `lives`: whether a lease lives.
    pub fn counts(&self, lives: impl Fn(LeaseId) -> bool) -> ClaimCounts {
        let mut counts = ClaimCounts::default();
        for entered in self.all() {
            let lives = entered.is_in_hand || lives(entered.claim.lease);
            let count = match entered.claim.stage {
                _ if !lives => &mut counts.releasing,
                ClaimStage::Asked => &mut counts.asked,
                ClaimStage::Held => &mut counts.held,
                ClaimStage::Lost => &mut counts.lost,
            };
            *count += 1;
        }
        counts
    }

    /// Whether this host has no claim, not even one that is not settled.
    #[cfg(feature = "fleet")]
    pub fn is_empty(&self) -> bool {
        self.state.with(|state| state.claims.is_empty())
    }

    /// Returns every claim, by number.
    pub fn all(&self) -> Vec<Entered> {
        self.state
            .with(|state| state.claims.values().cloned().collect())
    }

    /// Lets go of a claim whose lease is on record now, or never will be.
    fn let_go(&self, number: Number, nonce: &str, now: BootTime) {
        self.state.with(|state| {
            if let Some(entered) = state.of(number, nonce) {
                entered.is_in_hand = false;
                entered.since = now;
            }
        });
        self.changed.notify_one();
    }
}

/// The side of the session loop, which alone changes what the engine has.
#[cfg(feature = "fleet")]
impl ClaimBook {
    /// Enters claims that a request has in hand, all or none: a number that is there already is returned.
    pub fn enter(&self, claims: &[Claim], now: BootTime) -> Result<(), Number> {
        self.state.with(|state| {
            let mut numbers = claims.iter().map(|claim| claim.number);
            if let Some(known) = numbers.find(|number| state.claims.contains_key(number)) {
                return Err(known);
            }
            for claim in claims {
                let entered = Entered {
                    claim: Arc::new(claim.clone()),
                    is_in_hand: true,
                    since: now,
                };
                state.put(entered);
            }
            Ok(())
        })
    }

    /// Writes the present form of claims that are still in the book.
    pub fn note(&self, claims: &[Claim]) {
        self.state.with(|state| {
            for claim in claims {
                if let Some(entered) = state.of(claim.number, &claim.nonce) {
                    entered.claim = Arc::new(claim.clone());
                }
            }
        });
    }

    /// Removes claims that the engine does not have.
    pub fn remove(&self, claims: &[Claim]) {
        self.state.with(|state| {
            for claim in claims {
                if state.of(claim.number, &claim.nonce).is_some() {
                    state.remove(claim.number);
                }
            }
        });
    }

    /// Lets go of claims that no request has in hand any more.
    pub fn let_all_go(&self, claims: &[Claim], now: BootTime) {
        for claim in claims {
            self.let_go(claim.number, &claim.nonce, now);
        }
    }

    /// Notes numbers that other hosts have. `is_whole`: it is all that the engine has.
    pub fn note_others(
        &self,
        others: impl IntoIterator<Item = (Number, String)>,
        is_whole: bool,
        now: BootTime,
    ) {
        self.state.with(|state| {
            if is_whole || state.others_at(now).is_none() {
                state.others.clear();
                state.known = Ports::default();
                state.read_at = Some(now);
            }
            for (number, host) in others {
                state.known.of(number.protocol).insert(number.port);
                state.others.insert(number, host);
            }
        });
    }

    /// Waits until a claim was let go of.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Host of a claim in words, for a reason in an explanation.
fn of_fleet(host: &str) -> String {
    format!("{} of the fleet", claimant(host))
}

impl State {
    fn put(&mut self, entered: Entered) {
        let number = entered.claim.number;
        self.leases.insert(entered.claim.lease, number);
        self.own.of(number.protocol).insert(number.port);
        self.claims.insert(number, entered);
    }

    #[cfg(feature = "fleet")]
    fn remove(&mut self, number: Number) {
        if let Some(entered) = self.claims.remove(&number) {
            self.leases.remove(&entered.claim.lease);
            self.lost_to.remove(&entered.claim.lease);
            self.own.of(number.protocol).remove(number.port);
        }
    }

    fn of(&mut self, number: Number, nonce: &str) -> Option<&mut Entered> {
        let entered = self.claims.get_mut(&number);
        entered.filter(|entered| entered.claim.nonce == nonce)
    }

    fn others_at(&self, now: BootTime) -> Option<&BTreeMap<Number, String>> {
        let read_at = self.read_at?;
        (now.since(read_at) < KNOWN_FOR).then_some(&self.others)
    }
}

/// A claimed number in the hands of a request. Dropped once its lease is on record; without a living
/// lease the claim is withdrawn then.
#[derive(Debug)]
pub struct ClaimTicket {
    claim: Claim,
    book: Arc<ClaimBook>,
    clock: Clock,
}

impl ClaimTicket {
    /// Returns the ticket of a claim that the engine has.
    #[cfg(feature = "fleet")]
    pub fn of(claim: &Claim, book: Arc<ClaimBook>, clock: Clock) -> Self {
        Self {
            claim: claim.clone(),
            book,
            clock,
        }
    }

    pub(super) const fn number(&self) -> Number {
        self.claim.number
    }

    /// Lease that is to have the number.
    pub(super) const fn lease(&self) -> LeaseId {
        self.claim.lease
    }

    /// Claim as the lease's document has it.
    pub(super) fn of_lease(&self) -> LeaseClaim {
        self.claim.of_lease()
    }

    /// Claim for the record of its lease.
    pub(super) const fn claim(&self) -> &Claim {
        &self.claim
    }
}

impl Drop for ClaimTicket {
    fn drop(&mut self) {
        let now = self.clock.boot();
        let Claim { number, nonce, .. } = &self.claim;
        self.book.let_go(*number, nonce, now);
    }
}

#[cfg(test)]
#[cfg(feature = "fleet")]
mod tests {
    use super::*;
    use crate::domain::port::Port;

    fn claim(port: u16) -> Claim {
        Claim {
            number: Number {
                protocol: Protocol::Tcp,
                port: Port::new(port).unwrap(),
            },
            lease: LeaseId(uuid::Uuid::from_u128(u128::from(port))),
            nonce: format!("n{port}"),
            session: "s".into(),
            stage: ClaimStage::Asked,
            revision: 0,
            token: 0,
            reclaim_s: 0,
            is_doubtful: true,
        }
    }

    const START: BootTime = BootTime(Duration::from_secs(1));

    #[test]
    fn claims_are_entered_all_or_none() {
        let book = ClaimBook::default();
        book.enter(&[claim(1)], START).unwrap();
        assert_eq!(
            book.enter(&[claim(2), claim(1)], START),
            Err(claim(1).number)
        );
        assert_eq!(book.all().len(), 1);
    }

    #[test]
    fn ticket_lets_go_and_late_changes_of_an_earlier_claim_do_nothing() {
        let book = Arc::new(ClaimBook::default());
        book.enter(&[claim(1)], START).unwrap();
        assert_eq!(book.counts(|_| false).asked, 1, "it is in hand");
        drop(ClaimTicket::of(
            &claim(1),
            Arc::clone(&book),
            Clock::manual(),
        ));
        assert_eq!(book.counts(|_| false).releasing, 1);
        let earlier = Claim {
            nonce: "before".into(),
            ..claim(1)
        };
        book.remove(std::slice::from_ref(&earlier));
        book.note(&[earlier]);
        assert_eq!(*book.all()[0].claim, claim(1));
        book.remove(&[claim(1)]);
        assert_eq!(book.all().len(), 0);
    }

    #[test]
    fn numbers_of_others_are_left_out_for_seconds() {
        let book = ClaimBook::default();
        let number = claim(9).number;
        book.note_others([(number, "b".to_owned())], true, START);
        assert!(book.holder(number, START).unwrap().contains("host b"));
        assert!(book.taken(Protocol::Tcp, START).contains(number.port));
        assert_eq!(book.holder(number, START.after(KNOWN_FOR)), None);
    }
}
