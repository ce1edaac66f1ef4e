//! The desk of the fleet: what is known of it, and a counter for questions.
//!
//! The session loop (`src/fleet`, with the feature of that name) writes the status and answers; pages,
//! API and metrics read. Of all grants only those of unique numbers (`unique.rs`) wait for it, at a
//! counter of their own.

mod request;
mod silence;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::claims::{ClaimBook, ClaimTicket};
#[cfg(feature = "fleet")]
use super::fence::FenceBook;
use super::lock::Guarded;
#[cfg(feature = "fleet")]
use super::troubles::Troubles;
use crate::domain::claim::Number;
use crate::domain::everywhere::Kept;
use crate::domain::fleet::{FenceSummary, FleetState, FleetStatus};
use crate::domain::lease::{BootTime, LeaseId, Name};
use crate::store::StoreError;

pub use request::FleetRequest;
#[cfg(feature = "fleet")]
pub use silence::{FleetSilence, Reserved};

/// Maximum number of questions that wait for the session loop.
const WAITING: usize = 1024;

/// A number that a request has found, held, and wants to be unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedNumber {
    /// Number that is held.
    pub number: Number,
    /// Id that its lease will have.
    pub lease: LeaseId,
    /// Pool that it came from.
    pub pool: Arc<str>,
    /// Name of its lease.
    pub name: Option<Name>,
}

/// A request for claims on numbers, all or none.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "fleet"),
    expect(
        dead_code,
        reason = "the session loop reads it, and this build has none"
    )
)]
pub struct ClaimRequest {
    /// Numbers.
    pub numbers: Vec<WantedNumber>,
    /// Time after which no try begins.
    pub until: BootTime,
    /// Span of the allocation.
    pub span: tracing::Span,
    /// Receiver of the answer.
    pub reply: oneshot::Sender<Result<Vec<ClaimTicket>, ClaimFailure>>,
}

/// A reason for which numbers were not claimed.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "fleet"),
    expect(
        dead_code,
        reason = "the session loop makes it, and this build has none"
    )
)]
pub enum ClaimFailure {
    /// Other hosts have these.
    Taken(Vec<(Number, String)>),
    /// The engine does not answer, or refuses.
    Away(String),
    /// The claims could not be put on record, so that none was sent.
    Unrecorded(StoreError),
    /// No session loop runs.
    Off,
}

/// The side of the desk at which the session loop serves.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "fleet"),
    expect(
        dead_code,
        reason = "the session loop serves here, and this build has none"
    )
)]
pub struct FleetCounters {
    /// Sender of the loop's own requests.
    pub own: mpsc::Sender<FleetRequest>,
    /// Requests of others.
    pub requests: mpsc::Receiver<FleetRequest>,
    /// Requests for unique numbers.
    pub claims: mpsc::Receiver<ClaimRequest>,
}

/// The desk.
#[derive(Debug, Default)]
pub struct FleetDesk {
    claims: Arc<ClaimBook>,
    #[cfg(feature = "fleet")]
    fence: Arc<FenceBook>,
    /// `None` if no session loop runs.
    claiming: Guarded<Option<mpsc::Sender<ClaimRequest>>>,
    status: Guarded<Arc<FleetStatus>>,
    /// `None` if no session loop runs.
    requests: Guarded<Option<mpsc::Sender<FleetRequest>>>,
    is_leaving: watch::Sender<bool>,
    #[cfg(feature = "fleet")]
    troubles: Arc<Troubles>,
    /// Numbers that are reserved on every host, as this host keeps them.
    kept: Guarded<Arc<BTreeMap<Number, Kept>>>,
}

impl FleetDesk {
    /// Returns the status, which later changes do not affect.
    pub fn status(&self) -> Arc<FleetStatus> {
        self.status.with(|status| Arc::clone(status))
    }

    /// Returns what the kernel shuts, which later changes do not affect.
    #[cfg(feature = "fleet")]
    pub fn fence_summary(&self, now: BootTime) -> FenceSummary {
        self.fence.summary(now)
    }

    /// Returns that the kernel shuts nothing, as this build has no fence.
    #[cfg(not(feature = "fleet"))]
    #[expect(
        clippy::unused_self,
        reason = "it is asked like that of a build with a fence"
    )]
    pub fn fence_summary(&self, _: BootTime) -> FenceSummary {
        FenceSummary::default()
    }

    /// Returns the book of the fence.
    #[cfg(feature = "fleet")]
    pub fn fence(&self) -> &Arc<FenceBook> {
        &self.fence
    }

    /// Returns the book of claims.
    pub fn claims(&self) -> &Arc<ClaimBook> {
        &self.claims
    }

    /// Returns the troubles of this host with its fleet.
    #[cfg(feature = "fleet")]
    pub fn troubles(&self) -> &Arc<Troubles> {
        &self.troubles
    }

    /// Claims numbers, all or none. Each ticket is to be kept until its lease is on record.
    pub(super) async fn claim(
        &self,
        numbers: Vec<WantedNumber>,
        until: BootTime,
    ) -> Result<Vec<ClaimTicket>, ClaimFailure> {
        let claiming = self.claiming.with(|claiming| claiming.clone());
        let claiming = claiming.ok_or(ClaimFailure::Off)?;
        let (reply, answer) = oneshot::channel();
        let request = ClaimRequest {
            numbers,
            until,
            span: tracing::Span::current(),
            reply,
        };
        let gone = |_| ClaimFailure::Off;
        claiming.send(request).await.map_err(gone)?;
        answer.await.unwrap_or(Err(ClaimFailure::Off))
    }

    /// Returns the numbers that are reserved on every host, as this host keeps them.
    pub fn kept(&self) -> Arc<BTreeMap<Number, Kept>> {
        self.kept.with(|kept| Arc::clone(kept))
    }

    /// Sets them.
    #[cfg(feature = "fleet")]
    pub fn set_kept(&self, numbers: BTreeMap<Number, Kept>) {
        let numbers = Arc::new(numbers);
        self.kept.with(|kept| *kept = numbers);
    }

    /// Returns the number that this host keeps for a name. `None` if it keeps none.
    pub(super) fn reserved_for(&self, name: &Name) -> Option<Number> {
        let kept = self.kept();
        let of_name = |(_, kept): &(&Number, &Kept)| kept.name == *name && kept.busy.is_none();
        let found = kept.iter().find(of_name);
        found.map(|(number, _)| *number)
    }

    /// Has requests that wait for a change answer at once, or wait again: a service that ends or is taken
    /// over waits for its answers.
    pub fn leave_waiting(&self, is_leaving: bool) {
        self.is_leaving.send_replace(is_leaving);
    }

    /// Waits until requests are not to wait any more.
    #[cfg(feature = "fleet")]
    pub async fn left(&self) {
        // The sender lives as long as `self`.
        drop(self.is_leaving.subscribe().wait_for(|is| *is).await);
    }

    /// Opens the counters, before the service answers its first request: those that come before the
    /// session loop runs wait for it. They are refused once the counters are dropped.
    pub fn open(&self, now: BootTime) -> FleetCounters {
        let (own, requests) = mpsc::channel(WAITING);
        let (claiming, claims) = mpsc::channel(WAITING);
        self.requests.with(|open| *open = Some(own.clone()));
        self.claiming.with(|open| *open = Some(claiming));
        self.set(FleetStatus {
            state: FleetState::Joining,
            since_boot_ms: u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX),
            ..FleetStatus::default()
        });
        FleetCounters {
            own,
            requests,
            claims,
        }
    }

    /// Sets the status.
    pub fn set(&self, status: FleetStatus) {
        let status = Arc::new(status);
        self.status.with(|known| *known = status);
    }
}
