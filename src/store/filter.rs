//! Which attempts are meant, as a `where` clause that an index serves wherever one can.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use super::{Reader, StoreError};
use crate::domain::attempt::Outcome;
use crate::domain::lease::{AllocationId, Name};
use crate::domain::port::Protocol;

/// How many ports a range may have to be looked up one by one. The attempts of a wider one are met
/// soon enough on the way through all of them, newest first.
const NARROW: usize = 64;

/// Which attempts to list. Empty fields match everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptFilter {
    /// Of this allocation.
    pub allocation: Option<AllocationId>,
    /// On these ports.
    pub ports: Option<RangeInclusive<u16>>,
    /// For this protocol.
    pub protocol: Option<Protocol>,
    /// Made for this pool.
    pub pool: Option<String>,
    /// On this interface.
    pub interface: Option<String>,
    /// Made for this user.
    pub uid: Option<u32>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// With this error number of the kernel.
    pub errno: Option<i32>,
    /// Made for a lease of this name.
    pub name: Option<Name>,
    /// Of an allocation with this order of candidates.
    pub strategy: Option<String>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
    /// Only those with a lower `seq`.
    pub before: Option<i64>,
    /// Only those with this `seq` or a higher one; [`Reader::bounded`] finds it.
    pub first: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

impl Reader {
    /// The filter with its times told as bounds of `seq` too, so that what lies outside is not
    /// looked at. The times alone decide: the clock may have been set back between two attempts.
    pub async fn bounded(&self, mut filter: AttemptFilter) -> Result<AttemptFilter, StoreError> {
        if let Some(since) = filter.since {
            let first: Option<i64> = sqlx::query_scalar(
                "select min(seq) from attempt indexed by attempt_at where at_ms >= ?1",
            )
            .bind(since.as_millisecond())
            .fetch_one(&self.pool)
            .await?;
            filter.first = Some(first.unwrap_or(i64::MAX));
        }
        if let Some(until) = filter.until {
            let last: Option<i64> = sqlx::query_scalar(
                "select max(seq) from attempt indexed by attempt_at where at_ms < ?1",
            )
            .bind(until.as_millisecond())
            .fetch_one(&self.pool)
            .await?;
            let end = last.map_or(0, |last| last.saturating_add(1));
            filter.before = Some(filter.before.unwrap_or(i64::MAX).min(end));
        }
        Ok(filter)
    }
}

/// Adds the conditions, the order (newest first) and the limit.
pub(super) fn narrowed(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    if let Some(allocation) = filter.allocation {
        query
            .push(" and allocation = ")
            .push_bind(allocation.0.as_bytes().to_vec());
    }
    if let Some(ports) = &filter.ports {
        on_ports(query, ports);
    }
    words(query, filter);
    of_user(query, filter);
    of_allocations(query, filter);
    times(query, filter);
    query
        .push(" order by seq desc limit ")
        .push_bind(filter.limit);
}

/// By its index only where nothing but the time is asked for beside it: other indexes leave fewer
/// attempts, and where there is none, reading all in their order is quicker than one by one.
fn of_user(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    let Some(uid) = filter.uid else { return };
    let alone = AttemptFilter {
        uid: filter.uid,
        since: filter.since,
        until: filter.until,
        before: filter.before,
        first: filter.first,
        limit: filter.limit,
        ..AttemptFilter::default()
    };
    let column = if *filter == alone {
        " and uid = "
    } else {
        " and +uid = "
    };
    query.push(column).push_bind(uid);
}

/// A plus keeps SQLite from an index that would not help.
fn on_ports(query: &mut QueryBuilder<Sqlite>, ports: &RangeInclusive<u16>) {
    if ports.start() == ports.end() {
        query.push(" and port = ").push_bind(*ports.start());
        return;
    }
    let column = if ports.len() <= NARROW {
        " and port between "
    } else {
        " and +port between "
    };
    query.push(column).push_bind(*ports.start());
    query.push(" and ").push_bind(*ports.end());
}

fn words(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    if let Some(protocol) = filter.protocol {
        query.push(" and protocol = ").push_bind(protocol.as_str());
    }
    if let Some(pool) = &filter.pool {
        query.push(" and pool = ").push_bind(pool.clone());
    }
    if let Some(interface) = &filter.interface {
        query.push(" and interface = ").push_bind(interface.clone());
    }
    if let Some(outcome) = filter.outcome {
        if !outcome.is_success() {
            // As the index says it.
            query.push(" and outcome not in ('bound', 'lingering')");
        }
        query.push(" and outcome = ").push_bind(outcome.as_str());
    }
    if let Some(strategy) = &filter.strategy {
        query.push(" and strategy = ").push_bind(strategy.clone());
    }
    if let Some(errno) = filter.errno {
        query.push(" and errno = ").push_bind(errno);
    }
}

fn of_allocations(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    if let Some(name) = &filter.name {
        query
            .push(" and allocation in (select allocation from lease where name = ")
            .push_bind(name.as_str().to_owned());
        // Others' leases of this name are not looked at: not even the time it takes is to tell of them.
        if let Some(uid) = filter.uid {
            query.push(" and uid = ").push_bind(uid);
        }
        query.push(")");
    }
}

fn times(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    if let Some(since) = filter.since {
        query
            .push(" and +at_ms >= ")
            .push_bind(since.as_millisecond());
    }
    if let Some(until) = filter.until {
        query
            .push(" and +at_ms < ")
            .push_bind(until.as_millisecond());
    }
    if let Some(first) = filter.first {
        query.push(" and seq >= ").push_bind(first);
    }
    if let Some(before) = filter.before {
        query.push(" and seq < ").push_bind(before);
    }
}
