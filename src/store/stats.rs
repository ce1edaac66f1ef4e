//! What the totals say of a time: counted by whole days, so that the answer costs what is busy and
//! not what happened.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::condition::and;
use super::{Reader, StoreError};

/// What statistics are about. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct StatsFilter {
    /// From this day on, as a number of UTC days since 1970.
    pub first_day: i64,
    /// Of this pool.
    pub pool: Option<String>,
    /// Asked for by this user.
    pub uid: Option<u32>,
    /// How many ports are told of at most.
    pub ports: u32,
}

/// Attempts by outcome, as they are summed up and answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, FromRow, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OutcomesDocument")]
pub struct Outcomes {
    /// Number of attempts.
    pub attempts: u64,
    /// Attempts that bound the port.
    pub bound: u64,
    /// Attempts that re-took the port past lingering connections.
    pub lingering: u64,
    /// Attempts refused because of an occupant.
    pub in_use: u64,
    /// Attempts refused for lack of permission.
    pub not_permitted: u64,
    /// Attempts refused because the host did not have the address.
    pub address_not_available: u64,
    /// Attempts that failed for any other reason.
    pub failed: u64,
    /// Share of the attempts that got the port, from 0 to 1. `None` if there were no attempts.
    pub success_rate: Option<f64>,
}

impl Outcomes {
    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.bound += others.bound;
        self.lingering += others.lingering;
        self.in_use += others.in_use;
        self.not_permitted += others.not_permitted;
        self.address_not_available += others.address_not_available;
        self.failed += others.failed;
        let got = self.bound + self.lingering;
        let refused = self.in_use + self.not_permitted + self.address_not_available + self.failed;
        self.attempts = got + refused;
        self.success_rate = share(got, self.attempts);
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Attempts that share a pool and an interface, or a protocol and a port; the other two are empty.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct AttemptTotal {
    /// The pool.
    pub pool: String,
    /// The interface.
    pub interface: String,
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Their outcomes.
    #[sqlx(flatten)]
    pub outcomes: Outcomes,
    /// When the last one was made, in milliseconds since 1970.
    pub last_ms: i64,
    /// When the last one was refused.
    pub last_refused_ms: Option<i64>,
}

/// Attempts by place and by port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptTotals {
    /// For each pool and interface.
    pub places: Vec<AttemptTotal>,
    /// The ports with most attempts.
    pub ports: Vec<AttemptTotal>,
    /// The ports with most attempts that met somebody.
    pub conflicts: Vec<AttemptTotal>,
}

/// How often somebody was in the way.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct OccupantTotal {
    /// On which port.
    pub port: u16,
    /// For which protocol.
    pub protocol: String,
    /// The name of the process; empty where the kernel did not tell.
    pub command: String,
    /// Its user; -1 where the kernel did not tell.
    pub occupant_uid: i64,
    /// How many attempts it refused.
    pub attempts: i64,
}

/// Attempts of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct HourTotal {
    /// The hour, as a number of UTC hours since 1970.
    pub hour: i64,
    /// How many attempts.
    pub attempts: i64,
    /// How many of them met somebody.
    pub in_use: i64,
}

/// Allocations of one hour.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct AllocationTotal {
    /// The hour, as a number of UTC hours since 1970.
    pub hour: i64,
    /// The pool.
    pub pool: String,
    /// How many were granted.
    pub granted: i64,
    /// How many were refused.
    pub refused: i64,
    /// How many tell what random would have met.
    pub weighed: i64,
    /// The sum of that.
    pub random_would_meet: f64,
    /// How many candidate ports were refused to these.
    pub met: i64,
}

/// Leases that ended in the same way after about the same time.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LeaseTotal {
    /// The end state.
    pub state: String,
    /// How long they lived, to two digits, in milliseconds.
    pub lifetime_ms: i64,
    /// How many.
    pub leases: i64,
}

/// How many attempts that are not in the totals yet are added to them; a busy host counts the others
/// a moment later.
const UNCOUNTED: u32 = 1024;

/// All attempts of a row.
const ALL: &str = "bound + lingering + in_use + not_permitted + address_not_available + failed";

/// Sums of a group of rows.
const SUMS: &str = "\
     sum(bound + lingering + in_use + not_permitted + address_not_available + failed) as attempts, \
     sum(bound) as bound, sum(lingering) as lingering, sum(in_use) as in_use, \
     sum(not_permitted) as not_permitted, sum(address_not_available) as address_not_available, \
     sum(failed) as failed, sum(bound + lingering) * 1.0 \
     / sum(bound + lingering + in_use + not_permitted + address_not_available + failed) \
     as success_rate, max(last_ms) as last_ms, max(last_refused_ms) as last_refused_ms";

/// Adds the conditions of a filter, for a table whose column of time begins with `first`.
fn narrow(query: &mut QueryBuilder<Sqlite>, time: &str, first: i64, filter: &StatsFilter) {
    query.push(" where true");
    and(query, &format!("{time} >= ?"), Some(first));
    and(query, "pool = ?", filter.pool.as_deref());
    and(query, "uid = ?", filter.uid);
}

impl Reader {
    /// Attempts by pool and interface, and of the ports that stand out.
    pub async fn attempt_totals(&self, filter: &StatsFilter) -> Result<AttemptTotals, StoreError> {
        Ok(AttemptTotals {
            places: self.place_totals(filter).await?,
            ports: self.port_totals(ALL, filter).await?,
            conflicts: self.port_totals("in_use", filter).await?,
        })
    }

    /// Attempts by pool and interface alone.
    pub async fn place_totals(
        &self,
        filter: &StatsFilter,
    ) -> Result<Vec<AttemptTotal>, StoreError> {
        let mut query = QueryBuilder::new("select pool, interface, '' as protocol, 0 as port, ");
        query.push(SUMS).push(" from place_day");
        narrow(&mut query, "day", filter.first_day, filter);
        query.push(" group by pool, interface");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// The ports with most of something. First which they are, by that alone: there may be many.
    async fn port_totals(
        &self,
        most: &str,
        filter: &StatsFilter,
    ) -> Result<Vec<AttemptTotal>, StoreError> {
        // A plus keeps SQLite from walking an index by port through all days.
        let mut query = QueryBuilder::new("select json_array(port, protocol) from attempt_day");
        narrow(&mut query, "day", filter.first_day, filter);
        query
            .push(" and ")
            .push(most)
            .push(" > 0 group by +port, +protocol order by sum(");
        query
            .push(most)
            .push(") desc, port limit ")
            .push_bind(filter.ports);
        let ports: Vec<String> = query.build_query_scalar().fetch_all(&self.pool).await?;
        let mut query = QueryBuilder::new("select '' as pool, '' as interface, protocol, port, ");
        query.push(SUMS).push(" from attempt_day");
        narrow(&mut query, "day", filter.first_day, filter);
        query
            .push(" and (port, protocol) in (select value ->> 0, value ->> 1 from json_each(")
            .push_bind(format!("[{}]", ports.join(",")))
            .push(")) group by port, protocol order by sum(")
            .push(most)
            .push(") desc, port");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// The same for one port alone, over all days on record.
    pub async fn port_total(
        &self,
        protocol: &str,
        port: u16,
        uid: Option<u32>,
    ) -> Result<Option<AttemptTotal>, StoreError> {
        let mut query = QueryBuilder::new("select '' as pool, '' as interface, protocol, port, ");
        query.push(SUMS).push(" from attempt_day where port = ");
        query.push_bind(port).push(" and protocol = ");
        query.push_bind(protocol);
        and(&mut query, "uid = ?", uid);
        query.push(" group by protocol, port");
        let total = query.build_query_as().fetch_optional(&self.pool).await?;
        Ok(total)
    }

    /// Who was in the way on these ports (with their protocols), most often first.
    pub async fn occupant_totals(
        &self,
        ports: &[(u16, &str)],
        filter: &StatsFilter,
    ) -> Result<Vec<OccupantTotal>, StoreError> {
        let ports =
            serde_json::to_string(ports).map_err(|error| StoreError::unreadable("ports", error))?;
        let mut query = QueryBuilder::new(
            "select port, protocol, command, occupant_uid, sum(attempts) as attempts \
             from occupant_day",
        );
        narrow(&mut query, "day", filter.first_day, filter);
        query
            .push(" and (port, protocol) in (select value ->> 0, value ->> 1 from json_each(")
            .push_bind(ports)
            .push(
                ")) group by port, protocol, command, occupant_uid order by attempts desc, command",
            );
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Allocations by hour and pool.
    pub async fn allocation_totals(
        &self,
        filter: &StatsFilter,
    ) -> Result<Vec<AllocationTotal>, StoreError> {
        let mut query = QueryBuilder::new(
            "select hour, pool, sum(granted) as granted, sum(refused) as refused, \
             sum(weighed) as weighed, sum(random_would_meet) as random_would_meet, \
             sum(met) as met from allocation_hour",
        );
        narrow(&mut query, "hour", filter.first_day * 24, filter);
        query.push(" group by hour, pool order by hour, pool");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Attempts by hour, from this hour on, with those that are not in the totals yet. One statement,
    /// so that nothing is counted twice while the mark moves on.
    pub async fn hour_totals(
        &self,
        first_hour: i64,
        uid: Option<u32>,
    ) -> Result<Vec<HourTotal>, StoreError> {
        let totals = sqlx::query_as(
            "select hour, sum(attempts) as attempts, sum(in_use) as in_use from ( \
                 select hour, attempts, in_use from attempt_hour \
                 where hour >= ?1 and (?2 is null or uid = ?2) \
                 union all \
                 select at_ms / 3600000, 1, outcome = 'in_use' from ( \
                     select * from attempt where seq > (select attempt_seq from counted) \
                     order by seq limit ?3 \
                 ) as fresh \
                 where at_ms / 3600000 >= ?1 and (?2 is null or exists ( \
                     select 1 from allocation where id = fresh.allocation and uid = ?2)) \
             ) group by hour order by hour",
        )
        .bind(first_hour)
        .bind(uid)
        .bind(UNCOUNTED)
        .fetch_all(&self.pool)
        .await?;
        Ok(totals)
    }

    /// How long leases lived, by end state, shortest first.
    pub async fn lease_totals(&self, filter: &StatsFilter) -> Result<Vec<LeaseTotal>, StoreError> {
        let mut query =
            QueryBuilder::new("select state, lifetime_ms, sum(leases) as leases from lease_day");
        narrow(&mut query, "day", filter.first_day, filter);
        query.push(" group by state, lifetime_ms order by state, lifetime_ms");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}
