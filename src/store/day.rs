//! The table `attempt_day`: what the attempts of a day add up to.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::{Reader, StoreError};
use crate::domain::port::Protocol;

/// The milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// Which days to list. Empty fields match everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DayFilter {
    /// On these ports.
    pub ports: Option<RangeInclusive<u16>>,
    /// For this protocol.
    pub protocol: Option<Protocol>,
    /// Of this pool.
    pub pool: Option<String>,
    /// On this interface.
    pub interface: Option<String>,
    /// Asked for by this user.
    pub uid: Option<u32>,
    /// From the day of this time on.
    pub since: Option<Timestamp>,
    /// Up to the day of this time.
    pub until: Option<Timestamp>,
    /// Only those after this one, in the order of the list.
    pub before: Option<DayKey>,
    /// Number of the first of these to leave out.
    pub skip: u32,
    /// At most so many.
    pub limit: u32,
}

/// What tells one row from another, in the order of the list (which is the other way round).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayKey(i64, String, String, String, u16, i64);

/// Attempts of one day that have all of this in common.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct DayRecord {
    /// The day, as a number of UTC days since 1970.
    pub day: i64,
    /// The pool.
    pub pool: String,
    /// The interface.
    pub interface: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Who asked; -1 where it is not known.
    pub uid: i64,
    /// Attempts that bound the port.
    pub bound: i64,
    /// Attempts that re-took it past lingering connections.
    pub lingering: i64,
    /// Attempts refused because something was on it.
    pub in_use: i64,
    /// Attempts refused for want of permission.
    pub not_permitted: i64,
    /// Attempts refused because the host did not have the address.
    pub address_not_available: i64,
    /// Attempts that failed otherwise.
    pub failed: i64,
    /// When the last one was made, in milliseconds since 1970.
    pub last_ms: i64,
    /// When the last one was refused.
    pub last_refused_ms: Option<i64>,
}

impl DayRecord {
    /// Its key for paging.
    pub fn key(&self) -> DayKey {
        DayKey(
            self.day,
            self.pool.clone(),
            self.interface.clone(),
            self.protocol.clone(),
            self.port,
            self.uid,
        )
    }

    /// How many attempts there were.
    pub const fn attempts(&self) -> i64 {
        self.bound
            + self.lingering
            + self.in_use
            + self.not_permitted
            + self.address_not_available
            + self.failed
    }

    /// The day as a date.
    pub fn date(&self) -> String {
        let second = self.day.saturating_mul(86_400);
        Timestamp::from_second(second).map_or_else(
            |_| self.day.to_string(),
            |at| at.strftime("%Y-%m-%d").to_string(),
        )
    }
}

impl Reader {
    /// Days, the latest first.
    pub async fn days(&self, filter: &DayFilter) -> Result<Vec<DayRecord>, StoreError> {
        let mut query = QueryBuilder::new("select * from attempt_day where true");
        narrowed(&mut query, filter);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}

fn narrowed(query: &mut QueryBuilder<Sqlite>, filter: &DayFilter) {
    let day = |time: Timestamp| time.as_millisecond().div_euclid(DAY_MS);
    if let Some(since) = filter.since {
        query.push(" and day >= ").push_bind(day(since));
    }
    if let Some(until) = filter.until {
        query.push(" and day <= ").push_bind(day(until));
    }
    if let Some(ports) = &filter.ports {
        query.push(" and port between ").push_bind(*ports.start());
        query.push(" and ").push_bind(*ports.end());
    }
    if let Some(protocol) = filter.protocol {
        query.push(" and protocol = ").push_bind(protocol.as_str());
    }
    if let Some(pool) = &filter.pool {
        query.push(" and pool = ").push_bind(pool.clone());
    }
    if let Some(interface) = &filter.interface {
        query.push(" and interface = ").push_bind(interface.clone());
    }
    if let Some(uid) = filter.uid {
        query.push(" and uid = ").push_bind(uid);
    }
    if let Some(DayKey(day, pool, interface, protocol, port, uid)) = &filter.before {
        query
            .push(" and (day, pool, interface, protocol, port, uid) < (")
            .push_bind(*day);
        for word in [pool, interface, protocol] {
            query.push(", ").push_bind(word.clone());
        }
        query.push(", ").push_bind(*port);
        query.push(", ").push_bind(*uid).push(")");
    }
    query
        .push(" order by day desc, pool desc, interface desc, protocol desc, port desc, uid desc")
        .push(" limit ")
        .push_bind(filter.limit)
        .push(" offset ")
        .push_bind(filter.skip);
}
