//! The last day and the last week on record. Every query reads totals or a bounded number of rows, so
//! that the page costs the same however long the past is.

use jiff::Timestamp;

use crate::access::Viewer;
use crate::api::AppState;
use crate::api::attempts::veil_words;
use crate::dashboard::chart::rates::{HOUR_SECONDS, HOURS, begin_of};
use crate::store::{AllocationTotal, HourTotal, LateTotal, StatsFilter, StoreError};

const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Number of days of the savings, today included.
pub(super) const DAYS: i64 = 7;

/// The totals of the overview, as one viewer may see them.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// The first hour of the last day, in hours since 1970.
    pub(super) first_hour: i64,
    /// Allocations of a week by hour and pool.
    pub(super) allocations: Vec<AllocationTotal>,
    /// Attempts of the last day by hour.
    pub(super) attempts: Vec<HourTotal>,
    /// Outsiders found on leased ports in the last day.
    pub(super) late: LateTotal,
}

impl Past {
    /// Reads the totals. If that fails they are empty, and a notice tells the reason.
    pub(super) async fn of(
        face: &AppState,
        viewer: &Viewer,
        now: Timestamp,
        notices: &mut Vec<String>,
    ) -> Self {
        let first_hour = now.as_second().div_euclid(HOUR_SECONDS) - (HOURS - 1);
        let past = Self::read(face, viewer, now, first_hour).await;
        past.unwrap_or_else(|error| {
            tracing::error!(%error, "could not read the totals of the overview; they show as empty");
            notices.push(format!("The latest history cannot be read: {error}."));
            Self {
                first_hour,
                ..Self::default()
            }
        })
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
        let mut late = reader.late_total(since_ms, viewer.only_user()).await?;
        if let Some(last) = &mut late.last {
            veil_words(&mut last.occupant, last.occupant_uid, viewer);
        }
        Ok(Self {
            first_hour,
            allocations: reader.allocation_totals(&since(today - DAYS + 1)).await?,
            attempts: reader.hour_totals(first_hour, viewer.only_user()).await?,
            late,
        })
    }

    /// Number of attempts of the day, and number of those that found the port in use.
    pub(super) fn attempts_of_day(&self) -> (i64, i64) {
        let sum = |of: fn(&HourTotal) -> i64| self.attempts.iter().map(of).sum();
        (sum(|hour| hour.attempts), sum(|hour| hour.in_use))
    }

    /// Begin of the day as an address has it, so that the list of attempts counts the same.
    pub(super) fn since(&self) -> String {
        begin_of(self.first_hour).to_string()
    }
}
