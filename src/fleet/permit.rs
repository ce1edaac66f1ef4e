//! Permits: the kernel lets programs be reached at a fenced number for a time, and shuts it by itself.
//!
//! The time ends half of `reclaim` after the last successful renewal of the session was *sent*, and only
//! renewals of the session that has the claim count. The fleet frees the number a whole `reclaim` after
//! that session has ended at the earliest. Three rules keep a host that stands still between two steps
//! from opening a number late:
//!
//! * A permit that is there is prolonged only while it is there: the kernel removes and adds it at once,
//!   and refuses both if it has run out.
//! * One that is not there is opened for [`OPENING`] first, and then prolonged.
//! * After each write the clock is read again, and what should be over is shut.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::claim::{Claim, Number};
use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// Time of a permit before it is known not to be late.
pub const OPENING: Duration = Duration::from_secs(10);

/// Part of the time of a permit after which it is prolonged.
const USED: u32 = 10;

/// A change of the permits in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Opens a number for a while. One that is open stays as it is.
    Open(Number, Duration),
    /// Gives an open number another time. All changes are refused if it is shut.
    Prolong(Number, Duration),
    /// Shuts a number, which may be shut already.
    Shut(Number),
}

/// A failure of the fence, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's fence failed: {0}")]
pub struct FenceError(pub String);

/// Result of changes, which are done all together or not at all.
pub type Changed<'a> = Pin<Box<dyn Future<Output = Result<(), FenceError>> + Send + 'a>>;

/// The fence in the kernel. Permits outlive this process, and no boot.
pub trait Fence: Send + Sync + std::fmt::Debug {
    /// Does changes, all or none.
    fn change(&self, changes: Vec<Change>) -> Changed<'_>;

    /// Fails if the kernel guards nothing, as after a flush of all its rules.
    fn is_loaded(&self) -> Changed<'_>;

    /// Has the kernel guard the numbers again. None of them is open then.
    fn load_again(&self) -> Changed<'_>;
}

/// The permits of this host. Clones are the same.
#[derive(Debug, Clone)]
pub struct Permits {
    fence: Arc<dyn Fence>,
    clock: Clock,
    /// Held for no wait. The session loop and requests for claims write it.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Session with the time at which its last successful renewal was sent.
    renewed: Option<(String, BootTime)>,
    /// Ends of the permits that were written since the start.
    ends: BTreeMap<Number, BootTime>,
}

impl Permits {
    /// Returns the permits of a fence that is loaded.
    pub fn new(fence: Arc<dyn Fence>, clock: Clock) -> Self {
        Self {
            fence,
            clock,
            state: Arc::default(),
        }
    }

    /// Notes that a renewal of a session succeeded, and when it was sent.
    pub fn renewed(&self, session: &str, sent: BootTime) {
        self.state().renewed = Some((session.to_owned(), sent));
    }

    /// End of what a claim permits. `None` if its number has no fence, or its session was not renewed.
    pub fn end(&self, claim: &Claim) -> Option<BootTime> {
        let state = self.state();
        let (session, sent) = state.renewed.as_ref()?;
        let is_permitted = claim.reclaim_s > 0 && *session == claim.session;
        is_permitted.then(|| sent.after(Duration::from_secs(claim.reclaim_s) / 2))
    }

    /// Opens the numbers of claims, or prolongs what is open. Those that are new enough are left alone.
    pub async fn grant(&self, claims: &[Claim]) -> Result<(), FenceError> {
        let now = self.clock.boot();
        let due: Vec<(Number, BootTime)> = claims
            .iter()
            .filter_map(|claim| Some((claim, self.end(claim)?)))
            .filter(|(claim, end)| self.is_due(claim, *end, now))
            .map(|(claim, end)| (claim.number, end))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let is_shut = |(number, _): &&(Number, BootTime)| {
            self.state().ends.get(number).is_none_or(|end| *end <= now)
        };
        let open = |(number, _): &(Number, BootTime)| Change::Open(*number, OPENING);
        let opened: Vec<Change> = due.iter().filter(is_shut).map(open).collect();
        if !opened.is_empty() {
            self.fence.change(opened).await?;
        }
        let written = self.prolong(&due).await;
        if written.is_err() {
            // What is open is not known any more.
            self.forget(due.iter().map(|(number, _)| *number));
        }
        written
    }

    /// Loads the fence again if it was flushed. `true` if it was.
    pub async fn keep_loaded(&self) -> Result<bool, FenceError> {
        if self.fence.is_loaded().await.is_ok() {
            return Ok(false);
        }
        self.state().ends.clear();
        self.fence.load_again().await?;
        Ok(true)
    }

    /// Shuts the numbers of claims.
    pub async fn shut(&self, claims: &[Claim]) -> Result<(), FenceError> {
        let fenced = claims.iter().filter(|claim| claim.reclaim_s > 0);
        let numbers: Vec<Number> = fenced.map(|claim| claim.number).collect();
        self.shut_numbers(&numbers).await
    }

    /// Shuts what is over on this clock: the kernel's own does not run while the machine is suspended.
    pub async fn shut_late(&self) -> Result<(), FenceError> {
        let now = self.clock.boot();
        let state_ends = self.state().ends.clone();
        let late = state_ends.into_iter().filter(|(_, end)| *end <= now);
        let numbers: Vec<Number> = late.map(|(number, _)| number).collect();
        self.shut_numbers(&numbers).await
    }

    /// End of the permit of a number, as it was written. `None` if it is not known to be open.
    pub fn written_end(&self, number: Number) -> Option<BootTime> {
        self.state().ends.get(&number).copied()
    }

    /// Time of the first end. `None` if no number is open.
    pub fn first_end(&self) -> Option<BootTime> {
        self.state().ends.values().min().copied()
    }

    async fn prolong(&self, due: &[(Number, BootTime)]) -> Result<(), FenceError> {
        let now = self.clock.boot();
        let late: Vec<Number> = due
            .iter()
            .filter(|(_, end)| *end <= now)
            .map(|(number, _)| *number)
            .collect();
        if !late.is_empty() {
            self.shut_numbers(&late).await?;
            return Err(FenceError(
                "the session was not renewed for too long".into(),
            ));
        }
        let prolong = |(number, end): &(Number, BootTime)| Change::Prolong(*number, end.since(now));
        self.fence.change(due.iter().map(prolong).collect()).await?;
        self.state().ends.extend(due.iter().copied());
        // This process may have stood still since it read the clock.
        self.shut_late().await
    }

    async fn shut_numbers(&self, numbers: &[Number]) -> Result<(), FenceError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let shut = numbers.iter().map(|number| Change::Shut(*number));
        self.fence.change(shut.collect()).await?;
        self.forget(numbers.iter().copied());
        Ok(())
    }

    fn forget(&self, numbers: impl Iterator<Item = Number>) {
        let mut state = self.state();
        for number in numbers {
            state.ends.remove(&number);
        }
    }

    /// Whether a tenth of a permit is used, or it is not open.
    fn is_due(&self, claim: &Claim, end: BootTime, now: BootTime) -> bool {
        let known = self.state().ends.get(&claim.number).copied();
        let part = Duration::from_secs(claim.reclaim_s) / 2 / USED;
        known.is_none_or(|known| known <= now || end.since(known) >= part)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
