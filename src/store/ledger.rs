//! What history is made of beside attempts, row by row, so that anybody can compute its counts
//! again: snapshots, sightings, late conflicts, and the ends of leases.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::{QueryBuilder, Sqlite};

use super::{Reader, StoreError};
use crate::domain::lease::Name;
use crate::domain::port::Protocol;

/// One of the small tables behind history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    /// Each look at the sockets of others.
    Snapshots,
    /// Sockets of others, from one snapshot to another without a gap.
    Sightings,
    /// Outsiders found on leased ports.
    Conflicts,
    /// Leases that have ended.
    Endings,
}

/// Rows of a ledger that are wanted. Empty fields match everything; those that a ledger does not
/// have are the caller's to refuse.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LedgerFilter {
    /// User of the socket that was seen, or of the lease.
    pub uid: Option<u32>,
    /// Ports.
    pub ports: Option<RangeInclusive<u16>>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Pool of the lease.
    pub pool: Option<String>,
    /// Name of the lease.
    pub name: Option<Name>,
    /// At this time or later. A sighting counts that went on until then.
    pub since: Option<Timestamp>,
    /// Before this time. A sighting counts that began before it.
    pub until: Option<Timestamp>,
    /// The row that the wanted ones come after, as an object: a row that is added or deleted
    /// meanwhile moves no other.
    pub after: Option<Map<String, Value>>,
    /// Number of rows to leave out.
    pub skip: u32,
    /// Maximum number of rows.
    pub limit: u32,
}

/// Columns that a filter speaks of.
struct Columns {
    uid: &'static str,
    since: &'static str,
    until: &'static str,
}

impl ExportTable {
    /// The names of what a row holds, in its order.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Snapshots => &["seq", "at_ms"],
            Self::Sightings => &[
                "protocol",
                "port",
                "address",
                "scope",
                "dual",
                "first_seq",
                "last_seq",
                "first_at",
                "last_at",
                "command",
                "uid",
            ],
            Self::Conflicts => &[
                "seq",
                "at_ms",
                "lease",
                "protocol",
                "port",
                "occupant",
                "occupant_uid",
            ],
            Self::Endings => &["id", "ended_at_ms", "protocol", "port", "state"],
        }
    }

    /// The columns that tell one row from another, and their order.
    pub const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Snapshots | Self::Conflicts => &["seq"],
            Self::Sightings => &["first_seq", "protocol", "port", "address", "scope", "dual"],
            Self::Endings => &["id"],
        }
    }

    /// The condition that a row comes after another, up to where that one's JSON object is bound.
    const fn after(self) -> &'static str {
        match self {
            Self::Snapshots => " and seq > (select after ->> '$.seq' from (select ",
            Self::Conflicts => " and found.seq > (select after ->> '$.seq' from (select ",
            Self::Sightings => {
                " and (first_seq, protocol, port, address, scope, dual) > (select \
                 after ->> '$.first_seq', after ->> '$.protocol', after ->> '$.port', \
                 after ->> '$.address', after ->> '$.scope', after ->> '$.dual' from (select "
            }
            Self::Endings => " and id > (select unhex(after ->> '$.id') from (select ",
        }
    }

    /// A row with the names of its columns.
    pub fn row(self, values: &[Value]) -> Map<String, Value> {
        let names = self.columns().iter().map(|name| (*name).to_owned());
        names.zip(values.iter().cloned()).collect()
    }

    /// Its rows as JSON arrays, without the conditions of a filter.
    const fn rows(self) -> &'static str {
        match self {
            Self::Snapshots => "select json_array(seq, at_ms) from snapshot where true",
            // No `last_at`: the latest snapshot still sees it.
            Self::Sightings => {
                "select json_array(protocol, port, address, scope, dual, first_seq, last_seq, \
                 strftime('%Y-%m-%dT%H:%M:%fZ', began.at_ms / 1000.0, 'unixepoch'), \
                 strftime('%Y-%m-%dT%H:%M:%fZ', ended.at_ms / 1000.0, 'unixepoch'), command, uid) \
                 from sighting left join snapshot as began on began.seq = first_seq \
                 left join snapshot as ended on ended.seq = last_seq where true"
            }
            Self::Conflicts => {
                "select json_array(found.seq, at_ms, lower(hex(lease)), found.protocol, found.port, \
                 occupant, occupant_uid) from late_conflict as found \
                 left join lease as of on of.id = found.lease where true"
            }
            Self::Endings => {
                "select json_array(lower(hex(id)), ended_at_ms, protocol, port, state) from lease \
                 where ended_at_ms is not null"
            }
        }
    }

    const fn order(self) -> &'static str {
        match self {
            Self::Snapshots => " order by seq",
            Self::Sightings => " order by first_seq, protocol, port, address, scope, dual",
            Self::Conflicts => " order by found.seq",
            Self::Endings => " order by id",
        }
    }

    const fn of_filter(self) -> Columns {
        match self {
            Self::Snapshots => Columns {
                uid: "null",
                since: "at_ms",
                until: "at_ms",
            },
            Self::Sightings => Columns {
                uid: "uid",
                since: "ifnull(ended.at_ms, 9223372036854775807)",
                until: "began.at_ms",
            },
            Self::Conflicts => Columns {
                uid: "of.uid",
                since: "at_ms",
                until: "at_ms",
            },
            Self::Endings => Columns {
                uid: "uid",
                since: "ended_at_ms",
                until: "ended_at_ms",
            },
        }
    }

    /// Prefix of its own columns: those of a lease that it is joined with are called alike.
    const fn table(self) -> &'static str {
        match self {
            Self::Conflicts => "found.",
            Self::Snapshots | Self::Sightings | Self::Endings => "",
        }
    }

    /// Whether its rows belong to the user of a lease, who alone sees them beside root.
    pub const fn is_owned(self) -> bool {
        matches!(self, Self::Conflicts | Self::Endings)
    }

    fn narrow(self, query: &mut QueryBuilder<Sqlite>, filter: &LedgerFilter) {
        let columns = self.of_filter();
        if let Some(uid) = filter.uid {
            query
                .push(format!(" and {} = ", columns.uid))
                .push_bind(uid);
        }
        if let Some(since) = filter.since {
            query.push(format!(" and {} >= ", columns.since));
            query.push_bind(since.as_millisecond());
        }
        if let Some(until) = filter.until {
            query.push(format!(" and {} < ", columns.until));
            query.push_bind(until.as_millisecond());
        }
        if let Some(after) = &filter.after {
            let after = Value::from(after.clone()).to_string();
            query
                .push(self.after())
                .push_bind(after)
                .push(" as after))");
        }
        self.narrow_by_lease(query, filter);
    }

    fn narrow_by_lease(self, query: &mut QueryBuilder<Sqlite>, filter: &LedgerFilter) {
        let table = self.table();
        if let Some(ports) = &filter.ports {
            query.push(format!(" and {table}port between "));
            query.push_bind(*ports.start());
            query.push(" and ").push_bind(*ports.end());
        }
        if let Some(protocol) = filter.protocol {
            query.push(format!(" and {table}protocol = "));
            query.push_bind(protocol.as_str());
        }
        if let Some(pool) = &filter.pool {
            query.push(" and pool = ").push_bind(pool.clone());
        }
        if let Some(name) = &filter.name {
            query.push(" and name = ");
            query.push_bind(name.as_str().to_owned());
        }
    }
}

impl Reader {
    /// Some rows of a ledger, those after one of them, oldest first, each a value for each of its
    /// columns. `window`: how many to leave out, and how many to give.
    pub async fn ledger(
        &self,
        ledger: ExportTable,
        filter: &LedgerFilter,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut query = QueryBuilder::new(ledger.rows());
        ledger.narrow(&mut query, filter);
        query.push(ledger.order());
        query.push(" limit ").push_bind(filter.limit);
        query.push(" offset ").push_bind(filter.skip);
        let rows: Vec<String> = query.build_query_scalar().fetch_all(&self.pool).await?;
        let rows = rows.iter();
        rows.map(|row| super::lease::json("a row of history", row))
            .collect()
    }
}
