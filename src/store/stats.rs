//! What the totals say of a time: counted by whole days, so that the answer costs what is busy and
//! not what happened.

use sqlx::{FromRow, QueryBuilder, Sqlite};
use uuid::Uuid;

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

/// Attempts by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Outcomes {
    /// The port was bound.
    pub bound: i64,
    /// It was re-taken past lingering connections.
    pub lingering: i64,
    /// Something was on it.
    pub in_use: i64,
    /// It was not permitted.
    pub not_permitted: i64,
    /// The host did not have the address.
    pub address_not_available: i64,
    /// It failed otherwise.
    pub failed: i64,
}

/// Attempts that share a pool and an interface, or a protocol and a port; the other two are empty.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// Outsiders that were found on leased ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LateTotal {
    /// How many times; [`MOST_LATE`] where it may be more.
    pub found: usize,
    /// The last time.
    pub last: Option<LateConflict>,
}

/// An outsider that was found on a leased port.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LateConflict {
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Who it was, as far as that was known.
    pub occupant: String,
    /// Whose process that was, if known.
    pub occupant_uid: Option<u32>,
}

/// The same with its lease.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LateRecord {
    /// Counts up; the key for paging.
    pub seq: i64,
    /// When it was found, in milliseconds since 1970.
    pub at_ms: i64,
    /// The lease.
    #[sqlx(try_from = "Vec<u8>")]
    pub lease: Uuid,
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Who it was, as far as that was known.
    pub occupant: String,
    /// Whose process that was, if known.
    pub occupant_uid: Option<u32>,
    /// The lease's name, if it has one.
    pub name: Option<String>,
    /// Its user; none once it is forgotten.
    pub uid: Option<u32>,
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

/// How many late conflicts are looked at: they are rare, and nobody counts more.
pub const MOST_LATE: u32 = 1000;

/// How many attempts that are not in the totals yet are added to them; a busy host counts the others
/// a moment later.
const UNCOUNTED: u32 = 1024;

/// All attempts of a row.
const ALL: &str = "bound + lingering + in_use + not_permitted + address_not_available + failed";

/// The sums of a group of rows.
const SUMS: &str = "sum(bound) as bound, sum(lingering) as lingering, sum(in_use) as in_use, \
     sum(not_permitted) as not_permitted, sum(address_not_available) as address_not_available, \
     sum(failed) as failed, max(last_ms) as last_ms, max(last_refused_ms) as last_refused_ms";

fn among(query: &mut QueryBuilder<Sqlite>, time: &str, first: i64, filter: &StatsFilter) {
    query
        .push(" where ")
        .push(time)
        .push(" >= ")
        .push_bind(first);
    if let Some(pool) = &filter.pool {
        query.push(" and pool = ").push_bind(pool.clone());
    }
    if let Some(uid) = filter.uid {
        query.push(" and uid = ").push_bind(uid);
    }
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
        among(&mut query, "day", filter.first_day, filter);
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
        among(&mut query, "day", filter.first_day, filter);
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
        among(&mut query, "day", filter.first_day, filter);
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
        query.push_bind(protocol.to_owned());
        if let Some(uid) = uid {
            query.push(" and uid = ").push_bind(uid);
        }
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
        among(&mut query, "day", filter.first_day, filter);
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
        among(&mut query, "hour", filter.first_day * 24, filter);
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

    /// Outsiders on leased ports since then, on those of one user or on all. The latest are looked
    /// at: there is no index by time, as the numbers of the rows are in its order.
    pub async fn late_total(
        &self,
        since_ms: i64,
        uid: Option<u32>,
    ) -> Result<LateTotal, StoreError> {
        let found: Vec<LateConflict> = sqlx::query_as(
            "select protocol, port, occupant, occupant_uid from ( \
                 select * from late_conflict order by seq desc limit ?3 \
             ) as found \
             where at_ms >= ?1 and (?2 is null or exists ( \
                 select 1 from lease where id = found.lease and uid = ?2)) \
             order by seq desc",
        )
        .bind(since_ms)
        .bind(uid)
        .bind(MOST_LATE)
        .fetch_all(&self.pool)
        .await?;
        Ok(LateTotal {
            found: found.len(),
            last: found.into_iter().next(),
        })
    }

    /// Outsiders on leased ports, newest first and before this one, on those of one user or on all.
    /// So many are looked at as for the total, which bounds what the answer costs.
    pub async fn late_conflicts(
        &self,
        before: Option<i64>,
        uid: Option<u32>,
    ) -> Result<Vec<LateRecord>, StoreError> {
        let found = sqlx::query_as(
            "select found.seq, found.at_ms, found.lease, found.protocol, found.port, \
             found.occupant, found.occupant_uid, lease.name, lease.uid from ( \
                 select * from late_conflict where ?1 is null or seq < ?1 \
                 order by seq desc limit ?3 \
             ) as found left join lease on lease.id = found.lease \
             where ?2 is null or lease.uid = ?2 order by found.seq desc",
        );
        let found = found.bind(before).bind(uid).bind(MOST_LATE);
        Ok(found.fetch_all(&self.pool).await?)
    }

    /// How long leases lived, by end state, shortest first.
    pub async fn lease_totals(&self, filter: &StatsFilter) -> Result<Vec<LeaseTotal>, StoreError> {
        let mut query =
            QueryBuilder::new("select state, lifetime_ms, sum(leases) as leases from lease_day");
        among(&mut query, "day", filter.first_day, filter);
        query.push(" group by state, lifetime_ms order by state, lifetime_ms");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}
