//! The journal: tells whoever listens what happened. It decides nothing, and a slow listener
//! holds nobody up.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::domain::event::{Event, EventKind};
use crate::domain::lease::Lease;
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;

/// How many events are kept for those who come late.
const KEPT: usize = 1024;

/// The latest events, and a channel for the next ones.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    /// When it began: numbers of another run mean nothing in this one.
    run: i64,
    state: Mutex<State>,
    live: broadcast::Sender<Event>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    events: VecDeque<Event>,
}

/// What a listener gets that knows the events up to some number.
#[derive(Debug)]
pub struct Since {
    /// Whether events in between are no longer kept, or the number is of another run.
    pub gap: bool,
    /// What it missed and is still kept.
    pub missed: Vec<Event>,
    /// What comes.
    pub live: broadcast::Receiver<Event>,
}

impl Journal {
    /// A journal without an entry.
    pub fn new(clock: Clock) -> Self {
        Self {
            run: clock.now().as_millisecond(),
            clock,
            state: Mutex::default(),
            live: broadcast::channel(KEPT).0,
            closed: watch::channel(false).0,
        }
    }

    /// What tells this run's numbers from another's.
    pub const fn run(&self) -> i64 {
        self.run
    }

    /// The number of the latest event; 0 before the first one.
    pub fn last(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last
    }

    /// Notes that something happened to a lease.
    pub fn lease(&self, kind: EventKind, lease: &Lease, detail: impl Into<String>) {
        self.note(self.of_lease(kind, lease, detail.into()));
    }

    /// Notes that an outsider was found on a leased port.
    pub fn late_conflict(&self, lease: &Lease, outsider: Outsider) {
        self.note(Event {
            outsider: Some(outsider),
            ..self.of_lease(EventKind::LateConflict, lease, String::new())
        });
    }

    fn of_lease(&self, kind: EventKind, lease: &Lease, detail: String) -> Event {
        Event {
            seq: 0,
            at: self.clock.now(),
            kind,
            uid: Some(lease.uid),
            lease: Some(lease.id),
            allocation: Some(lease.allocation),
            protocol: Some(lease.protocol),
            port: Some(lease.port),
            outsider: None,
            detail,
        }
    }

    /// Notes something that concerns no lease.
    pub fn other(&self, kind: EventKind, uid: Option<u32>, detail: impl Into<String>) {
        self.note(Event {
            seq: 0,
            at: self.clock.now(),
            kind,
            uid,
            lease: None,
            allocation: None,
            protocol: None,
            port: None,
            outsider: None,
            detail: detail.into(),
        });
    }

    /// Notes something that concerns a port, and with it everybody.
    pub fn port(&self, kind: EventKind, protocol: Protocol, port: Port, detail: impl Into<String>) {
        self.note(Event {
            seq: 0,
            at: self.clock.now(),
            kind,
            uid: None,
            lease: None,
            allocation: None,
            protocol: Some(protocol),
            port: Some(port),
            outsider: None,
            detail: detail.into(),
        });
    }

    fn note(&self, mut event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        event.seq = state.last;
        if state.events.len() == KEPT {
            state.events.pop_front();
        }
        state.events.push_back(event.clone());
        // Sent under the lock, so that the order on the channel is the order of the numbers.
        // Nobody listening is no failure.
        let _ = self.live.send(event);
    }

    /// What happened after event `seq` and is still kept, and the events from now on.
    pub fn since(&self, seq: u64) -> Since {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = state.events.iter().filter(|event| event.seq > seq);
        let oldest = state
            .events
            .front()
            .map_or(state.last + 1, |event| event.seq);
        Since {
            gap: seq > state.last || seq.saturating_add(1) < oldest,
            missed: missed.cloned().collect(),
            live: self.live.subscribe(),
        }
    }

    /// Tells whoever listens that nothing more will come, so that a shut-down need not wait.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Turns true once the journal is closed.
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// The latest events, newest first.
    pub fn latest(&self, count: usize) -> Vec<Event> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events.iter().rev().take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_gets_what_was_missed_and_what_comes() {
        let journal = Journal::new(Clock::manual());
        journal.other(EventKind::Reloaded, None, "one");
        journal.other(EventKind::Reloaded, None, "two");
        let Since {
            gap,
            missed,
            mut live,
        } = journal.since(1);
        assert_eq!((missed.len(), gap), (1, false));
        assert!(
            journal.since(9).gap,
            "a number of another run passed for one of this"
        );
        assert_eq!((missed[0].seq, &*missed[0].detail), (2, "two"));
        journal.other(EventKind::Reloaded, None, "three");
        assert_eq!(live.try_recv().unwrap().seq, 3);
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn only_so_many_are_kept() {
        let journal = Journal::new(Clock::manual());
        for _ in 0..KEPT + 10 {
            journal.other(EventKind::Reloaded, None, "");
        }
        let since = journal.since(0);
        assert_eq!((since.missed.len(), since.gap), (KEPT, true));
        assert!(!journal.since(10).gap);
        assert_eq!(journal.latest(1)[0].seq, KEPT as u64 + 10);
    }
}
