//! The ground of claims: what their rules need of this host. The service has it, and so have the hosts of
//! the tests, which can stop at every step.

use std::future::Future;
use std::time::Duration;

use super::claim::Intent;
use super::engine::Answer;
use super::permit::FenceError;
use crate::domain::claim::{Claim, ClaimStage};
use crate::domain::lease::{BootTime, LeaseId};

/// A claim of the book as it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub claim: &'a Claim,
    /// Whether a request has it in hand.
    pub is_in_hand: bool,
    /// Whether its lease lives.
    pub is_living: bool,
}

/// Whether a living lease has the number of a claim, as far as is known.
pub fn is_held(one: Seen<'_>) -> bool {
    one.is_living && !one.is_in_hand && one.claim.stage == ClaimStage::Held
}

/// A claim with the state of its lease.
#[derive(Debug, Clone)]
pub struct Tended {
    pub intent: Intent,
    /// Whether its lease lives.
    pub is_living: bool,
    /// Time at which no request had it in hand any more.
    pub since: BootTime,
}

impl Tended {
    /// The claim alone.
    pub fn claim(&self) -> Claim {
        self.intent.claim.clone()
    }
}

/// Record, book, leases and clock of one host. Clones are the same host.
pub trait Ground: Clone + Send + Sync + 'static {
    /// Keeps programs from a number for as long as it lives.
    type Guard: Send;

    /// Time on this host's clock.
    fn now(&self) -> BootTime;

    /// Waits a moment before the next try.
    fn pause(&self) -> impl Future<Output = ()> + Send;

    /// Returns the wanted claims in the book. No others are copied: there may be thousands.
    fn tended(&self, wanted: impl Fn(Seen<'_>) -> bool) -> Vec<Tended>;

    /// Writes the present form of claims. What the record does not take is found out anew after a start.
    fn note(&self, claims: &[Claim]) -> impl Future<Output = ()> + Send;

    /// Writes the present form of claims whose leases come on record next, and they with them.
    fn remember(&self, claims: &[Claim]);

    /// Whether a lease of this host lives.
    fn lives(&self, lease: LeaseId) -> bool;

    /// Removes claims that the engine does not have, from book and record.
    fn forget(&self, claims: &[Claim]) -> impl Future<Output = ()> + Send;

    /// Lets go of claims that no request has in hand any more.
    fn let_go(&self, claims: &[Claim]);

    /// Measures a commit by the word of its outcome.
    fn committed(&self, _outcome: &'static str, _took: Duration) {}

    /// Notes the reason for which no host claims numbers.
    fn held_up(&self, _why: &str) {}

    /// Time of reclaim that a claim is to have, in seconds: 0 while the kernel has no fence.
    fn reclaim_s(&self, claim: &Claim) -> u64;

    /// Has the kernel let programs be reached at the numbers of claims, as far as they have a fence.
    fn permit(&self, claims: &[Claim]) -> impl Future<Output = Result<(), FenceError>> + Send;

    /// Has the kernel shut the numbers of claims, as far as they have a fence.
    fn shut(&self, claims: &[Claim]) -> impl Future<Output = Answer<()>> + Send;

    /// Makes sure that no program of this host is reached at the number of a claim without a lease: by the
    /// fence, or by a hold on its port. `None` if a program has the port.
    fn guard(&self, claim: &Claim) -> impl Future<Output = Answer<Option<Self::Guard>>> + Send;

    /// Notes that a claim is lost: its lease is told, and shut. `by` is the host that has the number.
    fn lose(&self, claim: &Claim, by: Option<&str>) -> impl Future<Output = Answer<()>> + Send;
}
