//! An engine in memory for tests, with the faults of a real one and a clock of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::engine::{
    Answer, Compare, Condition, Engine, EngineError, Entry, News, Outcome, Page, Renewed,
    SessionId, Step, Watch,
};
use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// Fault of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not done, and the caller knows.
    Away,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done, and the caller does not know.
    RequestLost,
    /// It is a commit that is done by [`Memory::deliver`], and the caller does not know.
    Late,
    Denied,
}

/// One engine; clones are the connections of several hosts to it.
#[derive(Debug, Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    clock: Clock,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Clone, Default)]
struct State {
    revision: u64,
    last_session: u64,
    entries: BTreeMap<String, Kept>,
    sessions: BTreeMap<u64, (Duration, BootTime)>,
    /// Troubles of the next operations.
    troubles: VecDeque<Trouble>,
    is_away: bool,
    /// Whether the answer of the next commit is lost.
    loses_answer: bool,
    /// Commits on their way.
    late: Vec<(Vec<Compare>, Vec<Step>)>,
    /// Watches from an earlier revision are behind.
    compacted: u64,
    /// Commits so far, each with the number of its steps.
    commits: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    session: Option<u64>,
}

impl Kept {
    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            value: self.value.clone(),
            created: self.created,
            modified: self.modified,
        }
    }
}

/// Everything that an engine had at one moment.
#[derive(Debug, Clone)]
pub struct Copy(State);

impl Memory {
    /// Returns an empty engine, whose sessions end by this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            state: Arc::default(),
            clock,
            changes: watch::channel(0).0,
        }
    }

    /// Has the next operations fail so, in this order.
    pub fn trouble(&self, troubles: &[Trouble]) {
        self.lock().troubles.extend(troubles);
    }

    /// Has the next commit be done without an answer.
    pub fn lose_answer_of_next_commit(&self) {
        self.lock().loses_answer = true;
    }

    /// Does the commits that are on their way, and returns their outcomes.
    pub fn deliver(&self) -> Vec<Answer<Outcome>> {
        let mut state = self.lock();
        let late = std::mem::take(&mut state.late).into_iter();
        late.map(|(compare, steps)| commit(&mut state, &compare, &steps))
            .collect()
    }

    /// Takes the engine away, or brings it back.
    pub fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// Ends all sessions, as their time does.
    pub fn end_sessions(&self) {
        self.clock.advance(Duration::from_hours(24));
    }

    /// Ends the session of a host that was opened as so many before it, if it lives.
    pub fn end_one(&self, id: u64) {
        let mut state = self.lock();
        let is_host =
            |(key, kept): (&String, &Kept)| kept.session == Some(id) && key.contains("/session/");
        if state.entries.iter().any(is_host) {
            end(&mut state, id);
        }
    }

    /// Gives every session its whole time again, as a new leader does.
    pub fn fail_over(&self) {
        let now = self.clock.boot();
        for (ttl, deadline) in self.lock().sessions.values_mut() {
            *deadline = now.after(*ttl);
        }
    }

    pub fn copy(&self) -> Copy {
        Copy(self.lock().clone())
    }

    /// Restores a copy: everything since is lost.
    pub fn restore(&self, copy: Copy) {
        *self.lock() = copy.0;
    }

    /// Forgets the history of changes.
    pub fn compact(&self) {
        let mut state = self.lock();
        state.compacted = state.revision;
    }

    /// Keys with their values.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let state = self.lock();
        let entries = state.entries.iter();
        entries
            .map(|(key, kept)| {
                (
                    key.clone(),
                    String::from_utf8_lossy(&kept.value).into_owned(),
                )
            })
            .collect()
    }

    /// Puts a key as any other program might.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        let mut state = self.lock();
        state.revision += 1;
        put(&mut state, key, value.as_ref(), None);
    }

    /// Deletes a key as an operator might.
    pub fn delete(&self, key: &str) {
        let mut state = self.lock();
        state.revision += 1;
        state.entries.remove(key);
    }

    /// Number of steps of each commit so far.
    pub fn commits(&self) -> Vec<usize> {
        self.lock().commits.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.boot();
        let ended: Vec<u64> = state
            .sessions
            .iter()
            .filter(|(_, (_, deadline))| *deadline < now)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            end(&mut state, id);
        }
        state
    }

    /// Does an operation, with the trouble that is due.
    fn act<T>(&self, act: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        let mut state = self.lock();
        let trouble = state.troubles.pop_front();
        if state.is_away || trouble == Some(Trouble::Away) {
            return Err(EngineError::Away("refused".into()));
        }
        match trouble {
            Some(Trouble::RequestLost) => return Err(EngineError::Unknown("time-out".into())),
            Some(Trouble::Denied) => return Err(EngineError::Denied("permission denied".into())),
            _ => {}
        }
        let done = act(&mut state);
        self.changes.send_replace(state.revision);
        if trouble == Some(Trouble::AnswerLost) {
            return Err(EngineError::Unknown("time-out".into()));
        }
        done
    }
}

fn end(state: &mut State, id: u64) {
    if state.sessions.remove(&id).is_some() {
        state.revision += 1;
        state.entries.retain(|_, kept| kept.session != Some(id));
    }
}

fn put(state: &mut State, key: &str, value: &[u8], session: Option<u64>) {
    let created = state
        .entries
        .get(key)
        .map_or(state.revision, |kept| kept.created);
    let kept = Kept {
        value: value.to_owned(),
        created,
        modified: state.revision,
        session,
    };
    state.entries.insert(key.to_owned(), kept);
}

fn commit(state: &mut State, compare: &[Compare], steps: &[Step]) -> Answer<Outcome> {
    state.commits.push(steps.len());
    let holds = compare.iter().all(|compare| {
        let kept = state.entries.get(&compare.key);
        match compare.is {
            Condition::Absent => kept.is_none(),
            Condition::Present => kept.is_some(),
            Condition::Revision(revision) => kept.is_some_and(|kept| kept.modified == revision),
        }
    });
    if !holds {
        let keys = compare.iter().map(|compare| &compare.key);
        let found = keys.map(|key| Some(state.entries.get(key)?.entry(key)));
        return Ok(Outcome::Refused {
            revision: state.revision,
            found: found.collect(),
        });
    }
    if !steps.is_empty() {
        state.revision += 1;
    }
    for step in steps {
        match step {
            Step::Put {
                key,
                value,
                session,
            } => {
                if session.is_some_and(|id| !state.sessions.contains_key(&id.0)) {
                    return Err(EngineError::Fault("no such session".into()));
                }
                put(state, key, value, session.map(|id| id.0));
            }
            Step::Delete { key } => drop(state.entries.remove(key)),
        }
    }
    let revision = state.revision;
    Ok(Outcome::Done { revision })
}

impl Engine for Memory {
    type Watch = Changes;

    async fn session(&self, ttl: Duration) -> Answer<SessionId> {
        let deadline = self.clock.boot().after(ttl);
        self.act(|state| {
            state.last_session += 1;
            let id = state.last_session;
            state.sessions.insert(id, (ttl, deadline));
            Ok(SessionId(id))
        })
    }

    async fn renew(&self, id: SessionId) -> Answer<Renewed> {
        let now = self.clock.boot();
        self.act(|state| {
            let revision = state.revision;
            let Some((ttl, deadline)) = state.sessions.get_mut(&id.0) else {
                return Ok(Renewed::Gone);
            };
            *deadline = now.after(*ttl);
            Ok(Renewed::Alive { revision })
        })
    }

    async fn end(&self, id: SessionId) -> Answer<()> {
        self.act(|state| {
            end(state, id.0);
            Ok(())
        })
    }

    async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        let mut state = self.lock();
        if state.troubles.front() == Some(&Trouble::Late) {
            state.troubles.pop_front();
            state.late.push((compare, steps));
            return Err(EngineError::Unknown("time-out".into()));
        }
        drop(state);
        self.act(|state| {
            let done = commit(state, &compare, &steps);
            if std::mem::take(&mut state.loses_answer) {
                return Err(EngineError::Unknown("time-out".into()));
            }
            done
        })
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.act(|state| {
            let found = state.entries.iter().filter(|(key, _)| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            });
            let mut entries: Vec<Entry> = found.map(|(key, kept)| kept.entry(key)).collect();
            let total = entries.len();
            let more = total > limit;
            entries.truncate(limit);
            Ok(Page {
                entries,
                revision: state.revision,
                more,
                total,
            })
        })
    }

    async fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        let mut page = self.list(prefix, after, limit).await?;
        page.entries
            .iter_mut()
            .for_each(|entry| entry.value.clear());
        Ok(page)
    }

    async fn watch(&self, _: &str, from: u64) -> Answer<Changes> {
        let mut changes = self.changes.subscribe();
        self.act(|state| {
            let is_behind = from <= state.compacted;
            if from <= state.revision {
                changes.mark_changed();
            } else {
                changes.mark_unchanged();
            }
            Ok(Changes { changes, is_behind })
        })
    }
}

/// Changes of any key: news of another prefix do no harm.
#[derive(Debug)]
pub struct Changes {
    changes: watch::Receiver<u64>,
    is_behind: bool,
}

impl Watch for Changes {
    async fn next(&mut self) -> Answer<News> {
        if self.is_behind {
            return Ok(News::Behind);
        }
        let changed = self.changes.changed().await;
        changed.map_err(|_| EngineError::Away("the engine is gone".into()))?;
        let revision = *self.changes.borrow_and_update();
        Ok(News::Changed { revision })
    }
}
