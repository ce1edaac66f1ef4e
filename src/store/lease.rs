//! The table `lease`: one row a lease, written when it is granted and again at each change.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder, Sqlite};
use uuid::Uuid;

use super::writer::{Job, Question};
use super::{Store, StoreError};
use crate::domain::lease::{
    AllocationId, BootTime, Guard, Lease, LeaseId, Name, Owner, Scope, State,
};
use crate::domain::port::Port;
use crate::domain::precedence::Moved;

/// A lease as it stands in the record, with the boot that its deadlines and owner belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLease {
    /// The lease.
    pub lease: Lease,
    /// The boot in which it was last written.
    pub boot_id: String,
}

/// Which ended leases to list. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// The user who asks: others' leases have neither name nor label for it. `None` sees those of all.
    pub viewer: Option<u32>,
    /// With this name.
    pub name: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    pub label: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// In this end state.
    pub state: Option<State>,
    /// Granted before this one.
    pub before: Option<LeaseId>,
    /// At most so many.
    pub limit: u32,
}

#[derive(Serialize, Deserialize)]
struct OwnerJson {
    pid: u32,
    start_ticks: u64,
    uid: u32,
    command: String,
    started_at: Timestamp,
    /// Absent in what older versions wrote.
    #[serde(default)]
    until_reaped: bool,
}

#[derive(Serialize)]
struct Row<'a>(
    uuid::fmt::Simple,
    uuid::fmt::Simple,
    Option<&'a Name>,
    Option<&'a std::path::Path>,
    &'a str,
    &'static str,
    Port,
    &'a crate::domain::address::AddressGroup,
    u32,
    &'static str,
    &'static str,
    &'static str,
    i64,
    Option<i64>,
    &'a str,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<OwnerJson>,
    &'a std::collections::BTreeMap<String, String>,
    Option<&'a str>,
    u64,
    Option<&'a str>,
    Option<&'a Moved>,
    u8,
    Option<i64>,
    u8,
    Option<i64>,
);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn row<'a>(lease: &'a Lease, boot_id: &'a str) -> impl Serialize + 'a {
    let boot_ms = |time: BootTime| millis(time.0);
    Row(
        lease.id.0.simple(),
        lease.allocation.0.simple(),
        lease.name.as_ref(),
        match &lease.scope {
            Scope::User => None,
            Scope::Dir(dir) => Some(dir),
        },
        &lease.pool,
        lease.protocol.as_str(),
        lease.port,
        &lease.addresses,
        lease.uid,
        lease.handover.as_str(),
        lease.guard.as_str(),
        lease.state.as_str(),
        lease.granted_at.as_millisecond(),
        lease.ended_at.map(Timestamp::as_millisecond),
        boot_id,
        lease.claim_by.map(boot_ms),
        lease.expires.map(boot_ms),
        lease.ttl.map(millis),
        lease.owner.as_ref().map(|owner| OwnerJson {
            pid: owner.pid,
            start_ticks: owner.start_ticks,
            uid: owner.uid,
            command: owner.command.clone(),
            started_at: owner.started_at,
            until_reaped: owner.until_reaped,
        }),
        &lease.labels,
        lease.trace_id.as_deref(),
        lease.revision,
        lease.span_id.as_deref(),
        lease.moved.as_ref(),
        u8::from(lease.forgotten),
        lease.idle_since.map(Timestamp::as_millisecond),
        lease.by_hand.into(),
        // The same bits: SQLite knows signed numbers alone.
        lease.scope_device.map(u64::cast_signed),
    )
}

#[derive(FromRow)]
pub(super) struct Found {
    id: Vec<u8>,
    allocation: Vec<u8>,
    name: Option<String>,
    scope_dir: Option<String>,
    pool: String,
    protocol: String,
    port: u16,
    addresses: String,
    uid: u32,
    handover: String,
    guard: String,
    state: String,
    granted_at_ms: i64,
    ended_at_ms: Option<i64>,
    boot_id: String,
    claim_by_boot_ms: Option<i64>,
    expires_boot_ms: Option<i64>,
    ttl_ms: Option<i64>,
    owner: Option<String>,
    labels: String,
    trace_id: Option<String>,
    span_id: Option<String>,
    revision: i64,
    moved: Option<String>,
    forgotten: bool,
    idle_since_ms: Option<i64>,
    by_hand: bool,
    scope_device: Option<i64>,
}

fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::unreadable(what, text))
}

pub(super) fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable(what, error))
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|error| StoreError::unreadable("an id", error))
}

pub(super) fn timestamp(ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|error| StoreError::unreadable("a time", error))
}

fn duration(ms: Option<i64>) -> Option<Duration> {
    ms.map(|ms| Duration::from_millis(ms.unsigned_abs()))
}

fn guard(text: &str) -> Result<Guard, StoreError> {
    [Guard::Hold, Guard::Owner, Guard::None]
        .into_iter()
        .find(|guard| guard.as_str() == text)
        .ok_or_else(|| StoreError::unreadable("a guard", text))
}

impl TryFrom<Found> for StoredLease {
    type Error = StoreError;

    fn try_from(row: Found) -> Result<Self, StoreError> {
        let owner: Option<OwnerJson> = row
            .owner
            .as_deref()
            .map(|text| json("an owner", text))
            .transpose()?;
        let lease = Lease {
            id: LeaseId(uuid(&row.id)?),
            allocation: AllocationId(uuid(&row.allocation)?),
            name: row
                .name
                .as_deref()
                .map(|name| parsed("a name", name))
                .transpose()?,
            scope: row
                .scope_dir
                .map_or(Scope::User, |dir| Scope::Dir(PathBuf::from(dir))),
            pool: row.pool.into(),
            protocol: parsed("a protocol", &row.protocol)?,
            port: Port::new(row.port).ok_or_else(|| StoreError::unreadable("a port", row.port))?,
            addresses: json("addresses", &row.addresses)?,
            uid: row.uid,
            owner: owner.map(|owner| Owner {
                pid: owner.pid,
                start_ticks: owner.start_ticks,
                uid: owner.uid,
                command: owner.command,
                started_at: owner.started_at,
                until_reaped: owner.until_reaped,
            }),
            handover: parsed("a hand-over", &row.handover)?,
            guard: guard(&row.guard)?,
            state: parsed("a state", &row.state)?,
            granted_at: timestamp(row.granted_at_ms)?,
            ended_at: row.ended_at_ms.map(timestamp).transpose()?,
            claim_by: duration(row.claim_by_boot_ms).map(BootTime),
            expires: duration(row.expires_boot_ms).map(BootTime),
            ttl: duration(row.ttl_ms),
            labels: json("labels", &row.labels)?,
            trace_id: row.trace_id,
            span_id: row.span_id,
            moved: row
                .moved
                .as_deref()
                .map(|text| json("a move", text))
                .transpose()?,
            forgotten: row.forgotten,
            revision: row.revision.unsigned_abs(),
            idle_since: row.idle_since_ms.map(timestamp).transpose()?,
            by_hand: row.by_hand,
            scope_device: row.scope_device.map(i64::cast_unsigned),
        };
        Ok(Self {
            lease,
            boot_id: row.boot_id,
        })
    }
}

/// Every lease that has not ended. A row that cannot be read is logged and left alone: one bad row
/// must not keep the others from being guarded.
pub(super) async fn living(
    connection: &mut sqlx::SqliteConnection,
) -> Result<Vec<StoredLease>, StoreError> {
    let rows: Vec<Found> =
        sqlx::query_as("select * from lease where ended_at_ms is null order by id")
            .fetch_all(connection)
            .await?;
    let mut leases = Vec::with_capacity(rows.len());
    for row in rows {
        match row.try_into() {
            Ok(lease) => leases.push(lease),
            Err(error) => tracing::error!(%error, "a lease on record is left out"),
        }
    }
    Ok(leases)
}

impl Store {
    /// Every lease that has not ended.
    pub async fn live_leases(&self) -> Result<Vec<StoredLease>, StoreError> {
        let (reply, living) = tokio::sync::oneshot::channel();
        self.jobs
            .send(Job::Ask(Question::Living(reply)))
            .await
            .map_err(|_| StoreError::Closed)?;
        living.await.map_err(|_| StoreError::Closed)?
    }

    /// Every lease that has not ended, with the count of its changes.
    pub async fn living_revisions(&self) -> Result<Vec<(LeaseId, u64)>, StoreError> {
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as("select id, revision from lease where ended_at_ms is null")
                .fetch_all(&self.readers)
                .await?;
        let rows = rows.into_iter();
        rows.map(|(id, revision)| Ok((LeaseId(uuid(&id)?), revision.unsigned_abs())))
            .collect()
    }

    /// One lease, living or ended.
    pub async fn lease(&self, id: LeaseId) -> Result<Option<StoredLease>, StoreError> {
        let row: Option<Found> = sqlx::query_as("select * from lease where id = ?1")
            .bind(id.0.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// The leases that an allocation granted, living or ended, the first granted first.
    pub async fn leases_of(
        &self,
        allocation: AllocationId,
        limit: u32,
    ) -> Result<Vec<StoredLease>, StoreError> {
        let rows: Vec<Found> =
            sqlx::query_as("select * from lease where allocation = ?1 order by id limit ?2")
                .bind(allocation.0.as_bytes().as_slice())
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The last lease of a user's name, living or ended: where its port is remembered. `None` also
    /// if a release made the name forget its port.
    pub async fn last_of_name(
        &self,
        uid: u32,
        scope: &Scope,
        name: &Name,
        protocol: crate::domain::port::Protocol,
    ) -> Result<Option<StoredLease>, StoreError> {
        let dir = match scope {
            Scope::User => None,
            Scope::Dir(dir) => Some(dir.to_string_lossy()),
        };
        let row: Option<Found> = sqlx::query_as(
            "select * from lease where name = ?1 and uid = ?2 and scope_dir is ?3 \
             and protocol = ?4 order by id desc limit 1",
        )
        .bind(name.as_str())
        .bind(uid)
        .bind(dir)
        .bind(protocol.as_str())
        .fetch_optional(&self.readers)
        .await?;
        let row = row.filter(|row| !row.forgotten);
        row.map(TryInto::try_into).transpose()
    }

    /// Ended leases, newest first.
    pub async fn ended_leases(&self, filter: &LeaseFilter) -> Result<Vec<StoredLease>, StoreError> {
        let mut query = QueryBuilder::new("select * from lease where ended_at_ms is not null");
        veiled(&mut query, filter);
        if let Some(pool) = &filter.pool {
            query.push(" and pool = ").push_bind(pool.clone());
        }
        if let Some(state) = filter.state {
            query.push(" and state = ").push_bind(state.as_str());
        }
        if let Some(before) = filter.before {
            query
                .push(" and id < ")
                .push_bind(before.0.as_bytes().to_vec());
        }
        query
            .push(" order by id desc limit ")
            .push_bind(filter.limit);
        let rows: Vec<Found> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

/// Conditions on what only a lease's own user may know. They must not be put to others' leases: whether
/// there is a next page would tell what these are called.
fn veiled(query: &mut QueryBuilder<Sqlite>, filter: &LeaseFilter) {
    if filter.name.is_none() && filter.label.is_none() {
        return;
    }
    if let Some(uid) = filter.viewer {
        query.push(" and uid = ").push_bind(uid);
    }
    if let Some(name) = &filter.name {
        query.push(" and name = ").push_bind(name.clone());
    }
    if let Some(label) = &filter.label {
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (&**label, None),
        };
        query
            .push(" and exists (select 1 from json_each(labels) where key = ")
            .push_bind(key.to_owned());
        if let Some(value) = value {
            query.push(" and value = ").push_bind(value.to_owned());
        }
        query.push(")");
    }
}
