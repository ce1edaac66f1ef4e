//! Sums of a time, read from the totals of whole days: the cost of an answer grows with the number of
//! ports in use, not with the number of attempts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::condition::and;
use super::{Reader, StoreError};

/// Filter of statistics. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct StatsFilter {
    /// First day, as a number of UTC days since 1970.
    pub first_day: i64,
    pub pool: Option<String>,
    /// User of the allocations.
    pub uid: Option<u32>,
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

/// Total of the attempts that share a pool and an interface, or a protocol and a port.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct AttemptTotal {
    /// Pool; empty in the total of a port.
    pub pool: String,
    /// Interface; empty in the total of a port.
    pub interface: String,
    /// Protocol; empty in the total of a pool and interface.
    pub protocol: String,
    /// Port; 0 in the total of a pool and interface.
    pub port: u16,
    /// Numbers by outcome.
    #[sqlx(flatten)]
    pub outcomes: Outcomes,
    /// Time of the last attempt, in milliseconds since 1970.
    pub last_ms: i64,
    /// Time of the last refused attempt, in milliseconds since 1970. `None` if none was refused.
    pub last_refused_ms: Option<i64>,
}

/// Attempts by place and by port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptTotals {
    /// Total of each pool and interface.
    pub places: Vec<AttemptTotal>,
    /// Ports with most attempts.
    pub ports: Vec<AttemptTotal>,
    /// Ports with most conflicts.
    pub conflicts: Vec<AttemptTotal>,
}

/// Number of attempts that one occupant refused on a port.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct OccupantTotal {
    pub port: u16,
    pub protocol: String,
    /// Name of the process; empty if the kernel did not tell.
    pub command: String,
    /// User of the socket; -1 if the kernel did not tell.
    pub occupant_uid: i64,
    pub attempts: i64,
}

/// Leases that ended in the same way after about the same time.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LeaseTotal {
    /// State that ended the leases.
    pub state: String,
    /// Lifetime in milliseconds, rounded to two digits.
    pub lifetime_ms: i64,
    pub leases: i64,
}

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
pub(super) fn narrow(
    query: &mut QueryBuilder<Sqlite>,
    time: &str,
    first: i64,
    filter: &StatsFilter,
) {
    query.push(" where true");
    and(query, &format!("{time} >= ?"), Some(first));
    and(query, "pool = ?", filter.pool.as_deref());
    and(query, "uid = ?", filter.uid);
}

impl Reader {
    /// Returns the totals of pools and interfaces, and of the ports with most attempts and conflicts.
    pub async fn attempt_totals(&self, filter: &StatsFilter) -> Result<AttemptTotals, StoreError> {
        Ok(AttemptTotals {
            places: self.place_totals(filter).await?,
            ports: self.port_totals(ALL, filter).await?,
            conflicts: self.port_totals("in_use", filter).await?,
        })
    }

    /// Returns the totals of pools and interfaces.
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

    /// Returns the totals of the ports with most of something. The ports are chosen by that number
    /// alone, before anything else is summed up: there may be many.
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

    /// Returns the total of one port over all days on record.
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

    /// Lists the occupants of these ports (with their protocols), most attempts first.
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

    /// Returns the lifetimes of ended leases by state, shortest first.
    pub async fn lease_totals(&self, filter: &StatsFilter) -> Result<Vec<LeaseTotal>, StoreError> {
        let mut query =
            QueryBuilder::new("select state, lifetime_ms, sum(leases) as leases from lease_day");
        narrow(&mut query, "day", filter.first_day, filter);
        query.push(" group by state, lifetime_ms order by state, lifetime_ms");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}
