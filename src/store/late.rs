//! The table `late_conflict`: outsiders found on leased ports.

use std::collections::HashMap;

use sqlx::FromRow;
use uuid::Uuid;

use super::{Reader, StoreError};
use crate::domain::lease::LeaseId;

/// Maximum number of late conflicts that are read. They are rare.
pub const MOST_LATE: u32 = 1000;

/// Number of outsiders found on leased ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LateTotal {
    /// Number found; [`MOST_LATE`] if there may be more.
    pub found: usize,
    pub last: Option<LateConflict>,
}

/// An outsider found on a leased port.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LateConflict {
    /// Protocol of the lease.
    pub protocol: String,
    /// Leased port.
    pub port: u16,
    /// Description of the outsider, as far as it was known.
    pub occupant: String,
    /// User of the outsider, if known.
    pub occupant_uid: Option<u32>,
}

/// An outsider found on a leased port, with the lease.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LateRecord {
    /// Paging key: counts up.
    pub seq: i64,
    /// Time of the find, in milliseconds since 1970.
    pub at_ms: i64,
    #[sqlx(try_from = "Vec<u8>")]
    pub lease: Uuid,
    /// Protocol of the lease.
    pub protocol: String,
    /// Leased port.
    pub port: u16,
    /// Description of the outsider, as far as it was known.
    pub occupant: String,
    /// User of the outsider, if known.
    pub occupant_uid: Option<u32>,
    /// Name of the lease, if it has one.
    pub name: Option<String>,
    /// User of the lease. `None` once the lease is deleted.
    pub uid: Option<u32>,
}

impl Reader {
    /// Counts the outsiders since a time, on leases of one user or of all. Only the latest are read:
    /// there is no index by time, since row numbers are in that order.
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
                 select 1 from lease_row where id = found.lease and uid = ?2)) \
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

    /// Descriptions of the outsiders on each lease, among the latest [`MOST_LATE`] of all leases.
    pub async fn late_told(&self) -> Result<HashMap<LeaseId, Vec<String>>, StoreError> {
        let found: Vec<(Vec<u8>, String)> =
            sqlx::query_as("select lease, occupant from late_conflict order by seq desc limit ?1")
                .bind(MOST_LATE)
                .fetch_all(&self.pool)
                .await?;
        let mut told: HashMap<LeaseId, Vec<String>> = HashMap::new();
        for (id, occupant) in found {
            // A row that a person changed by hand names no lease.
            if let Ok(id) = Uuid::from_slice(&id) {
                told.entry(LeaseId(id)).or_default().push(occupant);
            }
        }
        Ok(told)
    }

    /// Lists outsiders on leases of one user or of all, newest first, those found before row `before`.
    /// At most [`MOST_LATE`] rows are read, which bounds the cost.
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
             ) as found left join lease_row as lease on lease.id = found.lease \
             where ?2 is null or lease.uid = ?2 order by found.seq desc",
        );
        let found = found.bind(before).bind(uid).bind(MOST_LATE);
        Ok(found.fetch_all(&self.pool).await?)
    }

    /// Lists outsiders on one lease, newest first, among the latest [`MOST_LATE`] of all leases.
    pub async fn late_on(&self, lease: LeaseId) -> Result<Vec<LateRecord>, StoreError> {
        let found = sqlx::query_as(
            "select found.seq, found.at_ms, found.lease, found.protocol, found.port, \
             found.occupant, found.occupant_uid, lease.name, lease.uid from ( \
                 select * from late_conflict order by seq desc limit ?2 \
             ) as found left join lease_row as lease on lease.id = found.lease \
             where found.lease = ?1 order by found.seq desc",
        );
        let found = found.bind(lease.0.as_bytes().as_slice()).bind(MOST_LATE);
        Ok(found.fetch_all(&self.pool).await?)
    }
}
