//! An engine whose answers and requests are lost or late, for hosts that can stop at every step.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::engine::{
    Answer, Compare, Engine, EngineError, Outcome, Page, Renewed, SessionId, Step,
};
use super::memory::{Changes, Memory};
use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// Time for which a commit may be late, on the engine's clock.
const LATE: Duration = Duration::from_mins(1);

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A point at which a host can stop: the first poll waits.
#[derive(Default)]
pub struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

pub fn pause() -> Pause {
    Pause::default()
}

pub fn poll_once<T>(doing: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match doing.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A commit on its way.
pub struct Late {
    compare: Vec<Compare>,
    steps: Vec<Step>,
    until: BootTime,
}

/// Connection of a host to the engine.
#[derive(Clone)]
pub struct Shaky {
    pub memory: Memory,
    pub clock: Clock,
    pub rng: Arc<Mutex<fastrand::Rng>>,
    pub late: Arc<Mutex<VecDeque<Late>>>,
    /// Whether faults happen.
    pub has_faults: Arc<Mutex<bool>>,
}

enum Fate {
    Done,
    Away,
    RequestLost,
    AnswerLost,
    Late,
}

impl Shaky {
    /// A connection without faults, at which a host can stop all the same.
    pub fn calm(memory: Memory, clock: Clock) -> Self {
        Self {
            memory,
            clock,
            rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(0))),
            late: Arc::default(),
            has_faults: Arc::default(),
        }
    }

    fn fate(&self) -> Fate {
        if !*lock(&self.has_faults) {
            return Fate::Done;
        }
        match lock(&self.rng).u8(0..100) {
            0..2 => Fate::Away,
            2..5 => Fate::RequestLost,
            5..9 => Fate::AnswerLost,
            9..13 => Fate::Late,
            _ => Fate::Done,
        }
    }

    async fn act<T, F: Future<Output = Answer<T>>>(&self, act: F) -> Answer<T> {
        pause().await;
        let done = match self.fate() {
            Fate::Away => return Err(EngineError::Away("refused".into())),
            Fate::RequestLost | Fate::Late => Err(EngineError::Unknown("time-out".into())),
            Fate::AnswerLost => {
                drop(act.await);
                Err(EngineError::Unknown("time-out".into()))
            }
            Fate::Done => act.await,
        };
        pause().await;
        done
    }

    /// Does one of the commits that are late, or drops it if it is too late.
    pub fn deliver(&self) {
        let now = self.clock.boot();
        let mut late = lock(&self.late);
        late.retain(|one| one.until >= now);
        if late.is_empty() {
            return;
        }
        let index = lock(&self.rng).usize(0..late.len());
        if let Some(one) = late.remove(index) {
            drop(poll_once(&mut Box::pin(
                self.memory.commit(one.compare, one.steps),
            )));
        }
    }
}

impl Engine for Shaky {
    type Watch = Changes;

    async fn session(&self, ttl: Duration) -> Answer<SessionId> {
        self.act(self.memory.session(ttl)).await
    }

    async fn renew(&self, id: SessionId) -> Answer<Renewed> {
        self.act(self.memory.renew(id)).await
    }

    async fn end(&self, id: SessionId) -> Answer<()> {
        self.act(self.memory.end(id)).await
    }

    async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        pause().await;
        let done = match self.fate() {
            Fate::Away => return Err(EngineError::Away("refused".into())),
            Fate::RequestLost => Err(EngineError::Unknown("time-out".into())),
            Fate::Late => {
                let until = self.clock.boot().after(LATE);
                lock(&self.late).push_back(Late {
                    compare,
                    steps,
                    until,
                });
                Err(EngineError::Unknown("time-out".into()))
            }
            Fate::AnswerLost => {
                drop(self.memory.commit(compare, steps).await);
                Err(EngineError::Unknown("time-out".into()))
            }
            Fate::Done => self.memory.commit(compare, steps).await,
        };
        pause().await;
        done
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.act(self.memory.list(prefix, after, limit)).await
    }

    async fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.act(self.memory.list_keys(prefix, after, limit)).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Answer<Changes> {
        self.memory.watch(prefix, from).await
    }
}
