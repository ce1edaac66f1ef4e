//! Stray claims: those under the name of this host that its book does not know.
//!
//! An engine that was put back to a snapshot has claims again whose leases have ended since; a host that lost
//! its record has claims without leases, and so may one that was killed in the midst of a request. No sweep
//! takes them while the host lives, and no lease gives them back. So the host looks for them after its start,
//! after a restore, and when one of them is in its way.

use std::collections::BTreeSet;

use super::claim::Claimant;
use super::engine::{Answer, Compare, Engine, Entry, Outcome, Step};
use super::ground::Ground;
use super::value::{self, ClaimValue};
use super::view;
use crate::domain::claim::{Claim, ClaimStage};
use crate::domain::lease::LeaseId;

/// What became of stray claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strays {
    pub withdrawn: usize,
    /// Those whose ports are in use or whose leases live, or that changed meanwhile.
    pub kept: usize,
}

impl<E: Engine, G: Ground> Claimant<E, G> {
    /// Withdraws stray claims whose numbers no program of this host can be reached at from then on.
    pub async fn withdraw_strays(&self) -> Answer<Strays> {
        let entries = view::entries_of(&self.engine, &self.keys.claims()).await?;
        // The book is read second: a claim is in it before it is in the engine.
        let tended = self.ground.tended(|_| true).into_iter();
        let known: BTreeSet<String> = tended.map(|one| one.intent.claim.nonce).collect();
        let mut strays = Strays::default();
        for entry in entries {
            let Some(value) = value::claim_value(&entry) else {
                continue;
            };
            let is_stray = value.host == self.host.as_str() && !known.contains(&value.nonce);
            if !is_stray {
                continue;
            }
            if self.withdraw_stray(&entry, value).await? {
                strays.withdrawn += 1;
            } else {
                strays.kept += 1;
            }
        }
        Ok(strays)
    }

    async fn withdraw_stray(&self, entry: &Entry, value: ClaimValue) -> Answer<bool> {
        let lease: Option<LeaseId> = value.lease.parse().ok();
        let lives = lease.is_some_and(|lease| self.ground.lives(lease));
        let Some(number) = self.keys.read_claim(&entry.key).filter(|_| !lives) else {
            return Ok(false);
        };
        let claim = Claim {
            number,
            lease: lease.unwrap_or(LeaseId(uuid::Uuid::nil())),
            reclaim_s: value.reclaim_s().unwrap_or_default(),
            nonce: value.nonce,
            session: value.session,
            stage: ClaimStage::Held,
            revision: entry.modified,
            token: entry.created,
            is_doubtful: false,
        };
        // Shut first: from the commit on another host may have the number.
        let Some(_guard) = self.ground.guard(&claim).await? else {
            return Ok(false);
        };
        let compare = vec![Compare::unchanged(entry.key.clone(), entry.modified)];
        let key = entry.key.clone();
        let outcome = self.commit(compare, vec![Step::Delete { key }]).await?;
        Ok(matches!(outcome, Outcome::Done { .. }))
    }
}
