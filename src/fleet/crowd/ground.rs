//! The thin ground of a host in the crowd: books in memory in place of a record, a kernel and leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::everywhere::Kept;
use crate::domain::lease::{BootTime, LeaseId, Name};
use crate::domain::port::{Port, Protocol};
use crate::domain::prior::{AddressKind, GroupReport, Kinds, PortReport, Prior, Report};
use crate::fleet::engine::Answer;
use crate::fleet::everywhere::Lessor;
use crate::fleet::ground::{Ground, Seen, Tended};
use crate::fleet::permit::FenceError;
use crate::fleet::sharing::Learner;
use crate::host::clock::Clock;

/// Pause before the next try of a claim.
const PAUSE: Duration = Duration::from_millis(100);

/// Ports of a document, which then has 1.4 KB of JSON.
const DOCUMENT_PORTS: u16 = 100;

/// Books of a host.
#[derive(Debug, Clone, Default)]
pub struct Books {
    claims: Arc<Mutex<BTreeMap<Number, Entered>>>,
    clock: Clock,
}

/// A claim in the books.
#[derive(Debug)]
struct Entered {
    tended: Tended,
    is_in_hand: bool,
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Number, Entered>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a claim that is to be made.
    pub fn enter(&self, tended: Tended) {
        let number = tended.intent.claim.number;
        let is_in_hand = true;
        self.lock().insert(number, Entered { tended, is_in_hand });
    }

    /// Whether there is no claim.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends the lease of a claim.
    pub fn end(&self, number: Number) {
        if let Some(one) = self.lock().get_mut(&number) {
            one.tended.is_living = false;
        }
    }

    /// Number of claims that the engine has, in this session.
    pub fn held(&self, session: &str) -> usize {
        let held = |one: &&Entered| {
            let claim = &one.tended.intent.claim;
            claim.stage == ClaimStage::Held && claim.session == session
        };
        self.lock().values().filter(held).count()
    }
}

impl Ground for Books {
    type Guard = ();

    fn now(&self) -> BootTime {
        self.clock.boot()
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    fn tended(&self, wanted: impl Fn(Seen<'_>) -> bool) -> Vec<Tended> {
        let known = self.lock();
        let wanted = known.values().filter(|one| {
            wanted(Seen {
                claim: &one.tended.intent.claim,
                is_in_hand: one.is_in_hand,
                is_living: one.tended.is_living,
            })
        });
        wanted.map(|one| one.tended.clone()).collect()
    }

    async fn note(&self, claims: &[Claim]) {
        self.remember(claims);
    }

    fn remember(&self, claims: &[Claim]) {
        let mut known = self.lock();
        for claim in claims {
            if let Some(one) = known.get_mut(&claim.number) {
                one.tended.intent.claim.clone_from(claim);
            }
        }
    }

    fn lives(&self, lease: LeaseId) -> bool {
        let known = self.lock();
        let tended = known.values().map(|one| &one.tended);
        let mut living = tended.filter(|one| one.is_living);
        living.any(|one| one.intent.claim.lease == lease)
    }

    async fn forget(&self, claims: &[Claim]) {
        let mut known = self.lock();
        for claim in claims {
            known.remove(&claim.number);
        }
    }

    fn let_go(&self, claims: &[Claim]) {
        let mut known = self.lock();
        for claim in claims {
            if let Some(one) = known.get_mut(&claim.number) {
                one.is_in_hand = false;
                one.tended.since = self.clock.boot();
            }
        }
    }

    fn reclaim_s(&self, claim: &Claim) -> u64 {
        claim.reclaim_s
    }

    async fn permit(&self, _: &[Claim]) -> Result<(), FenceError> {
        Ok(())
    }

    async fn shut(&self, _: &[Claim]) -> Answer<()> {
        Ok(())
    }

    async fn guard(&self, _: &Claim) -> Answer<Option<()>> {
        Ok(Some(()))
    }

    async fn lose(&self, claim: &Claim, _: Option<&str>) -> Answer<()> {
        let lost = Claim {
            stage: ClaimStage::Lost,
            ..claim.clone()
        };
        self.note(&[lost]).await;
        Ok(())
    }
}

impl Lessor for Books {
    async fn check(&self, _: Number, _: &Name) -> Result<(), String> {
        Ok(())
    }

    async fn keep(&self, _: Number, _: &Name) -> Result<(), String> {
        Ok(())
    }

    async fn let_go(&self, _: Number, _: Option<&Name>) -> Result<(), String> {
        Ok(())
    }

    fn tell(&self, _: &BTreeMap<Number, Kept>) {}
}

/// A history of a hundred ports, which counts the hosts that it was told of.
#[derive(Debug, Clone, Default)]
pub struct History {
    known: Arc<Mutex<u32>>,
}

impl History {
    /// Number of hosts whose documents count.
    pub fn hosts(&self) -> u32 {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learner for History {
    fn report(&self, _: bool) -> Report {
        let port = |number: u16| {
            let drawn = fastrand::u32(1..5_999);
            PortReport(
                Port::new(10_000 + 7 * number).unwrap(),
                drawn % 7,
                drawn,
                drawn % 3,
            )
        };
        let group = GroupReport {
            on: Kinds::from([AddressKind::Any4]),
            protocol: Protocol::Tcp,
            snapshots: 6_000,
            ports: (0..DOCUMENT_PORTS).map(port).collect(),
        };
        Report {
            groups: vec![group],
            commands: (0..64).map(|number| format!("program-{number}")).collect(),
        }
    }

    fn set_prior(&self, prior: &Prior) {
        let hosts = prior.tables.values().map(|table| table.hosts).max();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = hosts.unwrap_or_default();
    }
}
