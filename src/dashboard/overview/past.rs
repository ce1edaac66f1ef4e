//! What the record says of the last day and the last week. Every question is about totals or about a
//! bounded number of rows, so that the page costs the same however long the past is.

use jiff::Timestamp;

use crate::access::Viewer;
use crate::api::AppState;
use crate::api::attempts::veil_words;
use crate::domain::lease::State;
use crate::store::{AllocationTotal, HourTotal, LateTotal, LeaseTotal, StatsFilter, StoreError};

/// How many hours a day has, the one that runs included.
pub(super) const HOURS: i64 = 24;

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Over how many days what was saved is told, today included.
pub(super) const DAYS: i64 = 7;

/// What the record says.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// The first of the hours that make up the last day.
    pub(super) first_hour: i64,
    /// Allocations of a week by hour and pool.
    pub(super) allocations: Vec<AllocationTotal>,
    /// Attempts of the last day by hour.
    pub(super) attempts: Vec<HourTotal>,
    /// Outsiders found on leased ports in the last day.
    pub(super) late: LateTotal,
    /// How many leases ended today because their owner was gone.
    pub(super) orphaned: i64,
}

impl Past {
    /// What this viewer may know of it. What cannot be read is said in a notice and left empty.
    pub(super) async fn of(
        face: &AppState,
        viewer: &Viewer,
        now: Timestamp,
        notices: &mut Vec<String>,
    ) -> Self {
        let first_hour = now.as_second().div_euclid(HOUR_SECONDS) - (HOURS - 1);
        match Self::read(face, viewer, now, first_hour).await {
            Ok(past) => past,
            Err(error) => {
                tracing::error!(%error, "the record is unavailable");
                notices.push(format!("What happened lately cannot be read: {error}."));
                Self {
                    first_hour,
                    ..Self::default()
                }
            }
        }
    }

    async fn read(
        face: &AppState,
        viewer: &Viewer,
        now: Timestamp,
        first_hour: i64,
    ) -> Result<Self, StoreError> {
        let reader = face.service.store().reader();
        let today = now.as_second().div_euclid(DAY_SECONDS);
        let since = |first_day| StatsFilter {
            first_day,
            uid: viewer.only_user(),
            ..StatsFilter::default()
        };
        let since_ms = first_hour * HOUR_SECONDS * 1000;
        let ended = reader.lease_totals(&since(today)).await?;
        let mut late = reader.late_total(since_ms, viewer.only_user()).await?;
        if let Some(last) = &mut late.last {
            veil_words(&mut last.occupant, last.occupant_uid, viewer);
        }
        Ok(Self {
            first_hour,
            allocations: reader.allocation_totals(&since(today - DAYS + 1)).await?,
            attempts: reader.hour_totals(first_hour, viewer.only_user()).await?,
            late,
            orphaned: orphaned(&ended),
        })
    }

    /// All attempts of the day, and those of them that met somebody.
    pub(super) fn attempts_of_day(&self) -> (usize, usize) {
        let sum = |of: fn(&HourTotal) -> i64| self.attempts.iter().map(of).sum();
        (
            number(sum(|hour| hour.attempts)),
            number(sum(|hour| hour.in_use)),
        )
    }

    /// The beginning of the day as an address says it, so that a list counts the same.
    pub(super) fn since(&self) -> String {
        begin_of(self.first_hour).to_string()
    }
}

fn orphaned(ended: &[LeaseTotal]) -> i64 {
    let gone = ended
        .iter()
        .filter(|total| total.state == State::OwnerGone.as_str());
    gone.map(|total| total.leases).sum()
}

/// When an hour begins.
pub(super) fn begin_of(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * HOUR_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A count from the record; none is ever below zero.
pub(super) fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}
