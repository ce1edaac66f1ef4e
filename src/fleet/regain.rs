//! Claims that the engine does not have as this host knows them: claimed again, or lost.
//!
//! After the loss of a disk that is every claim of every host, so that they are claimed together.

use super::claim::{Claimant, Intent, holder};
use super::engine::{Answer, Compare, Engine, EngineError, Entry, Outcome};
use super::ground::Ground;
use super::tend::{again, asked};
use crate::domain::claim::Claim;

/// Number of tries to swap a claim that changes meanwhile.
const SWAPS: usize = 4;

/// A claim that is to be claimed again, with what the engine was found to have of it.
pub(super) type Seen = (Intent, Option<Entry>);

pub(super) fn session_ended() -> EngineError {
    EngineError::Fault("the session of this host has ended".into())
}

impl<E: Engine, G: Ground> Claimant<E, G> {
    /// Claims numbers again as they were found: in one commit, and if one of them changes meanwhile, each alone.
    pub(super) async fn regain(
        &self,
        session: &str,
        seen: Vec<Seen>,
        may_be_absent: bool,
    ) -> Answer<()> {
        let seen = self.without_lost(seen, may_be_absent).await?;
        let Some(found) = self.swap_seen(session, &seen).await? else {
            return Ok(());
        };
        for ((intent, _), entry) in seen.into_iter().zip(found) {
            self.regain_one(session, (intent, entry), may_be_absent)
                .await?;
        }
        Ok(())
    }

    async fn regain_one(&self, session: &str, one: Seen, may_be_absent: bool) -> Answer<()> {
        let number = one.0.claim.number;
        let mut one = vec![one];
        for _ in 0..SWAPS {
            one = self.without_lost(one, may_be_absent).await?;
            let Some(found) = self.swap_seen(session, &one).await? else {
                return Ok(());
            };
            for ((_, entry), now) in one.iter_mut().zip(found) {
                *entry = now;
            }
        }
        Err(EngineError::Fault(format!(
            "the claim on {number} changes all the time"
        )))
    }

    /// Notes which of these numbers are lost. Returns the others.
    async fn without_lost(&self, seen: Vec<Seen>, may_be_absent: bool) -> Answer<Vec<Seen>> {
        let mut left = Vec::with_capacity(seen.len());
        for (intent, entry) in seen {
            let is_left = entry
                .as_ref()
                .map_or(may_be_absent, |entry| self.is_own(&intent.claim, entry));
            if is_left {
                left.push((intent, entry));
                continue;
            }
            let by = entry.as_ref().map(holder);
            self.ground.lose(&intent.claim, by.as_deref()).await?;
        }
        Ok(left)
    }

    /// Puts claims if they are as they were seen. What was found instead, if one is not.
    async fn swap_seen(&self, session: &str, seen: &[Seen]) -> Answer<Option<Vec<Option<Entry>>>> {
        if seen.is_empty() {
            return Ok(None);
        }
        let absent = seen.iter().filter(|(_, entry)| entry.is_none());
        let absent: Vec<Claim> = absent
            .map(|(intent, _)| asked(&intent.claim, session))
            .collect();
        if !absent.is_empty() {
            // The answer may be lost, and the commit be done late.
            self.ground.note(&absent).await;
        }
        let condition = |(intent, entry): &Seen| match entry {
            Some(entry) => Compare::unchanged(entry.key.clone(), entry.modified),
            None => Compare::absent(self.key(intent)),
        };
        let mut compare: Vec<Compare> = seen.iter().map(condition).collect();
        compare.push(Compare::present(self.keys.session(&self.host, session)));
        let intents: Vec<Intent> = seen.iter().map(|(intent, _)| intent.clone()).collect();
        match self.commit(compare, self.puts(session, &intents)).await? {
            Outcome::Done { revision } => {
                let held = |(intent, entry): &Seen| {
                    let token = entry.as_ref().map_or(revision, |entry| entry.created);
                    again(&intent.claim, session, revision, token)
                };
                let held: Vec<Claim> = seen.iter().map(held).collect();
                self.ground.note(&held).await;
                Ok(None)
            }
            Outcome::Refused { mut found, .. } => match found.pop() {
                Some(Some(_)) => Ok(Some(found)),
                _ => Err(session_ended()),
            },
        }
    }
}
