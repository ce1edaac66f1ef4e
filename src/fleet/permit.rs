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
use crate::engine::fence::{FenceBook, Known, Permit};
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

/// Numbers that the kernel has open, each with the time that is left.
pub type OpenNumbers = BTreeMap<Number, Duration>;

/// The permits of this host. Clones are the same.
#[derive(Debug, Clone)]
pub struct Permits {
    fence: Arc<dyn Fence>,
    clock: Clock,
    /// Permits that are known, which others read.
    book: Arc<FenceBook>,
    /// Held for no wait. The session loop and requests for claims write it.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Session with the time at which its last successful renewal was sent.
    renewed: Option<(String, BootTime)>,
    /// Reason for which the last change failed. `None` if it was done.
    trouble: Option<FenceError>,
}

impl Permits {
    /// Returns the permits of a fence that is loaded, with the book that they are written to.
    pub fn new(fence: Arc<dyn Fence>, clock: Clock, book: Arc<FenceBook>) -> Self {
        Self {
            fence,
            clock,
            book,
            state: Arc::default(),
        }
    }

    /// Notes at a start what the kernel has open of claimed numbers. All others of them are shut.
    pub fn note_open(&self, claimed: &[Number], open: &OpenNumbers) {
        let now = self.clock.boot();
        let permit = |number: &Number| {
            let permit = match open.get(number) {
                Some(left) => Permit {
                    end: now.after(*left),
                    known: Known::Doubtful,
                },
                None => Permit {
                    end: now,
                    known: Known::Gone,
                },
            };
            (*number, permit)
        };
        self.book.put(claimed.iter().map(permit));
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
        let open = |(number, _): &(Number, BootTime)| Change::Open(*number, OPENING);
        let is_open = |number| self.book.of(number).is_some_and(|known| known.is_open(now));
        let opened = due.iter().filter(|(number, _)| !is_open(*number));
        let opened: Vec<Change> = opened.map(open).collect();
        if !opened.is_empty() {
            self.change(opened).await?;
        }
        let written = self.prolong(&due).await;
        if written.is_err() {
            let numbers: Vec<Number> = due.iter().map(|(number, _)| *number).collect();
            self.book.doubt(&numbers, self.clock.boot());
        }
        written
    }

    /// Loads the fence again if it was flushed. `true` if it was.
    pub async fn keep_loaded(&self) -> Result<bool, FenceError> {
        if self.fence.is_loaded().await.is_ok() {
            return Ok(false);
        }
        let loaded = self.fence.load_again().await;
        if loaded.is_ok() {
            self.book.all_gone(self.clock.boot());
        }
        self.noted(loaded).map(|()| true)
    }

    /// Reason for which the last change of the kernel failed. `None` if it was done.
    pub fn trouble(&self) -> Option<FenceError> {
        self.state().trouble.clone()
    }

    /// Shuts the numbers of claims, which are given back.
    pub async fn shut(&self, claims: &[Claim]) -> Result<(), FenceError> {
        let fenced = claims.iter().filter(|claim| claim.reclaim_s > 0);
        let numbers: Vec<Number> = fenced.map(|claim| claim.number).collect();
        self.shut_numbers(&numbers).await?;
        self.book.forget(&numbers);
        Ok(())
    }

    /// Shuts what is over on this clock: the kernel's own does not run while the machine is suspended.
    pub async fn shut_late(&self) -> Result<(), FenceError> {
        let late = self.book.late(self.clock.boot());
        self.shut_numbers(&late).await?;
        self.book.gone(&late, self.clock.boot());
        Ok(())
    }

    /// End of the permit of a number, as it was written. `None` if it is not known to be open.
    pub fn written_end(&self, number: Number) -> Option<BootTime> {
        let permit = self.book.of(number)?;
        (permit.known != Known::Gone).then_some(permit.end)
    }

    /// Numbers that are shut.
    pub fn shut_now(&self) -> Vec<Number> {
        self.book.shut(self.clock.boot())
    }

    /// Time of the first end. `None` if no number is open.
    pub fn first_end(&self) -> Option<BootTime> {
        self.book.summary(self.clock.boot()).first_end
    }

    /// Whether something is over that was not found to be shut yet.
    pub fn has_late(&self) -> bool {
        !self.book.late(self.clock.boot()).is_empty()
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
        let longer = |(number, end): &(Number, BootTime)| Change::Prolong(*number, end.since(now));
        self.change(due.iter().map(longer).collect()).await?;
        let written = |(number, end): &(Number, BootTime)| {
            let permit = Permit {
                end: *end,
                known: Known::Written,
            };
            (*number, permit)
        };
        self.book.put(due.iter().map(written));
        // This process may have stood still since it read the clock.
        self.shut_late().await
    }

    async fn shut_numbers(&self, numbers: &[Number]) -> Result<(), FenceError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let shut = numbers.iter().map(|number| Change::Shut(*number));
        self.change(shut.collect()).await
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), FenceError> {
        let done = self.fence.change(changes).await;
        self.noted(done)
    }

    fn noted(&self, done: Result<(), FenceError>) -> Result<(), FenceError> {
        self.state().trouble = done.clone().err();
        done
    }

    /// Whether a tenth of a permit is used, or it is not open.
    fn is_due(&self, claim: &Claim, end: BootTime, now: BootTime) -> bool {
        let tenth = Duration::from_secs(claim.reclaim_s) / 2 / USED;
        match self.book.of(claim.number) {
            Some(known) if known.is_open(now) => end.since(known.end) >= tenth,
            _ => true,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
