//! Connections and requests that are under way, counted, so that a service that ends or hands over knows
//! when all that it accepted is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::guests::Place;

/// Limit on the wait for the first request of a connection. A client that is silent for longer finds
/// its connection closed, as on any server.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Connections.
    open: usize,
    /// Connections without a request so far.
    silent: usize,
    /// Requests that are being answered.
    answering: usize,
}

/// Counts of what is under way.
#[derive(Debug)]
pub(in crate::daemon) struct Traffic {
    counts: watch::Sender<Counts>,
    /// Whether each answer closes its connection.
    is_leaving: AtomicBool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            counts: watch::Sender::default(),
            is_leaving: AtomicBool::new(false),
        }
    }
}

impl Traffic {
    /// Counts a connection until it is dropped.
    pub(in crate::daemon) fn connection(self: &Arc<Self>, place: Option<Place>) -> Arc<Connection> {
        self.counts.send_modify(|counts| {
            counts.open += 1;
            counts.silent += 1;
        });
        Arc::new(Connection {
            traffic: Arc::clone(self),
            has_asked: AtomicBool::new(false),
            _place: place,
        })
    }

    /// Has each answer close its connection, or no longer, so that clients come back by a new one.
    pub(in crate::daemon) fn leave(&self, is_leaving: bool) {
        self.is_leaving.store(is_leaving, Ordering::Relaxed);
    }

    /// Waits until every request is answered but for those of `waiting`, which may wait for long, at most
    /// as long as `limit`. Whether all are.
    pub(in crate::daemon) async fn settled(
        &self,
        waiting: impl Fn() -> usize,
        limit: Duration,
    ) -> bool {
        let mut counts = self.counts.subscribe();
        let all = counts.wait_for(|now| now.silent == 0 && now.answering <= waiting());
        if timeout(SILENCE.min(limit), all).await.is_ok() {
            return true;
        }
        let requests = counts.wait_for(|now| now.answering <= waiting());
        timeout(limit, requests).await.is_ok()
    }

    /// Waits until no connection is open.
    pub(in crate::daemon) async fn closed(&self) {
        // The sender lives as long as `self`.
        drop(self.counts.subscribe().wait_for(|now| now.open == 0).await);
    }
}

/// A connection from its accept to its end.
#[derive(Debug)]
pub(in crate::daemon) struct Connection {
    traffic: Arc<Traffic>,
    has_asked: AtomicBool,
    /// Held for its drop alone.
    _place: Option<Place>,
}

impl Connection {
    /// Counts a request on it until the answer is dropped.
    pub(in crate::daemon) fn answer(self: &Arc<Self>) -> Answer {
        let is_first = !self.has_asked.swap(true, Ordering::Relaxed);
        self.traffic.counts.send_modify(|counts| {
            counts.silent -= usize::from(is_first);
            counts.answering += 1;
        });
        Answer(Arc::clone(self))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let was_silent = !*self.has_asked.get_mut();
        self.traffic.counts.send_modify(|counts| {
            counts.open -= 1;
            counts.silent -= usize::from(was_silent);
        });
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(in crate::daemon) struct Answer(Arc<Connection>);

impl Answer {
    /// Whether the connection is to be closed after it.
    pub(in crate::daemon) fn is_last(&self) -> bool {
        self.0.traffic.is_leaving.load(Ordering::Relaxed)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0
            .traffic
            .counts
            .send_modify(|counts| counts.answering -= 1);
    }
}
