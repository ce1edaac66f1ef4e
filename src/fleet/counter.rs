//! The counter for claims. Requests come here from all threads of the service. Those that come at once share
//! one commit.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use super::claim::{ClaimError, Claimant, Intent, MOST_NUMBERS, Unclaimed};
use super::claiming::Open;
use super::engine::Engine;
use super::gathering::Gathering;
use super::ground::Ground;
use super::host_ground::HostGround;
use super::view;
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::engine::claims::{ClaimBook, ClaimTicket};
use crate::engine::fleet::{ClaimFailure, ClaimRequest, WantedNumber};
use crate::store::StoreError;

/// Where this host stands in the fleet, as far as claims go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The first try to open or renew the session has not ended. Requests wait for its end, which the
    /// limit on calls to the engine bounds.
    Joining,
    /// Numbers are claimed in this session.
    In(Open),
    /// No number can be claimed.
    Out,
}

/// The counter, which answers beside the session loop.
pub(super) struct Counter<E> {
    pub(super) claimant: Claimant<E, HostGround>,
    /// Session in which numbers are claimed.
    pub(super) session: watch::Receiver<Standing>,
    /// Told by a refused claim: this host looks at its own.
    pub(super) refused: Arc<Notify>,
    /// Told by a claim without an answer: the session loop finds out whether the engine is away.
    pub(super) failed: Arc<Notify>,
    /// Told by a claim that one under the name of this host is in the way of.
    pub(super) strayed: Arc<Notify>,
}

/// A request whose claims are in the book.
struct Entered {
    request: ClaimRequest,
    intents: Vec<Intent>,
}

impl<E: Engine> Counter<E> {
    /// Answers requests until the desk is dropped.
    pub(super) async fn serve(self, requests: mpsc::Receiver<ClaimRequest>) {
        let counter = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut requests = Gathering::new(requests);
        // What comes while a commit is under way is gathered for the next one.
        let commits = Arc::new(Semaphore::new(1));
        while let Ok(permit) = Arc::clone(&commits).acquire_owned().await {
            let gathered = requests.next().await;
            if gathered.is_empty() {
                return;
            }
            while tasks.try_join_next().is_some() {}
            let Some(standing) = counter.standing().await else {
                return;
            };
            let Standing::In(Open { session, .. }) = standing else {
                let why = "this host has no session there at this moment";
                for request in gathered {
                    answer(request, Err(ClaimFailure::Away(why.to_owned())));
                }
                continue;
            };
            let mut permit = Some(permit);
            for group in groups(counter.enter(gathered, &session)) {
                let (counter, session) = (Arc::clone(&counter), session.clone());
                let permit = permit.take();
                tasks.spawn(async move { counter.claim_all(&session, group, permit).await });
            }
        }
    }

    /// Waits until it is known where this host stands. `None` once the session loop has ended.
    async fn standing(&self) -> Option<Standing> {
        let mut session = self.session.clone();
        let known = session.wait_for(|standing| *standing != Standing::Joining);
        known.await.ok().map(|standing| standing.clone())
    }

    /// Enters requests in the book. One for a number that is there already is refused.
    fn enter(&self, requests: Vec<ClaimRequest>, session: &str) -> Vec<Entered> {
        let mut all = Vec::new();
        for request in requests {
            let wanted = request.numbers.iter();
            let intents: Vec<Intent> = wanted.map(|one| self.intent(one, session)).collect();
            let (book, now) = (self.book(), self.claimant.ground.now());
            match book.enter(&claims(&intents), now) {
                Ok(()) => all.push(Entered { request, intents }),
                Err(number) => {
                    let own = self.claimant.host.to_string();
                    answer(request, Err(ClaimFailure::Taken(vec![(number, own)])));
                }
            }
        }
        all
    }

    fn intent(&self, wanted: &WantedNumber, session: &str) -> Intent {
        let ground = &self.claimant.ground;
        let mut claim = Claim {
            number: wanted.number,
            lease: wanted.lease,
            nonce: ground.service.fleet_id(),
            session: session.to_owned(),
            stage: ClaimStage::Asked,
            revision: 0,
            token: 0,
            reclaim_s: 0,
            is_doubtful: true,
        };
        claim.reclaim_s = ground.reclaim_s(&claim);
        Intent {
            claim,
            pool: wanted.pool.to_string(),
            name: ground.told_name(wanted.name.as_ref()),
        }
    }

    /// Puts claims on the disk that the engine may have: they take longer now, and a crash is to leave none.
    async fn record(&self, intents: &[Intent]) -> Result<(), StoreError> {
        let store = self.claimant.ground.service.store();
        store.put_claims(&claims(intents)).await
    }

    /// Claims for requests in one commit, or for each alone if that is not done. The permit is given back
    /// after the first try.
    async fn claim_all(
        &self,
        session: &str,
        all: Vec<Entered>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let intents: Vec<Intent> = all.iter().flat_map(|one| one.intents.clone()).collect();
        let spans: Vec<Span> = all.iter().map(|one| one.request.span.clone()).collect();
        let asked = self.claimant.ask_together(session, &intents, &spans).await;
        drop(permit);
        let taken_up = match asked {
            Ok(revision) => self.claimant.take_up(session, &intents, revision).await,
            Err(unclaimed) => Err(unclaimed),
        };
        match taken_up {
            Ok(held) => self.answer_all(all, held),
            Err(unclaimed) => {
                if unclaimed.may_be_done
                    && let Err(error) = self.record(&intents).await
                {
                    return self.refuse_all(all, &error).await;
                }
                let each = all
                    .into_iter()
                    .map(|one| self.claim_alone(session, one, &unclaimed));
                futures_util::future::join_all(each).await;
            }
        }
    }

    /// Tries one request again, unless another host has one of its numbers, or that would be in vain.
    async fn claim_alone(&self, session: &str, one: Entered, before: &Unclaimed) {
        let is_own = |number: Number| one.intents.iter().any(|own| own.claim.number == number);
        let taken = before.taken.iter().filter(|(number, _)| is_own(*number));
        let taken: Vec<(Number, String)> = taken.cloned().collect();
        let failure = match &before.failure {
            Some(why) => {
                self.failed.notify_one();
                ClaimFailure::Away(why.clone())
            }
            None if taken.is_empty() => {
                return self.claim(session, one, before.may_be_done).await;
            }
            None => {
                self.note_taken(&taken).await;
                ClaimFailure::Taken(taken)
            }
        };
        self.claimant
            .give_up(&one.intents, before.may_be_done)
            .await;
        answer(one.request, Err(failure));
    }

    /// Refuses requests that the record does not take. The engine may have their claims: they are withdrawn.
    async fn refuse_all(&self, all: Vec<Entered>, error: &StoreError) {
        for Entered { request, intents } in all {
            self.claimant.give_up(&intents, true).await;
            answer(request, Err(ClaimFailure::Unrecorded(error.clone())));
        }
    }

    fn answer_all(&self, all: Vec<Entered>, held: Vec<Claim>) {
        let mut held = held.into_iter();
        for Entered { request, intents } in all {
            let own: Vec<Claim> = held.by_ref().take(intents.len()).collect();
            answer(request, Ok(self.tickets(&own)));
        }
    }

    async fn claim(&self, session: &str, entered: Entered, is_doubtful: bool) {
        let Entered { request, intents } = entered;
        let span = request.span.clone();
        let claiming = self
            .claimant
            .claim(session, &intents, request.until, is_doubtful);
        let done = claiming.instrument(span).await;
        let done = match done {
            Ok(held) => Ok(self.tickets(&held)),
            Err(ClaimError::Taken(taken)) => {
                self.note_taken(&taken).await;
                Err(ClaimFailure::Taken(taken))
            }
            Err(ClaimError::Away(why)) => {
                self.failed.notify_one();
                Err(ClaimFailure::Away(why))
            }
        };
        answer(request, done);
    }

    fn tickets(&self, held: &[Claim]) -> Vec<ClaimTicket> {
        let clock = self.claimant.ground.service.clock();
        let ticket = |claim| ClaimTicket::of(claim, Arc::clone(self.book()), clock.clone());
        held.iter().map(ticket).collect()
    }

    /// Reads which numbers are claimed, so that the next search leaves them out, and has this host look at
    /// its own claims.
    async fn note_taken(&self, taken: &[(Number, String)]) {
        self.refused.notify_one();
        let Claimant {
            engine, keys, host, ..
        } = &self.claimant;
        if taken.iter().any(|(_, by)| by == host.as_str()) {
            self.strayed.notify_one();
        }
        let now = self.claimant.ground.now();
        match view::claimed(engine, keys).await {
            Ok(others) => self.book().note_others(others, true, now),
            // What is known is enough to go on with.
            Err(_) => self.book().note_others(taken.to_vec(), false, now),
        }
    }

    fn book(&self) -> &Arc<ClaimBook> {
        self.claimant.ground.service.fleet().claims()
    }
}

/// Requests in groups whose numbers fit into one commit.
fn groups(entered: Vec<Entered>) -> Vec<Vec<Entered>> {
    let mut groups: Vec<Vec<Entered>> = Vec::new();
    let mut numbers = 0;
    for one in entered {
        numbers += one.intents.len();
        match groups.last_mut() {
            Some(group) if numbers <= MOST_NUMBERS => group.push(one),
            _ => {
                numbers = one.intents.len();
                groups.push(vec![one]);
            }
        }
    }
    groups
}

fn claims(intents: &[Intent]) -> Vec<Claim> {
    intents.iter().map(|intent| intent.claim.clone()).collect()
}

fn answer(request: ClaimRequest, done: Result<Vec<ClaimTicket>, ClaimFailure>) {
    // A request that has gone drops its tickets, and so its claims.
    drop(request.reply.send(done));
}
