//! The lines in which requests wait for a port of a pool.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::lock::Guarded;

/// One line a pool. The request at its head tries; the semaphore is fair, so requests come in order.
#[derive(Debug, Default)]
pub(super) struct Line {
    heads: Guarded<HashMap<String, Arc<Semaphore>>>,
    /// One value, so that a try begins before a pause and is awaited, or after it.
    now: watch::Sender<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Requests that wait, or try their luck just now.
    waiting: usize,
    /// Requests that try their luck just now.
    trying: usize,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Moves,
    /// No try begins: another service may take over.
    Stands,
    /// No try begins any more: this service ends.
    Ended,
}

/// The line ended before the turn of a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

/// A request that waits, until it is dropped.
pub(super) struct Waiting<'l>(&'l Line);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|now| now.waiting -= 1);
    }
}

/// A request that tries its luck, until it is dropped.
pub(super) struct Trying<'l>(&'l Line);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.change(|now| now.trying -= 1);
    }
}

impl Line {
    /// Counts a request as waiting.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.change(|now| now.waiting += 1);
        Waiting(self)
    }

    /// Changes the counts. Of these, only the end of the last try is awaited, by the pause: others
    /// wake no request.
    fn change(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_if_modified(|now| {
            change(now);
            now.state == State::Stands && now.trying == 0
        });
    }

    /// Returns the number of requests that wait, or try their luck just now.
    pub(super) fn waiting(&self) -> usize {
        self.now.borrow().waiting
    }

    /// Lets a request try, as soon as the line moves.
    pub(super) async fn may_try(&self) -> Result<Trying<'_>, Ended> {
        let mut changes = self.now.subscribe();
        loop {
            let mut state = State::Stands;
            self.now.send_if_modified(|now| {
                state = now.state;
                now.trying += usize::from(state == State::Moves);
                false
            });
            match state {
                State::Moves => return Ok(Trying(self)),
                State::Ended => return Err(Ended),
                State::Stands => drop(changes.wait_for(|now| now.state != State::Stands).await),
            }
        }
    }

    /// Waits for the end of the line.
    pub(super) async fn ended(&self) -> Ended {
        let mut changes = self.now.subscribe();
        drop(changes.wait_for(|now| now.state == State::Ended).await);
        Ended
    }

    /// Lets no try begin, and waits for the end of those that have begun.
    pub(super) async fn stop(&self) {
        self.now.send_modify(|now| now.state = State::Stands);
        drop(self.now.subscribe().wait_for(|now| now.trying == 0).await);
    }

    /// Lets requests try again.
    pub(super) fn go_on(&self) {
        self.now.send_modify(|now| now.state = State::Moves);
    }

    /// Ends the line: those that wait are told so.
    pub(super) fn end(&self) {
        self.now.send_modify(|now| now.state = State::Ended);
    }

    /// Returns the place at the head of a pool's line, to be waited for.
    pub(super) fn head_of(&self, pool: &str) -> Arc<Semaphore> {
        self.heads.with(|lines| {
            if let Some(line) = lines.get(pool) {
                return Arc::clone(line);
            }
            let line = Arc::new(Semaphore::new(1));
            lines.insert(pool.to_owned(), Arc::clone(&line));
            line
        })
    }
}
