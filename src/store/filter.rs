//! Filter of attempts, as a `where` clause that an index serves if one can.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use super::condition::{and, is_word};
use super::{Reader, StoreError};
use crate::domain::attempt::Outcome;
use crate::domain::lease::{AllocationId, Name};
use crate::domain::port::Protocol;

/// Maximum number of ports in a range that are looked up one by one. The attempts of a wider range are
/// found soon enough on the way through all attempts, newest first.
const NARROW: usize = 64;

/// Condition with which the index attempt_port serves a query: it has the attempts on a port block by
/// block (migrations/0017).
pub(super) const IN_BLOCKS: &str = "seq >> 12 in ( \
     with recursive block (number) as ( \
         select max(seq) >> 12 from attempt_row union all \
         select number - 1 from block where number > (select min(seq) >> 12 from attempt_row)) \
     select number from block)";

/// Order in which that index has them, newest first. It is the order of `seq`.
pub(super) const BY_BLOCK: &str = "seq >> 12 desc, seq desc";

/// Filter of attempts. Empty fields match everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptFilter {
    pub allocation: Option<AllocationId>,
    pub ports: Option<RangeInclusive<u16>>,
    pub protocol: Option<Protocol>,
    /// Pool of the allocation.
    pub pool: Option<String>,
    /// Interface of the bind address.
    pub interface: Option<String>,
    /// User of the allocation.
    pub uid: Option<u32>,
    pub outcome: Option<Outcome>,
    /// Error number of the kernel.
    pub errno: Option<i32>,
    /// Name of a lease of the allocation.
    pub name: Option<Name>,
    /// Order of candidates of the allocation.
    pub strategy: Option<String>,
    /// Earliest time.
    pub since: Option<Timestamp>,
    /// Time before which the attempts were made.
    pub until: Option<Timestamp>,
    /// `seq` that all listed ones are below.
    pub before: Option<i64>,
    /// Lowest `seq`; [`Reader::bounded`] finds it.
    pub first: Option<i64>,
    /// Maximum number of attempts.
    pub limit: u32,
}

impl Reader {
    /// Returns the filter with its times as bounds of `seq` too, so that no attempt outside is looked
    /// at. The times themselves decide: the clock may have been set back between two attempts.
    pub async fn bounded(&self, mut filter: AttemptFilter) -> Result<AttemptFilter, StoreError> {
        if let Some(since) = filter.since {
            let first = self.first_since(since.as_millisecond()).await?;
            filter.first = Some(first.unwrap_or(i64::MAX));
        }
        if let Some(until) = filter.until {
            let last = self.last_before(until.as_millisecond()).await?;
            let end = last.map_or(0, |last| last.saturating_add(1));
            filter.before = Some(filter.before.unwrap_or(i64::MAX).min(end));
        }
        Ok(filter)
    }
}

/// Adds the conditions, the order (newest first) and the limit. A plus before a column keeps SQLite from
/// an index that would not help.
pub(super) fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    narrow_by_allocation(query, filter.allocation);
    narrow_by_ports(query, filter.ports.as_ref());
    let protocol = filter.protocol.map(Protocol::as_str);
    and(query, &is_word("protocol_word"), protocol);
    and(query, &is_word("pool_word"), filter.pool.as_deref());
    and(
        query,
        &is_word("interface_word"),
        filter.interface.as_deref(),
    );
    if filter.outcome.is_some_and(|outcome| !outcome.is_success()) {
        // The condition of the index attempt_refused.
        query.push(" and outcome_word not in (1, 2)");
    }
    let outcome = filter.outcome.map(Outcome::as_str);
    and(query, &is_word("outcome_word"), outcome);
    and(query, &is_word("strategy_word"), filter.strategy.as_deref());
    and(query, "errno = ?", filter.errno);
    narrow_by_user(query, filter);
    narrow_by_name(query, filter);
    let ms = Timestamp::as_millisecond;
    and(query, "+at_ms >= ?", filter.since.map(ms));
    and(query, "+at_ms < ?", filter.until.map(ms));
    and(query, "seq >= ?", filter.first);
    and(query, "seq < ?", filter.before);
    let order = if filter.ports.as_ref().is_some_and(is_narrow) {
        BY_BLOCK
    } else {
        "seq desc"
    };
    query.push(" order by ").push(order);
    query.push(" limit ").push_bind(filter.limit);
}

fn is_narrow(ports: &RangeInclusive<u16>) -> bool {
    ports.len() <= NARROW
}

/// The attempts of an allocation lie together.
fn narrow_by_allocation(query: &mut QueryBuilder<Sqlite>, allocation: Option<AllocationId>) {
    let Some(allocation) = allocation else { return };
    let id = allocation.0.as_bytes().to_vec();
    for condition in [
        "allocation = ?",
        "seq >= (select first_attempt from allocation_row where id = ?)",
        "seq <= (select last_attempt from allocation_row where id = ?)",
    ] {
        and(query, condition, Some(id.clone()));
    }
}

fn narrow_by_ports(query: &mut QueryBuilder<Sqlite>, ports: Option<&RangeInclusive<u16>>) {
    let Some(ports) = ports else { return };
    if is_narrow(ports) {
        query.push(" and ").push(IN_BLOCKS);
    }
    if ports.start() == ports.end() {
        return and(query, "port = ?", Some(*ports.start()));
    }
    let column = if is_narrow(ports) { "port" } else { "+port" };
    and(query, &format!("{column} >= ?"), Some(*ports.start()));
    and(query, &format!("{column} <= ?"), Some(*ports.end()));
}

/// Uses the index of the user only if the filter has nothing but times beside it: other indexes leave
/// fewer attempts, and without one, reading all in their order is quicker than one by one.
fn narrow_by_user(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    let with_times_only = AttemptFilter {
        uid: filter.uid,
        since: filter.since,
        until: filter.until,
        before: filter.before,
        first: filter.first,
        limit: filter.limit,
        ..AttemptFilter::default()
    };
    let condition = if *filter == with_times_only {
        "uid = ?"
    } else {
        "+uid = ?"
    };
    and(query, condition, filter.uid);
}

/// Leases of other users are not looked at: even the time that this takes would tell of them.
fn narrow_by_name(query: &mut QueryBuilder<Sqlite>, filter: &AttemptFilter) {
    let Some(name) = &filter.name else { return };
    query
        .push(" and allocation in (select allocation from lease_row where name = ")
        .push_bind(name.as_str());
    and(query, "uid = ?", filter.uid);
    query.push(")");
}
