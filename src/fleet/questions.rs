//! Questions at the desk: one read answers all that ask at the same time, and the last answers are kept
//! for the time that the engine is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::engine::{Answer, Engine, EngineError};
use super::follow::{Follower, follow};
use super::key::Keys;
use super::reader::Reader;
use crate::domain::fleet::{FleetName, FleetView, HostName, Question, Told};
use crate::domain::lease::{BootTime, Name};
use crate::engine::fleet::{FleetRequest, FleetSilence};
use crate::host::clock::Clock;

/// Age up to which an answer is given again without a question to the engine.
const STILL_NEW: Duration = Duration::from_millis(500);

/// Limit on the reads of one answer together. Each call has a second at one address: two that hang do not keep a
/// third from its answer, and that all hang is known before each of several reads has tried every one.
const LIMIT: Duration = Duration::from_millis(2_500);

/// Number of answers that are kept; the oldest goes first.
const KEPT: usize = 64;

/// An answer with the time at which it was read.
#[derive(Debug, Clone)]
struct Kept {
    view: Arc<FleetView>,
    at: BootTime,
}

type Reply = oneshot::Sender<Result<Told, FleetSilence>>;

/// A read that is done.
pub(super) type Done = (Question, Answer<FleetView>);

/// The questions of this host.
pub(super) struct Questions<E: Engine> {
    reader: Reader<E>,
    clock: Clock,
    kept: BTreeMap<Question, Kept>,
    waiting: BTreeMap<Question, Vec<Reply>>,
    reads: JoinSet<Done>,
    followers: BTreeMap<Question, Follower>,
    own: mpsc::Sender<FleetRequest>,
    /// Published leases of this host at the latest moment without an engine.
    own_names: Vec<FleetName>,
}

impl<E: Engine> Questions<E> {
    pub(super) fn new(
        engine: E,
        keys: Keys,
        host: HostName,
        clock: Clock,
        own: mpsc::Sender<FleetRequest>,
    ) -> Self {
        Self {
            reader: Reader {
                engine,
                keys,
                own: host,
            },
            clock,
            kept: BTreeMap::new(),
            waiting: BTreeMap::new(),
            reads: JoinSet::new(),
            followers: BTreeMap::new(),
            own,
            own_names: Vec::new(),
        }
    }

    /// Sets the published leases of this host, which are told even while the engine is away.
    pub(super) fn set_own_names(&mut self, names: Vec<FleetName>) {
        self.own_names = names;
    }

    /// Takes a request. `silence` is the reason not to ask the engine, if there is one.
    pub(super) fn take(&mut self, request: FleetRequest, silence: Option<FleetSilence>) {
        match request {
            FleetRequest::Ask { question, reply } => self.ask(question, reply, silence),
            FleetRequest::Follow { question, reply } => {
                // An asker that has gone leaves its follower without a listener, which ends it.
                let _ = reply.send(self.follow(question));
            }
            FleetRequest::Unfollow { question } => self.unfollow(&question),
            FleetRequest::Keep { question, view } => self.keep(question, view),
            // The session loop answers these itself.
            FleetRequest::Leave { .. }
            | FleetRequest::Evict { .. }
            | FleetRequest::EvictUnreadable { .. }
            | FleetRequest::Reserve { .. }
            | FleetRequest::Release { .. } => {}
        }
    }

    /// Waits for the next read to end; for ever if there is none.
    pub(super) async fn read(&mut self) -> Done {
        loop {
            match self.reads.join_next().await {
                Some(Ok(done)) => return done,
                // A read that panicked answers no question; its askers are told by the drop.
                Some(Err(_)) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Answers all that asked this. `true` if the engine seems to be away.
    pub(super) fn answer(&mut self, (question, read): Done, why: &str) -> bool {
        let replies = self.waiting.remove(&question).unwrap_or_default();
        let (silence, seems_away) = match read {
            Ok(view) => {
                self.keep(question.clone(), Arc::new(view));
                (None, false)
            }
            Err(error) => {
                let why = if why.is_empty() {
                    error.to_string()
                } else {
                    why.to_owned()
                };
                (Some(FleetSilence::Away(why)), error.may_pass())
            }
        };
        for reply in replies {
            let _ = reply.send(self.known(&question, silence.clone()));
        }
        seems_away
    }

    fn ask(&mut self, question: Question, reply: Reply, silence: Option<FleetSilence>) {
        // A user who has just claimed, released or reserved a number asks what became of it.
        let may_be_old = !matches!(question, Question::Everywhere | Question::Claims);
        let is_new = self
            .kept
            .get(&question)
            .is_some_and(|kept| may_be_old && self.age(kept) < STILL_NEW);
        if silence.is_some() || is_new {
            let _ = reply.send(self.known(&question, silence));
            return;
        }
        let waiting = self.waiting.entry(question.clone()).or_default();
        waiting.push(reply);
        if waiting.len() == 1 {
            let reader = self.reader.clone();
            self.reads.spawn(async move {
                let read = tokio::time::timeout(LIMIT, reader.read(&question)).await;
                let silent = || EngineError::Unknown("nothing came within two seconds".into());
                (question, read.unwrap_or_else(|_| Err(silent())))
            });
        }
    }

    /// The last known answer; the silence if there is none.
    fn known(
        &self,
        question: &Question,
        silence: Option<FleetSilence>,
    ) -> Result<Told, FleetSilence> {
        let is_fresh = silence.is_none();
        match (self.kept.get(question), silence) {
            (_, Some(FleetSilence::Off)) => Err(FleetSilence::Off),
            (Some(kept), _) => Ok(Told {
                view: match question {
                    Question::Names(name) if !is_fresh => {
                        Arc::new(self.with_own(&kept.view, name.as_ref()))
                    }
                    _ => Arc::clone(&kept.view),
                },
                is_fresh,
                age: self.age(kept),
            }),
            (None, silence) => Err(silence.unwrap_or(FleetSilence::Off)),
        }
    }

    /// A list of an earlier time with the leases that this host publishes now.
    fn with_own(&self, view: &FleetView, wanted: Option<&Name>) -> FleetView {
        let is_wanted = |one: &&FleetName| wanted.is_none_or(|name| one.name == name.as_str());
        let others = view.names.iter().filter(|one| !one.own);
        let own = self.own_names.iter().filter(is_wanted);
        let mut names: Vec<FleetName> = others.chain(own).cloned().collect();
        names.sort_by(|one, other| {
            let place = |it: &FleetName| (it.name.clone(), it.host.clone(), it.lease.clone());
            place(one).cmp(&place(other))
        });
        FleetView {
            names,
            ..view.clone()
        }
    }

    fn age(&self, kept: &Kept) -> Duration {
        self.clock.boot().since(kept.at)
    }

    fn keep(&mut self, question: Question, view: Arc<FleetView>) {
        let kept = Kept {
            view,
            at: self.clock.boot(),
        };
        self.kept.insert(question, kept);
        if self.kept.len() > KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.at);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.kept.remove(&oldest);
            }
        }
    }

    fn follow(&mut self, question: Question) -> watch::Receiver<Option<Told>> {
        if let Some(follower) = self.followers.get(&question) {
            return follower.listen();
        }
        let reader = self.reader.clone();
        let (follower, told) = follow(reader, question.clone(), self.own.clone());
        self.followers.insert(question, follower);
        told
    }

    fn unfollow(&mut self, question: &Question) {
        let has_ended = self
            .followers
            .get(question)
            .is_some_and(Follower::has_no_listener);
        if has_ended {
            self.followers.remove(question);
        }
    }
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
