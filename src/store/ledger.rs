//! What history is made of beside attempts, row by row, so that anybody can compute its counts
//! again: snapshots, who they saw, late conflicts, and the ends of leases.

use serde_json::{Map, Value};

use super::{Reader, StoreError};

/// One of the small tables behind history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    /// Each look at the sockets of others.
    Snapshots,
    /// Who was seen, from one snapshot to another without a gap.
    Sightings,
    /// Outsiders found on leased ports.
    Conflicts,
    /// Leases that have ended.
    Endings,
}

impl Ledger {
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

    /// A row with the names of its columns.
    pub fn row(self, values: &[Value]) -> Map<String, Value> {
        let names = self.columns().iter().map(|name| (*name).to_owned());
        names.zip(values.iter().cloned()).collect()
    }

    /// Its rows as JSON arrays, oldest first: ?1 is the user whose rows are wanted, or null for
    /// everybody's; ?2 is the row that the wanted ones come after, as an object, or null; ?3 and ?4 are
    /// how many to give and to leave out. A row that is added or deleted meanwhile moves no other.
    const fn query(self) -> &'static str {
        match self {
            Self::Snapshots => {
                "select json_array(seq, at_ms) from snapshot where (?1 is null or true) \
                 and seq > coalesce(?2 ->> '$.seq', -1) order by seq limit ?3 offset ?4"
            }
            Self::Sightings => {
                "select json_array(protocol, port, address, scope, dual, first_seq, last_seq) \
                 from sighting where (?1 is null or true) \
                 and (?2 is null or (first_seq, protocol, port, address, scope, dual) > \
                 (?2 ->> '$.first_seq', ?2 ->> '$.protocol', ?2 ->> '$.port', ?2 ->> '$.address', \
                 ?2 ->> '$.scope', ?2 ->> '$.dual')) \
                 order by first_seq, protocol, port, address, scope, dual \
                 limit ?3 offset ?4"
            }
            Self::Conflicts => {
                "select json_array(seq, at_ms, lower(hex(lease)), protocol, port, occupant, \
                 occupant_uid) \
                 from late_conflict as found where (?1 is null \
                 or exists (select 1 from lease where id = found.lease and uid = ?1)) \
                 and seq > coalesce(?2 ->> '$.seq', -1) order by seq limit ?3 offset ?4"
            }
            Self::Endings => {
                "select json_array(lower(hex(id)), ended_at_ms, protocol, port, state) from lease \
                 where ended_at_ms is not null and (?1 is null or uid = ?1) \
                 and id > coalesce(unhex(?2 ->> '$.id'), x'') order by id limit ?3 offset ?4"
            }
        }
    }
}

impl Reader {
    /// Some rows of a ledger, those after one of them, oldest first, each a value for each of its
    /// columns. `window`: how many to leave out, and how many to give.
    pub async fn ledger(
        &self,
        ledger: Ledger,
        uid: Option<u32>,
        after: Option<&Map<String, Value>>,
        window: (u32, u32),
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let after = after.map(|row| Value::from(row.clone()).to_string());
        let (skip, limit) = window;
        let rows: Vec<String> = sqlx::query_scalar(ledger.query())
            .bind(uid)
            .bind(after)
            .bind(limit)
            .bind(skip)
            .fetch_all(&self.pool)
            .await?;
        let rows = rows.iter();
        rows.map(|row| super::lease::json("a row of history", row))
            .collect()
    }
}
