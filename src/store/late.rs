//! The table `late_conflict`: outsiders found on leased ports.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Reader, StoreError};

/// How many late conflicts are looked at: they are rare, and nobody counts more.
pub const MOST_LATE: u32 = 1000;

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

impl Reader {
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
}
