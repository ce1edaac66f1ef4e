//! The table `fleet_claim`: numbers that this host has claimed in its fleet, or may have.

#[cfg(feature = "fleet")]
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::{Store, StoreError};
use crate::domain::claim::{Claim, ClaimStage, Number};

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

/// The columns of a claim. The lease is in hexadecimal digits, since JSON has no blobs.
#[cfg(feature = "fleet")]
fn columns(claim: &Claim) -> Value {
    json!([
        claim.number.protocol.as_str(),
        claim.number.port.get(),
        claim.lease.0.simple().to_string(),
        claim.nonce,
        claim.session,
        claim.stage.as_str(),
        claim.revision.cast_signed(),
        claim.token.cast_signed(),
        u8::from(claim.is_doubtful),
        claim.reclaim_s.cast_signed(),
    ])
}

#[cfg(feature = "fleet")]
fn rows(claims: &[Claim]) -> String {
    let rows: Vec<Value> = claims.iter().map(columns).collect();
    Value::from(rows).to_string()
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<Claim>, StoreError> {
    let rows = sqlx::query_as("select * from fleet_claim order by protocol, port");
    Ok(rows.fetch_all(connection).await?)
}

#[cfg(feature = "fleet")]
async fn put(connection: &mut SqliteConnection, claims: String) -> Result<(), StoreError> {
    sqlx::query(
        "insert or replace into fleet_claim \
         (protocol, port, lease, nonce, session, stage, revision, token, doubtful, reclaim_s) \
         select value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4, \
         value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9 from json_each(?1)",
    )
    .bind(claims)
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes claims by their primary key: a look through all would cost more with each claim.
#[cfg(feature = "fleet")]
pub(super) const CHANGE: &str = "update fleet_claim set session = value ->> 4, stage = value ->> 5, \
     revision = value ->> 6, token = value ->> 7, doubtful = value ->> 8, reclaim_s = value ->> 9 \
     from json_each(?1) \
     where protocol = value ->> 0 and port = value ->> 1 and nonce = value ->> 3";

/// Removes claims in the same way. A nonce has one number alone.
#[cfg(feature = "fleet")]
pub(super) const REMOVE: &str = "delete from fleet_claim \
     where protocol in (select value ->> 0 from json_each(?1)) \
     and port in (select value ->> 1 from json_each(?1)) \
     and nonce in (select value ->> 3 from json_each(?1))";

#[cfg(feature = "fleet")]
async fn act(
    connection: &mut SqliteConnection,
    query: &'static str,
    claims: String,
) -> Result<(), StoreError> {
    sqlx::query(query).bind(claims).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Returns the claims on record.
    pub async fn claims(&self) -> Result<Vec<Claim>, StoreError> {
        self.ask(|connection| Box::pin(all(connection))).await
    }

    /// Puts claims on record, each in place of an earlier one on its number. They are on the disk when this
    /// returns. Nothing that is committed is waited for: no other row is concerned.
    #[cfg(feature = "fleet")]
    pub async fn put_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let claims = rows(claims);
        self.work(true, |connection| Box::pin(put(connection, claims)))
            .await
    }

    /// Writes the present form of claims that are on record. One that was forgotten stays so, whatever the
    /// order in which both arrive.
    #[cfg(feature = "fleet")]
    pub async fn change_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let claims = rows(claims);
        self.work(false, |connection| {
            Box::pin(act(connection, CHANGE, claims))
        })
        .await
    }

    /// Forgets claims. A later one on the same number, which has another nonce, stays.
    #[cfg(feature = "fleet")]
    pub async fn remove_claims(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let claims = rows(claims);
        self.work(false, |connection| {
            Box::pin(act(connection, REMOVE, claims))
        })
        .await
    }
}
