//! Tending claims: giving back those whose leases have ended, and claiming again what the leases of this
//! host have. Nothing here is remembered but the book: a tending that fails is simply done again.

use super::claim::{Claimant, DOUBT, Intent, MOST_NUMBERS, held};
use super::engine::{Answer, Compare, Engine, Entry, Outcome, Step};
use super::ground::{Ground, Tended, is_held};
use super::regain::{Seen, session_ended};
use crate::domain::claim::{Claim, ClaimStage};

/// A revision that no key has, so that a commit tells what it found.
pub(super) const NEVER: u64 = i64::MAX.cast_unsigned();

impl<E: Engine, G: Ground> Claimant<E, G> {
    /// Brings the engine to what the leases of this host say, in this session: withdraws claims without a
    /// lease, and claims again what an earlier session had. `is_restored`: the engine has lost changes, so
    /// that a claim that is absent may be made anew.
    pub async fn tend(&self, session: &str, is_restored: bool) -> Answer<()> {
        let tended = self.ground.tended(|one| {
            !one.is_in_hand && (!one.is_living || self.is_due(one.claim, session, is_restored))
        });
        let (living, over): (Vec<Tended>, Vec<Tended>) =
            tended.into_iter().partition(|one| one.is_living);
        for batch in over.chunks(MOST_NUMBERS) {
            self.give_back(session, batch).await?;
        }
        let due = living.into_iter().map(|one| self.with_fence_of_today(one));
        let due: Vec<Tended> = due.collect();
        for batch in due.chunks(MOST_NUMBERS) {
            self.claim_again(session, batch, is_restored).await?;
        }
        Ok(())
    }

    /// Whether the claim of a living lease is to be claimed again.
    fn is_due(&self, claim: &Claim, session: &str, is_restored: bool) -> bool {
        let has_changed = || {
            is_restored
                || claim.session != session
                || claim.stage == ClaimStage::Asked
                || self.ground.reclaim_s(claim) != claim.reclaim_s
        };
        claim.stage != ClaimStage::Lost && has_changed()
    }

    /// A claim as it is to be claimed again: its fence may have come, or gone, with a start.
    fn with_fence_of_today(&self, mut one: Tended) -> Tended {
        one.intent.claim.reclaim_s = self.ground.reclaim_s(&one.intent.claim);
        one
    }

    /// Looks whether the engine still has what this host has claimed. What is missing without this host's
    /// doing was lost by the engine: `true` if there is some, and it is to be claimed again.
    pub async fn look(&self, session: &str) -> Answer<bool> {
        let held = self.ground.tended(is_held);
        for batch in held.chunks(MOST_NUMBERS) {
            let compare = batch.iter().map(|one| self.as_known(&one.intent)).collect();
            let Outcome::Refused { found, .. } = self.commit(compare, Vec::new()).await? else {
                continue;
            };
            let seen: Vec<Seen> = batch
                .iter()
                .map(|one| one.intent.clone())
                .zip(found)
                .collect();
            if seen.iter().any(|(_, entry)| entry.is_none()) {
                return Ok(true);
            }
            let has_changed = |(intent, entry): &Seen| {
                let modified = entry.as_ref().map(|entry| entry.modified);
                modified != Some(intent.claim.revision)
            };
            let changed = seen.into_iter().filter(has_changed).collect();
            self.regain(session, changed, false).await?;
        }
        Ok(false)
    }

    /// The condition that the engine has a claim as it is known.
    fn as_known(&self, intent: &Intent) -> Compare {
        let revision = match intent.claim.revision {
            0 => NEVER,
            revision => revision,
        };
        Compare::unchanged(self.key(intent), revision)
    }

    /// The condition under which claims are claimed again together. A restored engine gives revisions out
    /// a second time, so that each claim is looked at.
    fn as_before(&self, intent: &Intent, is_restored: bool) -> Compare {
        if is_restored {
            return Compare::unchanged(self.key(intent), NEVER);
        }
        self.as_known(intent)
    }

    /// Withdraws claims whose leases have ended, in one commit if all are as they are known.
    async fn give_back(&self, session: &str, batch: &[Tended]) -> Answer<()> {
        let lost = |one: &&Tended| one.intent.claim.stage == ClaimStage::Lost;
        let gone: Vec<Claim> = batch.iter().filter(lost).map(Tended::claim).collect();
        self.ground.forget(&gone).await;
        let batch: Vec<&Tended> = batch.iter().filter(|one| !lost(one)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        // Shut first: from the commit on another host may have the number.
        let claims: Vec<Claim> = batch.iter().map(|one| one.claim()).collect();
        self.ground.shut(&claims).await?;
        let compare = batch.iter().map(|one| self.as_known(&one.intent)).collect();
        let key = |one: &&Tended| self.key(&one.intent);
        let steps = batch.iter().map(|one| Step::Delete { key: key(one) });
        match self.commit(compare, steps.collect()).await? {
            Outcome::Done { .. } => {
                for one in batch {
                    self.withdrawn(session, one).await;
                }
            }
            Outcome::Refused { found, .. } => {
                for (one, entry) in batch.into_iter().zip(found) {
                    self.withdraw(session, one, entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Withdraws one claim that is not as it is known, or of which it is not known whether it is there.
    async fn withdraw(&self, session: &str, one: &Tended, entry: Option<Entry>) -> Answer<()> {
        let claim = &one.intent.claim;
        let Some(entry) = entry.filter(|entry| self.is_own(claim, entry)) else {
            self.withdrawn(session, one).await;
            return Ok(());
        };
        let compare = vec![Compare::unchanged(entry.key.clone(), entry.modified)];
        let steps = vec![Step::Delete { key: entry.key }];
        // Refused is one that changed meanwhile: it is looked at again.
        if let Outcome::Done { .. } = self.commit(compare, steps).await? {
            self.withdrawn(session, one).await;
        }
        Ok(())
    }

    /// Forgets a claim that the engine does not have, unless a commit without an answer may still be done:
    /// then its number is looked at again.
    async fn withdrawn(&self, session: &str, one: &Tended) {
        let claim = &one.intent.claim;
        // A commit of an ended session is refused.
        let is_settled = !claim.is_doubtful
            || claim.session != session
            || self.ground.now() >= one.since.after(DOUBT);
        if is_settled {
            return self.ground.forget(std::slice::from_ref(claim)).await;
        }
        self.ground.note(&[asked(claim, session)]).await;
    }

    /// Claims again what the leases of this host have, in one commit if all is as it is known.
    async fn claim_again(
        &self,
        session: &str,
        batch: &[Tended],
        may_be_absent: bool,
    ) -> Answer<()> {
        let intents: Vec<Intent> = batch.iter().map(|one| one.intent.clone()).collect();
        let before = |one: &Intent| self.as_before(one, may_be_absent);
        let mut compare: Vec<Compare> = intents.iter().map(before).collect();
        compare.push(Compare::present(self.keys.session(&self.host, session)));
        // What only looks is not written into the engine's log.
        let steps = if may_be_absent {
            Vec::new()
        } else {
            self.puts(session, &intents)
        };
        match self.commit(compare, steps).await? {
            Outcome::Done { revision } => {
                let held = |one: &Intent| again(&one.claim, session, revision, one.claim.token);
                let all: Vec<Claim> = intents.iter().map(held).collect();
                self.ground.note(&all).await;
            }
            Outcome::Refused { found, .. } => {
                if found.last().is_none_or(Option::is_none) {
                    return Err(session_ended());
                }
                let seen = intents.into_iter().zip(found).collect();
                self.regain(session, seen, may_be_absent).await?;
            }
        }
        Ok(())
    }
}

/// A claim of which it is not known whether the engine has it, or comes to have it.
pub(super) fn asked(claim: &Claim, session: &str) -> Claim {
    Claim {
        session: session.to_owned(),
        stage: ClaimStage::Asked,
        revision: 0,
        is_doubtful: true,
        ..claim.clone()
    }
}

/// A claim that was claimed again. Late commits of another session are refused.
pub(super) fn again(claim: &Claim, session: &str, revision: u64, token: u64) -> Claim {
    let is_doubtful = claim.is_doubtful && claim.session == session;
    held(claim, session, (revision, token), is_doubtful)
}
