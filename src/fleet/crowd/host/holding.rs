//! The unique numbers of a host of the crowd.

use std::time::Duration;

use uuid::Uuid;

use super::super::tally::mark;
use super::Host;
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::lease::{BootTime, LeaseId};
use crate::domain::port::{Port, Protocol};
use crate::fleet::claim::Intent;
use crate::fleet::engine::{Answer, EngineError};
use crate::fleet::ground::{Ground, Tended};
use crate::fleet::tending::LOOK;

/// Unique numbers of a host.
pub const NUMBERS: u16 = 2;

/// Time of reclaim of a unique number, in seconds.
const RECLAIM_S: u64 = 86_400;

/// Limit on one claim.
const CLAIM_WITHIN: Duration = Duration::from_secs(10);

impl Host {
    /// Claims what this host has, the first time or again, and looks at it from time to time.
    pub(super) async fn look(&mut self, now: BootTime) {
        self.state.look_at = now.after(LOOK);
        let Some(session) = self.session.id().map(str::to_owned) else {
            return;
        };
        if self.tend(&session).await.is_err() {
            self.tally.change(|counts| counts.failures += 1);
            self.state.renew_at = now;
            self.state.look_at = now.after(self.ttl / 3);
        }
        let is_all = self.claimant.ground.held(&session) == usize::from(NUMBERS);
        let known = &mut self.state.is_claimed;
        self.tally
            .change(|counts| mark(known, is_all, &mut counts.claimed));
    }

    async fn tend(&mut self, session: &str) -> Answer<()> {
        if self.claimant.ground.is_empty() {
            let first = 10_000 + self.index * NUMBERS;
            let number = |port| number(Protocol::Tcp, port);
            let numbers = (first..first + NUMBERS).map(number);
            return self.claim(session, numbers.collect()).await;
        }
        let is_restored = self.state.is_restored;
        self.claimant.tend(session, is_restored).await?;
        self.state.is_restored = false;
        if self.claimant.look(session).await? {
            self.claimant.tend(session, true).await?;
        }
        Ok(())
    }

    async fn claim(&mut self, session: &str, numbers: Vec<Number>) -> Answer<()> {
        let intents: Vec<Intent> = numbers
            .into_iter()
            .map(|one| self.intent(session, one))
            .collect();
        let ground = &self.claimant.ground;
        for intent in &intents {
            ground.enter(Tended {
                intent: intent.clone(),
                is_living: true,
                since: ground.now(),
            });
        }
        let until = ground.now().after(CLAIM_WITHIN);
        let claimed = self.claimant.claim(session, &intents, until, false).await;
        let held = claimed.map_err(|error| EngineError::Fault(format!("{error:?}")));
        let held = held?;
        ground.let_go(&held);
        Ok(())
    }

    fn intent(&mut self, session: &str, number: Number) -> Intent {
        Intent {
            claim: Claim {
                number,
                lease: LeaseId(Uuid::from_u128(self.rng.u128(..))),
                nonce: Uuid::from_u128(self.rng.u128(..)).to_string(),
                session: session.to_owned(),
                stage: ClaimStage::Asked,
                revision: 0,
                token: 0,
                reclaim_s: RECLAIM_S,
                is_doubtful: false,
            },
            pool: "edge".to_owned(),
            name: None,
        }
    }

    /// Claims a number, and gives it back.
    pub(super) async fn churn(&mut self, number: Number) {
        let Some(session) = self.session.id().map(str::to_owned) else {
            return;
        };
        let claimed = self.claim(&session, vec![number]).await;
        self.claimant.ground.end(number);
        let done = match claimed {
            Ok(()) => self.claimant.tend(&session, false).await,
            Err(error) => Err(error),
        };
        let is_done = usize::from(done.is_ok());
        self.tally.change(|counts| {
            counts.churned += is_done;
            counts.failures += 1 - is_done;
        });
    }
}

/// A number of a protocol.
pub fn number(protocol: Protocol, port: u16) -> Number {
    let port = Port::new(port).unwrap();
    Number { protocol, port }
}
