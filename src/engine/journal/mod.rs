//! The journal: what happened, told as one call.
//!
//! A report is an event for listeners, a metric and a log line ([`reports`]). The journal decides
//! nothing, and a slow listener delays no request: it misses events and is told so.

mod reports;

use std::collections::VecDeque;

use tokio::sync::{broadcast, watch};

use super::lock::Guarded;
use crate::domain::event::{Event, EventKind};
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;
use crate::telemetry::metrics::{Exposition, Metrics, Now, PortserverMetrics};

/// Number of events that are kept for listeners that come late.
const KEPT: usize = 1024;

/// The latest events, a channel for the next ones, and the metrics.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    /// Time at which it began, in milliseconds: event numbers of another run mean nothing in this one.
    run: i64,
    state: Guarded<State>,
    live: broadcast::Sender<Event>,
    closed: watch::Sender<bool>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    events: VecDeque<Event>,
}

/// The events after a number that a listener knows.
#[derive(Debug)]
pub struct Since {
    /// Number of the latest event before `live`; 0 before the first one.
    pub last: u64,
    /// Whether events in between are no longer kept, or the number is of another run.
    pub gap: bool,
    /// Missed events that are still kept, oldest first.
    pub missed: Vec<Event>,
    /// The events from now on.
    pub live: broadcast::Receiver<Event>,
}

impl Journal {
    /// Returns a journal without events.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self {
            run: clock.now().as_millisecond(),
            clock,
            state: Guarded::default(),
            live: broadcast::channel(KEPT).0,
            closed: watch::channel(false).0,
            metrics,
        }
    }

    /// Identifies this run of the service: event numbers of another run mean nothing in this one. It is
    /// the time of the start, in milliseconds since 1970.
    pub const fn run(&self) -> i64 {
        self.run
    }

    /// Returns the number of the latest event; 0 before the first one.
    pub fn last(&self) -> u64 {
        self.state.with(|state| state.last)
    }

    /// Notes an event of a lease.
    fn lease(&self, kind: EventKind, lease: &Lease, detail: impl Into<String>) {
        self.note(self.of_lease(kind, lease, detail.into()));
    }

    fn of_lease(&self, kind: EventKind, lease: &Lease, detail: String) -> Event {
        Event {
            uid: Some(lease.uid),
            lease: Some(lease.id),
            allocation: Some(lease.allocation),
            protocol: Some(lease.protocol),
            port: Some(lease.port),
            ..self.of_nothing(kind, detail)
        }
    }

    /// Notes an event that concerns no lease. Only `uid` and root see its detail, if a uid is given.
    pub fn other(&self, kind: EventKind, uid: Option<u32>, detail: impl Into<String>) {
        self.note(Event {
            uid,
            ..self.of_nothing(kind, detail.into())
        });
    }

    /// Notes an event of a port, which all users see.
    fn port(&self, kind: EventKind, protocol: Protocol, port: Port, detail: &str) {
        self.note(Event {
            protocol: Some(protocol),
            port: Some(port),
            ..self.of_nothing(kind, detail.to_owned())
        });
    }

    fn of_nothing(&self, kind: EventKind, detail: String) -> Event {
        Event::of_nothing(kind, self.clock.now(), detail)
    }

    fn note(&self, mut event: Event) {
        self.state.with(|state| {
            state.last += 1;
            event.seq = state.last;
            if state.events.len() == KEPT {
                state.events.pop_front();
            }
            state.events.push_back(event.clone());
            // Sent under the lock, so that the order on the channel is the order of the numbers. An
            // error only means that there is no listener.
            let _ = self.live.send(event);
        });
    }

    /// Returns the kept events after event `seq`, and the events from now on.
    pub fn since(&self, seq: u64) -> Since {
        self.state.with(|state| {
            let missed = state.events.iter().filter(|event| event.seq > seq);
            let oldest = state.events.front();
            let oldest = oldest.map_or(state.last + 1, |event| event.seq);
            Since {
                last: state.last,
                gap: seq > state.last || seq.saturating_add(1) < oldest,
                missed: missed.cloned().collect(),
                live: self.live.subscribe(),
            }
        })
    }

    /// Tells listeners that no event will follow, so that a shut-down need not wait for them.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Returns a value that turns true once the journal is closed.
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Returns the latest events, newest first.
    pub fn latest(&self, count: usize) -> Vec<Event> {
        self.state
            .with(|state| state.events.iter().rev().take(count).cloned().collect())
    }

    /// Returns the counters of a port server.
    pub(super) fn portserver_metrics(&self) -> PortserverMetrics {
        self.metrics.portserver()
    }

    /// Returns all metrics as text, with the given current values.
    pub(super) fn metrics_text(&self, now: Now, exposition: Exposition) -> String {
        self.metrics.text(now, exposition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::StoreMetrics;

    fn journal() -> Journal {
        let metrics = Metrics::new(&StoreMetrics::default());
        Journal::new(Clock::manual(), metrics)
    }

    #[test]
    fn late_listeners_get_missed_events_and_the_next_ones() {
        let journal = journal();
        journal.other(EventKind::Reloaded, None, "one");
        journal.other(EventKind::Reloaded, None, "two");
        let Since {
            last,
            gap,
            missed,
            mut live,
        } = journal.since(1);
        assert_eq!(last, 2);
        assert_eq!((missed.len(), gap), (1, false));
        assert!(journal.since(9).gap, "a number of another run is a gap");
        assert_eq!((missed[0].seq, &*missed[0].detail), (2, "two"));
        journal.other(EventKind::Reloaded, None, "three");
        assert_eq!(live.try_recv().unwrap().seq, 3);
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn oldest_events_are_dropped() {
        let journal = journal();
        for _ in 0..KEPT + 10 {
            journal.other(EventKind::Reloaded, None, "");
        }
        let since = journal.since(0);
        assert_eq!((since.missed.len(), since.gap), (KEPT, true));
        assert!(!journal.since(10).gap);
        assert_eq!(journal.latest(1)[0].seq, KEPT as u64 + 10);
    }
}
