//! Counts over all hosts of the crowd, which tests wait on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Longest wait for what all hosts do.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Numbers of hosts, but for the failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts whose session is open.
    pub present: usize,
    /// Hosts whose names are all there, as they are now.
    pub settled: usize,
    /// Hosts that have their unique numbers in their session.
    pub claimed: usize,
    /// Hosts that reached the engine since it came back.
    pub back: usize,
    /// Failed tries of renewals, joins and commits.
    pub failures: usize,
    /// Churning claims that were made and given back.
    pub churned: usize,
}

/// The counts. Clones are not needed: hosts share one.
#[derive(Debug, Default)]
pub struct Tally {
    counts: watch::Sender<Counts>,
    /// Number of returns of the engine so far.
    returns: AtomicUsize,
}

impl Tally {
    /// Changes the counts.
    pub fn change(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    /// Counts as they are now.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Number of returns of the engine so far.
    pub fn returns(&self) -> usize {
        self.returns.load(Ordering::Relaxed)
    }

    /// Notes that the engine is gone: hosts count as back once they reach it again.
    pub fn await_return(&self) {
        self.change(|counts| counts.back = 0);
        self.returns.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the counts are so.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let reached = timeout(LONGEST, counts.wait_for(|counts| holds(counts))).await;
        assert!(
            reached.is_ok(),
            "{what}: not within {LONGEST:?}: {:?}",
            self.counts()
        );
    }
}

/// Moves a host into a count, or out of it.
pub fn mark(known: &mut bool, now: bool, count: &mut usize) {
    match (std::mem::replace(known, now), now) {
        (false, true) => *count += 1,
        (true, false) => *count -= 1,
        _ => {}
    }
}
