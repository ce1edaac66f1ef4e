//! The past of one port: the leases on it, and the times at which others were seen on it.

use sqlx::{FromRow, QueryBuilder};

use super::filter::{BY_BLOCK, IN_BLOCKS};
use super::{Reader, StoreError, StoredLease};
use crate::domain::port::{Port, Protocol};

/// Number of a port's latest successful binds that lead to its leases.
const BINDS: u32 = 500;

/// A time in which every snapshot saw one outsider on an address of a port.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Seen {
    pub address: String,
    /// User of the socket. `None` if the kernel did not tell, and before it was recorded.
    pub uid: Option<u32>,
    /// Name of the program: text of its own choice. `None` as for `uid`.
    pub command: Option<String>,
    /// The first snapshot that saw it, in milliseconds since 1970.
    pub from_ms: i64,
    /// The last one. `None` while it is still seen.
    pub until_ms: Option<i64>,
}

impl Reader {
    /// Lists the latest leases on a port, living or ended, newest first. They are found by the binds
    /// that led to them, for which there is an index.
    pub async fn leases_on(
        &self,
        protocol: Protocol,
        port: Port,
        limit: u32,
    ) -> Result<Vec<StoredLease>, StoreError> {
        let (port, protocol) = (port.get(), protocol.as_str());
        let mut query = QueryBuilder::new("select * from lease where port = ");
        query.push_bind(port).push(" and protocol = ");
        query.push_bind(protocol).push(" and allocation in (");
        query.push("select allocation from attempt where ");
        query.push(IN_BLOCKS).push(" and port = ").push_bind(port);
        query.push(" and protocol = ").push_bind(protocol);
        query.push(" and outcome_word in (1, 2) order by ");
        query.push(BY_BLOCK).push(" limit ").push_bind(BINDS);
        query.push(") order by id desc limit ").push_bind(limit);
        let leases = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(leases)
    }

    /// Returns the time of the first snapshot on record, in milliseconds since 1970. `None` before it.
    pub async fn watched_since(&self) -> Result<Option<i64>, StoreError> {
        let first = sqlx::query_scalar("select at_ms from snapshot order by seq limit 1");
        Ok(first.fetch_optional(&self.pool).await?)
    }

    /// Lists the latest times at which others were seen on a port since a moment, newest first.
    pub async fn seen_on(
        &self,
        protocol: Protocol,
        port: Port,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<Seen>, StoreError> {
        let seen = sqlx::query_as(
            "select address, uid, command, began.at_ms as from_ms, ended.at_ms as until_ms \
             from sighting \
             join snapshot as began on began.seq = first_seq \
             left join snapshot as ended on ended.seq = last_seq \
             where protocol = ?1 and port = ?2 \
             and (last_seq is null or ended.at_ms >= ?3) \
             order by first_seq desc, address limit ?4",
        )
        .bind(protocol.as_str())
        .bind(port.get())
        .bind(since_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(seen)
    }
}
