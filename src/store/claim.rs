//! The table `fleet_claim`: numbers that this host has claimed in its fleet, or may have. Its changes are
//! rows of commits, beside those of the leases that have the numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{Connection, ToSql, params};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::entry;
use super::ledger::Frames;
use super::{Store, StoreError};
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::lease::LeaseId;
use crate::domain::port::{Port, Protocol};

/// What a row does to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Does {
    /// Puts a claim, in place of an earlier one on its number.
    Put,
    /// Writes the present form of a claim. One that was forgotten stays so, whatever the order in which both
    /// arrive.
    Change,
    /// Forgets a claim. A later one on its number, which has another nonce, stays.
    Remove,
}

/// Change of the table, with words as texts. SQLite has signed numbers only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClaimRow<'a> {
    pub(super) does: Does,
    #[serde(borrow)]
    pub(super) protocol: Cow<'a, str>,
    pub(super) port: u16,
    pub(super) lease: Uuid,
    #[serde(borrow)]
    pub(super) nonce: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) session: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) stage: Cow<'a, str>,
    pub(super) revision: i64,
    pub(super) token: i64,
    pub(super) reclaim_s: i64,
    pub(super) is_doubtful: bool,
}

const PUT: &str = "insert or replace into fleet_claim \
     (protocol, port, nonce, lease, session, stage, revision, token, doubtful, reclaim_s) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Claims are found by their primary key: a look through all would cost more with each of them.
pub(super) const CHANGE: &str = "update fleet_claim set lease = ?4, session = ?5, stage = ?6, \
     revision = ?7, token = ?8, doubtful = ?9, reclaim_s = ?10 \
     where protocol = ?1 and port = ?2 and nonce = ?3";

pub(super) const REMOVE: &str =
    "delete from fleet_claim where protocol = ?1 and port = ?2 and nonce = ?3";

impl<'a> ClaimRow<'a> {
    pub(super) fn of(does: Does, claim: &'a Claim) -> Self {
        Self {
            does,
            protocol: claim.number.protocol.as_str().into(),
            port: claim.number.port.get(),
            lease: claim.lease.0,
            nonce: Cow::Borrowed(&claim.nonce),
            session: Cow::Borrowed(&claim.session),
            stage: claim.stage.as_str().into(),
            revision: claim.revision.cast_signed(),
            token: claim.token.cast_signed(),
            reclaim_s: claim.reclaim_s.cast_signed(),
            is_doubtful: claim.is_doubtful,
        }
    }

    /// Writes it into the table.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let key: &[&dyn ToSql] = params![self.protocol, self.port, self.nonce];
        let all: &[&dyn ToSql] = params![
            self.protocol,
            self.port,
            self.nonce,
            self.lease.as_bytes(),
            self.session,
            self.stage,
            self.revision,
            self.token,
            self.is_doubtful,
            self.reclaim_s,
        ];
        let (query, values) = match self.does {
            Does::Put => (PUT, all),
            Does::Change => (CHANGE, all),
            Does::Remove => (REMOVE, key),
        };
        connection.prepare_cached(query)?.execute(values)?;
        Ok(())
    }

    /// Does to claims in memory what [`Self::write`] does to the table.
    pub(super) fn apply(&self, claims: &mut BTreeMap<Number, Claim>) -> Result<(), StoreError> {
        let claim = self.claim()?;
        let number = claim.number;
        let known = claims.get(&number);
        let is_known = known.is_some_and(|known| known.nonce == claim.nonce);
        match self.does {
            Does::Put => drop(claims.insert(number, claim)),
            Does::Change if is_known => drop(claims.insert(number, claim)),
            Does::Remove if is_known => drop(claims.remove(&number)),
            Does::Change | Does::Remove => {}
        }
        Ok(())
    }

    fn claim(&self) -> Result<Claim, StoreError> {
        let unreadable = |error: String| StoreError::unreadable("a claim of the ledger", error);
        let protocol: Result<Protocol, _> = self.protocol.parse();
        let stage: Result<ClaimStage, _> = self.stage.parse();
        Ok(Claim {
            number: Number {
                protocol: protocol.map_err(|error| unreadable(error.to_string()))?,
                port: Port::new(self.port)
                    .ok_or_else(|| unreadable(format!("{} is no port", self.port)))?,
            },
            lease: LeaseId(self.lease),
            nonce: self.nonce.clone().into_owned(),
            session: self.session.clone().into_owned(),
            stage: stage.map_err(|error| unreadable(error.to_string()))?,
            revision: self.revision.cast_unsigned(),
            token: self.token.cast_unsigned(),
            reclaim_s: self.reclaim_s.cast_unsigned(),
            is_doubtful: self.is_doubtful,
        })
    }
}

impl FromRow<'_, SqliteRow> for Claim {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let stage: String = row.try_get("stage")?;
        let stage: ClaimStage = stage
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
        Ok(Self {
            number: Number {
                protocol: row.try_get("protocol")?,
                port: row.try_get("port")?,
            },
            lease: row.try_get("lease")?,
            nonce: row.try_get("nonce")?,
            session: row.try_get("session")?,
            stage,
            revision: number("revision")?,
            token: number("token")?,
            reclaim_s: number("reclaim_s")?,
            is_doubtful: row.try_get("doubtful")?,
        })
    }
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<Claim>, StoreError> {
    let rows = sqlx::query_as("select * from fleet_claim");
    Ok(rows.fetch_all(connection).await?)
}

impl Store {
    /// Returns the claims on record by number, also those that the tables do not have yet, as on a full disk.
    /// For a start: nothing may be committed meanwhile.
    pub async fn claims(&self) -> Result<Vec<Claim>, StoreError> {
        let waiting = self.waiting()?;
        let claims = self.ask(|connection| Box::pin(all(connection))).await?;
        let by_number = claims.into_iter().map(|claim| (claim.number, claim));
        let mut claims: BTreeMap<Number, Claim> = by_number.collect();
        for frame in waiting.iter().flat_map(|bytes| Frames::of(bytes)) {
            for row in entry::decode(frame.entry)?.claims {
                row.apply(&mut claims)?;
            }
        }
        Ok(claims.into_values().collect())
    }

    /// Puts claims on record whose leases are not there. They are on the disk when this returns.
    #[cfg(feature = "fleet")]
    pub async fn put_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let batch = claims.iter().fold(self.batch(), super::Batch::claim);
        self.commit(batch.onto_disk()).await.map(drop)
    }

    /// Writes the present form of claims that are on record.
    #[cfg(feature = "fleet")]
    pub async fn change_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.write_claims(Does::Change, claims).await
    }

    /// Forgets claims.
    #[cfg(feature = "fleet")]
    pub async fn remove_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.write_claims(Does::Remove, claims).await
    }

    #[cfg(feature = "fleet")]
    async fn write_claims(&self, does: Does, claims: &[Claim]) -> Result<(), StoreError> {
        let add = |batch: super::Batch, claim| batch.claim_row(does, claim);
        let batch = claims.iter().fold(self.batch(), add);
        self.write(batch).await.map(drop)
    }
}
