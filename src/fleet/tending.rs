//! Tending by the session loop: when claims are looked at, and what follows.

use std::time::Duration;

use super::claim::DOUBT;
use super::claiming::Claims;
use super::engine::{Answer, Engine, EngineError, Step};
use super::ground::{Ground, Seen};
use super::holding;
use super::member::Member;
use super::stray::Strays;
use super::view;
use crate::domain::claim::Number;
use crate::domain::fleet::{FleetState, HostName};
use crate::domain::lease::BootTime;
use crate::domain::port::PortSet;
use crate::engine::fleet::FleetSilence;

/// Interval of looks at the own claims.
pub(super) const LOOK: Duration = Duration::from_mins(5);

impl<E: Engine> Member<E> {
    /// Time of the next tending or look. `None` while there is nothing to tend, or it would be in vain.
    pub(super) fn claims_due(&self) -> Option<BootTime> {
        if !self.may_commit() {
            return None;
        }
        let Claims {
            tend_at,
            strays_at,
            look_at,
            ..
        } = self.claims;
        let has_claims = !self.service.fleet().claims().is_empty() || tend_at.is_some();
        let look_at = has_claims.then_some(look_at);
        [tend_at, strays_at, look_at].into_iter().flatten().min()
    }

    /// Brings the engine to what the leases say, and looks at it from time to time.
    pub(super) async fn tend(&mut self) {
        let Some(session) = self.session.id().map(str::to_owned) else {
            return;
        };
        let now = self.now();
        let is_look_due = self.claims.look_at <= now;
        self.claims.tend_at = None;
        match self.tend_now(&session, is_look_due).await {
            Ok(()) => {
                // What was claimed again is one of this session now.
                self.prolong().await;
                if is_look_due {
                    self.claims.look_at = now.after(LOOK);
                }
                self.tend_doubtful(now);
            }
            Err(error) => {
                tracing::warn!(%error, "could not settle claims with the fleet; that is tried again after the next renewal");
                self.renew_at = now;
                // A renewal that succeeds does not mean that a commit does.
                let later = now.after(self.settings.session / 3);
                self.claims.tend_at = Some(later);
                self.claims.look_at = self.claims.look_at.max(later);
                self.claims.strays_at = self.claims.strays_at.map(|at| at.max(later));
            }
        }
    }

    async fn tend_now(&mut self, session: &str, is_look_due: bool) -> Answer<()> {
        if self.claims.is_restored {
            self.hold().await?;
        }
        let is_restored = self.claims.is_restored;
        self.claims.claimant.tend(session, is_restored).await?;
        self.claims.is_restored = false;
        if is_look_due && self.claims.claimant.look(session).await? {
            tracing::error!(
                "claims of this host are missing in the fleet without its doing; no host claims new numbers for two minutes, and this one claims again what it had"
            );
            self.be(
                FleetState::Quarantined,
                "claims are missing in etcd; this host writes its own entries again",
            );
            self.publish_at = Some(self.now());
            self.claims.note_restored();
            self.hold().await?;
            self.claims.claimant.tend(session, true).await?;
            self.claims.is_restored = false;
        }
        if self.claims.strays_at.is_some_and(|at| at <= self.now()) {
            self.withdraw_strays().await?;
        }
        Ok(())
    }

    async fn withdraw_strays(&mut self) -> Answer<()> {
        let Strays { withdrawn, kept } = self.claims.claimant.withdraw_strays().await?;
        self.claims.strays_at = (kept > 0).then(|| self.now().after(LOOK));
        if withdrawn + kept > 0 {
            tracing::warn!(
                withdrawn,
                kept,
                "claims of this host have no lease, as after a restore of etcd; those whose ports are in use here are kept until they are free"
            );
        }
        Ok(())
    }

    /// Keeps all hosts from new claims for a while, so that those that had a number get it again.
    async fn hold(&self) -> Answer<()> {
        if self.service.fleet().claims().is_empty() {
            return Ok(());
        }
        let session = self.engine.session(holding::HOLD).await?;
        let put = Step::Put {
            key: self.keys.hold(),
            value: holding::value(&self.identity.host).into(),
            session: Some(session),
        };
        self.engine.commit(Vec::new(), vec![put]).await?;
        Ok(())
    }

    /// Has claims without a lease looked at again, until none can be done late any more.
    fn tend_doubtful(&mut self, now: BootTime) {
        let is_left = |one: Seen<'_>| !one.is_living && !one.is_in_hand;
        let left = self.claims.claimant.ground.tended(is_left);
        if !left.is_empty() {
            self.claims.tend_at(now.after(DOUBT / 4));
        }
    }

    /// Deletes the claims of a host whose session has ended.
    pub(super) async fn evict(&self, host: &HostName) -> Result<Vec<Number>, FleetSilence> {
        let away = |error: EngineError| FleetSilence::Away(error.to_string());
        if !self.may_commit() {
            return Err(FleetSilence::Away(self.why.clone()));
        }
        let evicted = self.claims.sweeper().evict(host).await.map_err(away)?;
        let evicted = evicted.ok_or_else(|| FleetSilence::Lives(host.clone()))?;
        if evicted.is_empty() {
            return Err(FleetSilence::HasNone(host.clone()));
        }
        self.read_others().await;
        tracing::warn!(%host, claims = evicted.len(), "evicted a host from its unique numbers");
        Ok(evicted)
    }

    /// Deletes claims whose values cannot be read.
    pub(super) async fn evict_unreadable(
        &self,
        ports: Option<&PortSet>,
    ) -> Result<Vec<Number>, FleetSilence> {
        let away = |error: EngineError| FleetSilence::Away(error.to_string());
        if !self.may_commit() {
            return Err(FleetSilence::Away(self.why.clone()));
        }
        let sweeper = self.claims.sweeper();
        let evicted = sweeper.evict_unreadable(ports).await.map_err(away)?;
        if evicted.is_empty() {
            return Ok(evicted);
        }
        self.read_others().await;
        tracing::warn!(
            claims = evicted.len(),
            "deleted claims that could not be read"
        );
        Ok(evicted)
    }

    /// Reads which numbers are claimed: one that was evicted may be asked for here next.
    async fn read_others(&self) {
        // What is known is forgotten within seconds.
        if let Ok(others) = view::claimed(&self.engine, &self.keys).await {
            let claims = self.service.fleet().claims();
            claims.note_others(others, true, self.now());
        }
    }

    /// Refuses to leave while leases have unique numbers: others could claim what is in use here.
    pub(super) fn check_may_leave(&self) -> Result<(), FleetSilence> {
        let lives = |id| self.service.lease(id).is_some();
        let counts = self.service.fleet().claims().counts(lives);
        // A lost number is shut as long as this host is in the fleet: its program may listen still.
        let claimed = counts.held + counts.asked + counts.lost;
        match (claimed, counts.releasing) {
            (0, 0) => Ok(()),
            (0, releasing) => Err(FleetSilence::Releasing(releasing)),
            (claimed, _) => Err(FleetSilence::Claimed(claimed)),
        }
    }
}
