//! The uplink to the collector: the number of spans that wait, and whether exports work.
//!
//! A span that is made and thrown away costs an allocation as much as one that arrives. So no trace
//! begins while exports fail (a circuit breaker), except one now and then that finds out whether
//! they work again; nor while the queue is nearly full. A trace under way is finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::losses::{PAUSED, QUEUE_FULL, lose};
use super::stopwatch::Stopwatch;

/// Pause after a failed export, or after a trace that was let through, before the next trace. As
/// long as the SDK keeps a batch, so that the one before has been answered.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Value of `retry_at` while exports work; any other is the time of the next trace.
const WORKS: u64 = 0;

/// The uplink, shared by both ends of the queue and the layer that makes spans.
#[derive(Debug, Clone)]
pub(super) struct Uplink(Arc<State>);

#[derive(Debug)]
struct State {
    room: usize,
    waiting: AtomicUsize,
    /// Milliseconds of `age`, or [`WORKS`].
    retry_at: AtomicU64,
    left_out: AtomicU64,
    age: Stopwatch,
}

impl Uplink {
    /// Makes an uplink on which at most `room` spans wait.
    pub(super) fn new(room: usize) -> Self {
        Self(Arc::new(State {
            room,
            waiting: AtomicUsize::new(0),
            retry_at: AtomicU64::new(WORKS),
            left_out: AtomicU64::new(0),
            age: Stopwatch::start(),
        }))
    }

    /// Maximum number of waiting spans.
    pub(super) fn room(&self) -> usize {
        self.0.room
    }

    /// Whether a trace may begin now. If not, the span that would have begun it is counted as lost.
    pub(super) fn admits_trace(&self) -> bool {
        match self.refusal_at(self.0.age.elapsed()) {
            None => true,
            Some(reason) => {
                self.leave_out(reason);
                false
            }
        }
    }

    /// Counts a span that is left out with the rest of its trace.
    pub(super) fn leave_out_part(&self) {
        self.leave_out(PAUSED);
    }

    fn leave_out(&self, reason: &'static str) {
        lose(reason, 1);
        self.0.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of spans left out since the last call.
    pub(super) fn take_left_out(&self) -> u64 {
        self.0.left_out.swap(0, Ordering::Relaxed)
    }

    fn refusal_at(&self, now: Duration) -> Option<&'static str> {
        let state = &*self.0;
        if milliseconds(now) < state.retry_at.load(Ordering::Relaxed) {
            return Some(PAUSED);
        }
        // The last eighth is reserved for traces under way.
        let waiting = state.waiting.load(Ordering::Relaxed);
        (waiting >= state.room - state.room / 8).then_some(QUEUE_FULL)
    }

    /// Notes that a span to be exported has begun. While exports fail, it is the one that tries
    /// again.
    pub(super) fn begun(&self) {
        self.begun_at(self.0.age.elapsed());
    }

    fn begun_at(&self, now: Duration) {
        let retry_at = &self.0.retry_at;
        let due = retry_at.load(Ordering::Relaxed);
        if due != WORKS && due <= milliseconds(now) {
            let next = milliseconds(now + RETRY_AFTER);
            // An export that was answered meanwhile has set a better value.
            let _ = retry_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes a place in the queue, unless it is full.
    pub(super) fn enter(&self) -> bool {
        let State { waiting, room, .. } = &*self.0;
        // Two at once see different counts, so no more enter than there is room for.
        let has_room = waiting.fetch_add(1, Ordering::Relaxed) < *room;
        if !has_room {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Notes that spans have left the queue.
    pub(super) fn left(&self, span_count: usize) {
        self.0.waiting.fetch_sub(span_count, Ordering::Relaxed);
    }

    /// Notes the result of an export.
    pub(super) fn answered(&self, arrived: bool) {
        self.answered_at(arrived, self.0.age.elapsed());
    }

    fn answered_at(&self, arrived: bool, now: Duration) {
        let retry_at = if arrived {
            WORKS
        } else {
            milliseconds(now + RETRY_AFTER)
        };
        self.0.retry_at.store(retry_at, Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn while_exports_fail_one_trace_is_let_through_now_and_then() {
        let uplink = Uplink::new(8);
        assert_eq!(uplink.refusal_at(at(100)), None);
        uplink.begun_at(at(100));
        assert_eq!(uplink.refusal_at(at(100)), None, "it works");

        uplink.answered_at(false, at(100));
        assert_eq!(uplink.refusal_at(at(104)), Some(PAUSED));
        assert_eq!(uplink.refusal_at(at(105)), None);
        assert_eq!(uplink.refusal_at(at(105)), None, "it was not sampled");
        uplink.begun_at(at(105));
        assert_eq!(uplink.refusal_at(at(105)), Some(PAUSED));
        uplink.begun_at(at(109));
        assert_eq!(
            uplink.refusal_at(at(110)),
            None,
            "its other spans do not count"
        );
    }

    #[test]
    fn an_export_that_arrives_lets_all_begin_again() {
        let uplink = Uplink::new(8);
        uplink.answered_at(false, at(100));
        uplink.answered_at(true, at(101));
        assert_eq!(uplink.refusal_at(at(101)), None);
        uplink.begun_at(at(101));
        assert_eq!(uplink.refusal_at(at(101)), None);
    }

    #[test]
    fn the_last_eighth_of_the_queue_is_for_traces_under_way() {
        let uplink = Uplink::new(8);
        (0..7).for_each(|_| assert!(uplink.enter()));
        assert_eq!(uplink.refusal_at(at(0)), Some(QUEUE_FULL));
        assert!(uplink.enter());
        assert!(!uplink.enter());
        uplink.left(2);
        assert_eq!(uplink.refusal_at(at(0)), None);
    }

    #[test]
    fn a_queue_of_one_lets_a_trace_begin() {
        assert_eq!(Uplink::new(1).refusal_at(at(0)), None);
    }
}
