//! The table `lease_row`, read through the view `lease`: one row a lease, written when it is granted and again at each change.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, QueryBuilder, Row, Sqlite};

use super::column::{Labels, maybe_time, time};
use super::condition::{and, is_word};
use super::{Store, StoreError, overlay};
use crate::domain::lease::{AllocationId, Lease, LeaseId, Name, Scope, State};
use crate::domain::port::Protocol;

/// A lease as it stands in the record, with the boot that its deadlines and owner belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLease {
    pub lease: Lease,
    /// Boot in which it was last written.
    pub boot_id: String,
}

/// Filter of ended leases. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// User who asks: leases of other users have neither name nor label for it. `None` sees the names
    /// and labels of all.
    pub viewer: Option<u32>,
    pub name: Option<String>,
    /// Label, or label and value: `team` or `team=shop`.
    pub label: Option<String>,
    pub pool: Option<String>,
    /// State that ended the lease.
    pub state: Option<State>,
    /// Lease before which the listed ones were granted.
    pub before: Option<LeaseId>,
    /// Maximum number of leases.
    pub limit: u32,
}

impl FromRow<'_, SqliteRow> for StoredLease {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let lease = Lease {
            id: row.try_get("id")?,
            allocation: row.try_get("allocation")?,
            name: row.try_get("name")?,
            scope: row.try_get("scope_dir")?,
            pool: row.try_get::<String, _>("pool")?.into(),
            protocol: row.try_get("protocol")?,
            port: row.try_get("port")?,
            addresses: row.try_get("addresses")?,
            uid: row.try_get("uid")?,
            owner: row.try_get("owner")?,
            handover: row.try_get("handover")?,
            guard: row.try_get("guard")?,
            state: row.try_get("state")?,
            granted_at: time(row, "granted_at_ms")?,
            ended_at: maybe_time(row, "ended_at_ms")?,
            claim_by: row.try_get("claim_by_boot_ms")?,
            expires: row.try_get("expires_boot_ms")?,
            ttl: row
                .try_get::<Option<u64>, _>("ttl_ms")?
                .map(Duration::from_millis),
            labels: row.try_get::<Labels, _>("labels")?.0,
            moved: row.try_get("moved")?,
            forgotten: row.try_get("forgotten")?,
            trace_id: row.try_get("trace_id")?,
            span_id: row.try_get("span_id")?,
            revision: row.try_get("revision")?,
            idle_since: maybe_time(row, "idle_since_ms")?,
            by_hand: row.try_get("by_hand")?,
            scope_device: row
                .try_get::<Option<i64>, _>("scope_device")?
                .map(i64::cast_unsigned),
            claim: None,
        };
        Ok(Self {
            lease,
            boot_id: row.try_get("boot_id")?,
        })
    }
}

/// Reads every lease that has not ended. A row that cannot be read is logged and left alone: one bad
/// row must not keep the others from being guarded.
async fn living(
    connection: &mut SqliteConnection,
    waiting: &[Vec<u8>],
) -> Result<Vec<StoredLease>, StoreError> {
    let rows = overlay::living(connection, waiting).await?;
    let mut leases = Vec::with_capacity(rows.len());
    for row in rows {
        match StoredLease::from_row(&row) {
            Ok(lease) => leases.push(lease),
            Err(error) => {
                let error = StoreError::from(error);
                let lease: Option<LeaseId> = row.try_get("id").ok();
                tracing::error!(?lease, %error, "could not read a living lease; it is left unguarded");
            }
        }
    }
    Ok(leases)
}

impl Store {
    /// Returns every lease that has not ended, also those that the tables do not have yet.
    pub async fn live_leases(&self) -> Result<Vec<StoredLease>, StoreError> {
        let waiting = self.waiting()?;
        self.ask(move |connection| Box::pin(async move { living(connection, &waiting).await }))
            .await
    }

    /// Returns the revision of every lease that has not ended.
    pub async fn living_revisions(&self) -> Result<Vec<(LeaseId, u64)>, StoreError> {
        let rows = sqlx::query_as("select id, revision from lease_row where ended_at_ms is null")
            .fetch_all(&self.readers())
            .await?;
        Ok(rows)
    }

    /// Returns one lease, living or ended.
    pub async fn lease(&self, id: LeaseId) -> Result<Option<StoredLease>, StoreError> {
        if let Some(owed) = self.debts.of(id) {
            return Ok(Some(StoredLease {
                lease: Lease::clone(&owed),
                boot_id: self.boot_id().to_owned(),
            }));
        }
        let lease = sqlx::query_as("select * from lease where id = ?1")
            .bind(id.0.as_bytes().as_slice())
            .fetch_optional(&self.readers())
            .await?;
        Ok(lease)
    }

    /// Lists the leases that an allocation granted, living or ended, in the order granted.
    pub async fn leases_of(
        &self,
        allocation: AllocationId,
        limit: u32,
    ) -> Result<Vec<StoredLease>, StoreError> {
        let leases =
            sqlx::query_as("select * from lease where allocation = ?1 order by id limit ?2")
                .bind(allocation.0.as_bytes().as_slice())
                .bind(limit)
                .fetch_all(&self.readers())
                .await?;
        Ok(leases)
    }

    /// Returns the last lease of a user's name, living or ended: it remembers the name's port. `None`
    /// also if a release made the name forget its port.
    pub async fn last_of_name(
        &self,
        uid: u32,
        scope: &Scope,
        name: &Name,
        protocol: Protocol,
    ) -> Result<Option<StoredLease>, StoreError> {
        let last: Option<StoredLease> = sqlx::query_as(
            "select * from lease where name = ?1 and uid = ?2 and scope_dir is ?3 \
             and protocol = ?4 order by id desc limit 1",
        )
        .bind(name.as_str())
        .bind(uid)
        .bind(scope.folder().map(|folder| folder.to_string_lossy()))
        .bind(protocol.as_str())
        .fetch_optional(&self.readers())
        .await?;
        Ok(last.filter(|last| !last.lease.forgotten))
    }

    /// Lists ended leases, newest first.
    pub async fn ended_leases(&self, filter: &LeaseFilter) -> Result<Vec<StoredLease>, StoreError> {
        let mut query = QueryBuilder::new("select * from lease where ended_at_ms is not null");
        narrow_by_veiled(&mut query, filter);
        and(&mut query, &is_word("pool_word"), filter.pool.as_deref());
        let state = filter.state.map(State::as_str);
        and(&mut query, &is_word("state_word"), state);
        let before = filter.before.as_ref().map(|id| id.0.as_bytes().as_slice());
        and(&mut query, "id < ?", before);
        query
            .push(" order by id desc limit ")
            .push_bind(filter.limit);
        Ok(query.build_query_as().fetch_all(&self.readers()).await?)
    }
}

/// Adds the conditions on name and label, which only a lease's own user may know. They are never put to
/// leases of other users: whether there is a next page would tell their names.
fn narrow_by_veiled(query: &mut QueryBuilder<Sqlite>, filter: &LeaseFilter) {
    if filter.name.is_none() && filter.label.is_none() {
        return;
    }
    and(query, "uid = ?", filter.viewer);
    and(query, "name = ?", filter.name.as_deref());
    let Some(label) = filter.label.as_deref() else {
        return;
    };
    match label.split_once('=') {
        Some((key, value)) => {
            query.push(" and exists (select 1 from json_each(labels) where value = ");
            query.push_bind(value);
            and(query, "key = ?)", Some(key));
        }
        None => and(
            query,
            "exists (select 1 from json_each(labels) where key = ?)",
            Some(label),
        ),
    }
}
