//! The ground of claims in a service: its record, its leases and its clock.

use std::time::Duration;

use super::claim::Intent;
use super::engine::{Answer, EngineError};
use super::fencing::Fencing;
use super::ground::{Ground, Seen, Tended};
use super::permit::FenceError;
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::fleet::Publish;
use crate::domain::lease::{BootTime, LeaseId, Name};
use crate::engine::claims::Entered;
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;
use crate::engine::troubles::TroubleKind;
use crate::host::hold::{Hold, Take};

/// Pause before the next try to claim: an election takes about a second.
const PAUSE: Duration = Duration::from_millis(100);

/// A service as the ground of its claims.
#[derive(Debug, Clone)]
pub struct HostGround {
    pub service: Service,
    pub publish: Publish,
    pub fencing: Fencing,
}

impl HostGround {
    fn tended_one(&self, entered: &Entered) -> Tended {
        let lease = self.service.lease(entered.claim.lease);
        Tended {
            is_living: lease.is_some(),
            since: entered.since,
            intent: Intent {
                claim: Claim::clone(&entered.claim),
                pool: lease
                    .as_ref()
                    .map_or_else(String::new, |lease| lease.pool.to_string()),
                name: lease.and_then(|lease| self.told_name(lease.name.as_ref())),
            },
        }
    }

    /// The name of a lease as other hosts are told it.
    pub(super) fn told_name(&self, name: Option<&Name>) -> Option<String> {
        let name = name.filter(|_| self.publish != Publish::Nothing);
        name.map(ToString::to_string)
    }

    /// Writes the present form of claims in memory.
    fn write(&self, claims: &[Claim]) {
        self.service.fleet().claims().note(claims);
        for claim in claims {
            self.service.note_claim(claim.lease, claim.of_lease());
        }
    }
}

async fn record(service: &Service, claims: &[Claim]) {
    if let Err(error) = service.store().change_claims(claims).await {
        tracing::warn!(%error, "could not record claims on numbers of the fleet; the next start finds them out");
    }
}

impl Ground for HostGround {
    /// `None` where the fence shuts the number.
    type Guard = Option<Hold>;

    fn now(&self) -> BootTime {
        self.service.clock().boot()
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    fn tended(&self, wanted: impl Fn(Seen<'_>) -> bool) -> Vec<Tended> {
        let entered = self.service.fleet().claims().all().into_iter();
        let wanted = entered.filter(|one| {
            wanted(Seen {
                claim: &one.claim,
                is_in_hand: one.is_in_hand,
                is_living: self.lives(one.claim.lease),
            })
        });
        wanted.map(|one| self.tended_one(&one)).collect()
    }

    async fn note(&self, claims: &[Claim]) {
        self.write(claims);
        record(&self.service, claims).await;
    }

    fn remember(&self, claims: &[Claim]) {
        self.service.fleet().claims().note(claims);
    }

    fn lives(&self, lease: LeaseId) -> bool {
        self.service.lease(lease).is_some()
    }

    async fn forget(&self, claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        if let Err(error) = self.service.store().remove_claims(claims).await {
            tracing::warn!(%error, "could not forget withdrawn claims; they are withdrawn again at the next start");
        }
        // A lost claim has a permit that is over since the start of the service. Until both books have forgotten it, its
        // number is granted to no lease.
        let numbers: Vec<Number> = claims.iter().map(|claim| claim.number).collect();
        self.service.fleet().fence().forget(&numbers);
        self.service.fleet().claims().remove(claims);
    }

    fn let_go(&self, claims: &[Claim]) {
        self.service.fleet().claims().let_all_go(claims, self.now());
    }

    fn committed(&self, outcome: &'static str, took: Duration) {
        self.service.journal().fleet_committed(outcome, took);
    }

    fn held_up(&self, why: &str) {
        let troubles = self.service.fleet().troubles();
        troubles.set(TroubleKind::Hold, Some(why.to_owned()));
    }

    fn reclaim_s(&self, claim: &Claim) -> u64 {
        self.fencing.reclaim_s(claim)
    }

    async fn permit(&self, claims: &[Claim]) -> Result<(), FenceError> {
        match self.fencing.permits() {
            Some(permits) => permits.grant(claims).await,
            None => Ok(()),
        }
    }

    async fn shut(&self, claims: &[Claim]) -> Answer<()> {
        let Some(permits) = self.fencing.permits() else {
            return Ok(());
        };
        let shut = permits.shut(claims).await;
        shut.map_err(|error| EngineError::Fault(error.to_string()))
    }

    async fn guard(&self, claim: &Claim) -> Answer<Option<Self::Guard>> {
        if claim.reclaim_s > 0 && self.fencing.permits().is_some() {
            self.shut(std::slice::from_ref(claim)).await?;
            return Ok(Some(None));
        }
        let Number { protocol, port } = claim.number;
        let any = AddressGroup::new([Family::Ipv4, Family::Ipv6].map(BindAddress::wildcard));
        let clock = self.service.clock();
        let held = Hold::take(Take::Strictly, &any, protocol, port, clock, &mut |_, _| {});
        Ok(held.ok().map(Some))
    }

    async fn lose(&self, claim: &Claim, by: Option<&str>) -> Answer<()> {
        self.shut(std::slice::from_ref(claim)).await?;
        match self.service.lose_claim(claim.lease, by).await {
            // One that has ended meanwhile is withdrawn next.
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(error) => {
                return Err(EngineError::Fault(format!(
                    "the loss of a claim cannot be recorded: {error}"
                )));
            }
        }
        let lost = Claim {
            stage: ClaimStage::Lost,
            ..claim.clone()
        };
        self.note(&[lost]).await;
        Ok(())
    }
}
