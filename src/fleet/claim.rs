//! The rules of claims: how a number comes to one host of the fleet, stays with it, and is given back.
//!
//! A claim is one key, and its nonce says whose it is. Three rules keep two hosts from one number:
//!
//! * **In the book first, on record with its lease.** A claim is in the book before its commit is sent. It goes
//!   on record in the commit of its lease, before the request is answered. One that a crash leaves between has
//!   no lease, and is found as a stray ([`super::stray`]).
//! * **Nothing is taken up from a read.** A claim that is found under its own nonce is swapped: the commit
//!   compares the revision that was read. A listing may be older than a release.
//! * **Shut first, withdraw second.** A claim is deleted only once its lease has ended on this host.
//!
//! A commit without an answer may be done, or be done late. A late one can harm in no way: it compares its
//! number as absent and its session as present, so it makes a claim without a lease at worst, and the claim
//! stays in the book for [`DOUBT`] to be found and withdrawn.

use std::time::Duration;

use tracing::Span;

use super::engine::{Answer, Compare, Engine, EngineError, Entry, MOST_STEPS, Outcome, Step};
use super::ground::Ground;
use super::holding;
use super::key::Keys;
use super::telling::measured;
use super::value::{self, ClaimValue};
use crate::domain::claim::{Claim, ClaimStage, Number, UNREADABLE, guard};
use crate::domain::fleet::HostName;
use crate::domain::lease::BootTime;

/// Number of conditions of a claim beside its numbers: the session, and the hold.
const OTHERS: usize = 2;

/// Maximum number of numbers that are claimed at once.
pub const MOST_NUMBERS: usize = MOST_STEPS - OTHERS;

/// Reason for which nothing can be claimed.
const SESSION_ENDED: &str = "the session of this host has ended";

/// Time for which a commit without an answer may still be done. A connection that is silent is closed
/// within 12 seconds, and etcd gives a proposal up after 7.
pub const DOUBT: Duration = Duration::from_mins(2);

/// Time after which a commit that a killed process had sent is done, or is done never.
pub const LATE: Duration = Duration::from_secs(20);

/// A claim that was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimError {
    /// Other hosts have these numbers.
    Taken(Vec<(Number, String)>),
    /// The engine does not answer, or refuses.
    Away(String),
}

/// A commit of several requests that was not done, or is not known to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unclaimed {
    /// Numbers that other hosts have; none if that was not the reason.
    pub taken: Vec<(Number, String)>,
    /// Whether the engine may have the claims.
    pub may_be_done: bool,
    /// Failure that another try would not help against.
    pub failure: Option<String>,
}

/// A number that is to be claimed, with what others are told of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub claim: Claim,
    pub pool: String,
    pub name: Option<String>,
}

/// The claims of one host.
#[derive(Debug, Clone)]
pub struct Claimant<E, G> {
    pub engine: E,
    pub keys: Keys,
    pub host: HostName,
    pub ground: G,
}

/// A refused claim as it was found.
enum Found {
    /// An earlier try was done.
    Own(Vec<Entry>),
    Others(Vec<(Number, String)>),
    /// No number is taken; this is in the way.
    Barred(String),
}

impl<E: Engine, G: Ground> Claimant<E, G> {
    /// Claims numbers that are in the book, until `until`. What is claimed stays in hand; what is not is
    /// left to [`Self::tend`], or forgotten if no commit can have been done: `is_doubtful` says that an
    /// earlier one can.
    pub async fn claim(
        &self,
        session: &str,
        intents: &[Intent],
        until: BootTime,
        mut is_doubtful: bool,
    ) -> Result<Vec<Claim>, ClaimError> {
        let mut is_held = false;
        let error = loop {
            match self.attempt(session, intents, &mut is_doubtful).await {
                Ok(Some(held)) => {
                    is_held = true;
                    self.ground.remember(&held);
                    match self.ground.permit(&held).await {
                        Ok(()) => return Ok(held),
                        // The claims have no lease, and so they are given back.
                        Err(error) => break ClaimError::Away(error.to_string()),
                    }
                }
                // An answer is missing: the next try finds what was done.
                Ok(None) if self.ground.now() < until => self.ground.pause().await,
                Ok(None) => {
                    break ClaimError::Away("etcd gave no answer in time".to_owned());
                }
                Err(error) => break error,
            }
        };
        self.give_up(intents, is_doubtful || is_held).await;
        Err(error)
    }

    /// Lets go of what was not granted. `may_be_there`: the engine may have it.
    pub async fn give_up(&self, intents: &[Intent], may_be_there: bool) {
        let claims: Vec<Claim> = intents.iter().map(|intent| intent.claim.clone()).collect();
        if !may_be_there {
            self.ground.forget(&claims).await;
        }
        self.ground.let_go(&claims);
    }

    /// Claims the numbers of requests that came at once in one commit, with a span below each of theirs.
    pub async fn ask_together(
        &self,
        session: &str,
        intents: &[Intent],
        spans: &[Span],
    ) -> Result<u64, Unclaimed> {
        let (compare, steps) = self.ask(session, intents);
        match self.commit_below(spans, compare, steps).await {
            Ok(Outcome::Done { revision }) => Ok(revision),
            Ok(Outcome::Refused { found, .. }) => Err(Unclaimed {
                taken: match self.judge(intents, found) {
                    Found::Others(taken) => taken,
                    _ => Vec::new(),
                },
                ..Unclaimed::default()
            }),
            Err(error) => Err(Unclaimed {
                may_be_done: matches!(error, EngineError::Unknown(_) | EngineError::Fault(_)),
                failure: match error {
                    EngineError::Unknown(_) => None,
                    error => Some(error.to_string()),
                },
                ..Unclaimed::default()
            }),
        }
    }

    /// Takes up what a commit of several requests has claimed. `Err` if the numbers stay shut: each request is
    /// to be tried alone then.
    pub async fn take_up(
        &self,
        session: &str,
        intents: &[Intent],
        revision: u64,
    ) -> Result<Vec<Claim>, Unclaimed> {
        let held = |one: &Intent| held(&one.claim, session, (revision, revision), false);
        let held: Vec<Claim> = intents.iter().map(held).collect();
        self.ground.remember(&held);
        let permitted = self.ground.permit(&held).await;
        permitted.map(|()| held).map_err(|_| Unclaimed {
            may_be_done: true,
            ..Unclaimed::default()
        })
    }

    /// The commit that claims numbers.
    fn ask(&self, session: &str, intents: &[Intent]) -> (Vec<Compare>, Vec<Step>) {
        let absent = |intent: &Intent| Compare::absent(self.key(intent));
        let mut compare: Vec<Compare> = intents.iter().map(absent).collect();
        compare.push(Compare::present(self.keys.session(&self.host, session)));
        compare.push(Compare::absent(self.keys.hold()));
        (compare, self.puts(session, intents))
    }

    /// Tries once. `None` if an answer is missing.
    async fn attempt(
        &self,
        session: &str,
        intents: &[Intent],
        is_doubtful: &mut bool,
    ) -> Result<Option<Vec<Claim>>, ClaimError> {
        let (compare, steps) = self.ask(session, intents);
        match self.commit(compare, steps).await {
            Ok(Outcome::Done { revision }) => {
                let doubt = *is_doubtful;
                let held = |one: &Intent| held(&one.claim, session, (revision, revision), doubt);
                Ok(Some(intents.iter().map(held).collect()))
            }
            Ok(Outcome::Refused { found, .. }) => match self.judge(intents, found) {
                Found::Own(entries) => self.swap(session, intents, &entries, is_doubtful).await,
                Found::Others(taken) => Err(ClaimError::Taken(taken)),
                Found::Barred(why) => Err(ClaimError::Away(why)),
            },
            Err(error) => unanswered(&error, is_doubtful),
        }
    }

    /// Takes up claims that an earlier try made.
    async fn swap(
        &self,
        session: &str,
        intents: &[Intent],
        entries: &[Entry],
        is_doubtful: &mut bool,
    ) -> Result<Option<Vec<Claim>>, ClaimError> {
        // Whatever comes of the swap, the engine has them.
        *is_doubtful = true;
        let mut compare: Vec<Compare> = entries
            .iter()
            .map(|entry| Compare::unchanged(entry.key.clone(), entry.modified))
            .collect();
        compare.push(Compare::present(self.keys.session(&self.host, session)));
        match self.commit(compare, self.puts(session, intents)).await {
            Ok(Outcome::Done { revision }) => {
                let held = |(one, entry): (&Intent, &Entry)| {
                    held(&one.claim, session, (revision, entry.created), true)
                };
                Ok(Some(intents.iter().zip(entries).map(held).collect()))
            }
            Ok(Outcome::Refused { found, .. }) => match found.last() {
                Some(Some(_)) => Ok(None),
                _ => Err(ClaimError::Away(SESSION_ENDED.to_owned())),
            },
            Err(error) => unanswered(&error, is_doubtful),
        }
    }

    /// Sends a commit, with its span and its measure.
    pub(super) async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        self.commit_below(&[Span::current()], compare, steps).await
    }

    async fn commit_below(
        &self,
        spans: &[Span],
        compare: Vec<Compare>,
        steps: Vec<Step>,
    ) -> Answer<Outcome> {
        let count = steps.len();
        let sending = self.engine.commit(compare, steps);
        let (sent, word, took) = measured(count, spans, sending).await;
        self.ground.committed(word, took);
        sent
    }

    fn judge(&self, intents: &[Intent], found: Vec<Option<Entry>>) -> Found {
        let count = intents.len();
        let has_session = found.get(count).is_some_and(Option::is_some);
        let hold = found.get(count + 1).cloned().flatten();
        let mut own = Vec::new();
        let mut others = Vec::new();
        for (intent, entry) in intents.iter().zip(found) {
            match entry {
                Some(entry) if self.is_own(&intent.claim, &entry) => own.push(entry),
                Some(entry) => others.push((intent.claim.number, holder(&entry))),
                None => {}
            }
        }
        match (others.is_empty(), own.len() == count, has_session) {
            (false, ..) => Found::Others(others),
            (true, true, _) => Found::Own(own),
            (true, false, false) => Found::Barred(SESSION_ENDED.to_owned()),
            (true, false, true) => {
                let why = hold.map_or_else(
                    || "the claims have changed meanwhile; ask again".to_owned(),
                    |hold| holding::told(&self.keys, &hold),
                );
                self.ground.held_up(&why);
                Found::Barred(why)
            }
        }
    }

    pub(super) fn is_own(&self, claim: &Claim, entry: &Entry) -> bool {
        let value = value::claim_value(entry);
        value.is_some_and(|value| value.host == self.host.as_str() && value.nonce == claim.nonce)
    }

    pub(super) fn key(&self, intent: &Intent) -> String {
        self.keys.claim(intent.claim.number)
    }

    pub(super) fn puts(&self, session: &str, intents: &[Intent]) -> Vec<Step> {
        let puts = intents.iter().map(|intent| Step::Put {
            key: self.key(intent),
            value: self.value(session, intent).into(),
            session: None,
        });
        puts.collect()
    }

    fn value(&self, session: &str, intent: &Intent) -> String {
        let value = ClaimValue {
            host: self.host.to_string(),
            session: session.to_owned(),
            pool: intent.pool.clone(),
            name: intent.name.clone(),
            lease: intent.claim.lease.to_string(),
            nonce: intent.claim.nonce.clone(),
            fence: guard(intent.claim.reclaim_s > 0).to_owned(),
            reclaim_s: intent.claim.reclaim_s,
            state: ClaimStage::Held.as_str().to_owned(),
        };
        // Plain values: this cannot fail.
        serde_json::to_string(&value).unwrap_or_default()
    }
}

/// The result of a try that failed. `None` if its answer is missing.
fn unanswered(
    error: &EngineError,
    is_doubtful: &mut bool,
) -> Result<Option<Vec<Claim>>, ClaimError> {
    if let EngineError::Unknown(_) = error {
        *is_doubtful = true;
        return Ok(None);
    }
    *is_doubtful |= matches!(error, EngineError::Fault(_));
    Err(ClaimError::Away(error.to_string()))
}

/// A claim as the engine has it, with its revision and token.
pub(super) fn held(
    claim: &Claim,
    session: &str,
    (revision, token): (u64, u64),
    is_doubtful: bool,
) -> Claim {
    Claim {
        session: session.to_owned(),
        stage: ClaimStage::Held,
        revision,
        token,
        is_doubtful,
        ..claim.clone()
    }
}

/// Host of a claim, in words.
pub fn holder(entry: &Entry) -> String {
    value::holder(entry).unwrap_or_else(|| UNREADABLE.to_owned())
}
