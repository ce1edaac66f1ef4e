//! Columns as values of the domain: ids are blobs, words and JSON are text, times are milliseconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use sqlx::decode::Decode;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteRow, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Row, Type};
use uuid::Uuid;

use crate::domain::address::AddressGroup;
use crate::domain::attempt::{Occupant, Outcome};
use crate::domain::lease::{
    AllocationId, BootTime, Guard, Handover, LeaseId, Name, Owner, Scope, State,
};
use crate::domain::port::{Port, Protocol};
use crate::domain::precedence::Moved;

/// A time in milliseconds since 1970.
#[derive(Debug)]
pub struct Millis(i64);

impl TryFrom<Millis> for Timestamp {
    type Error = jiff::Error;

    fn try_from(time: Millis) -> Result<Self, jiff::Error> {
        Self::from_millisecond(time.0)
    }
}

/// Reads a time.
pub(super) fn time(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    at(row.try_get(column)?)
}

/// Reads a time. `None` if it is null.
pub(super) fn maybe_time(row: &SqliteRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    let ms: Option<Millis> = row.try_get(column)?;
    ms.map(at).transpose()
}

fn at(ms: Millis) -> sqlx::Result<Timestamp> {
    ms.try_into()
        .map_err(|error: jiff::Error| sqlx::Error::Decode(error.into()))
}

/// Labels of a lease.
#[derive(Deserialize)]
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

/// A duration in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Nanos(u64);

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for f64 {
    /// Microseconds.
    #[expect(clippy::cast_precision_loss, reason = "the length of a system call")]
    fn from(nanos: Nanos) -> Self {
        nanos.0 as Self / 1000.0
    }
}

/// Makes types readable from a column of a type that SQLite has.
macro_rules! columns {
    ($($kind:ty, from $stored:ty: $read:expr;)*) => {$(
        impl Type<Sqlite> for $kind {
            fn type_info() -> SqliteTypeInfo {
                <$stored as Type<Sqlite>>::type_info()
            }

            fn compatible(found: &SqliteTypeInfo) -> bool {
                <$stored as Type<Sqlite>>::compatible(found)
            }
        }

        impl<'r> Decode<'r, Sqlite> for $kind {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                let read: fn($stored) -> Result<Self, BoxDynError> = $read;
                read(<$stored as Decode<'r, Sqlite>>::decode(value)?)
            }
        }
    )*};
}

columns! {
    Millis, from i64: |ms| Ok(Millis(ms));
    Nanos, from u64: |nanos| Ok(Nanos(nanos));
    BootTime, from u64: |ms| Ok(BootTime(Duration::from_millis(ms)));
    AllocationId, from Vec<u8>: |id| Ok(AllocationId(Uuid::from_slice(&id)?));
    LeaseId, from Vec<u8>: |id| Ok(LeaseId(Uuid::from_slice(&id)?));
    Port, from u16: |number| Port::new(number).ok_or_else(|| "0 is not a port".into());
    Protocol, from String: word;
    Outcome, from String: word;
    Handover, from String: word;
    Guard, from String: word;
    State, from String: word;
    Name, from String: word;
    Scope, from Option<String>: |dir| Ok(dir.map_or(Scope::User, |dir| Scope::Dir(PathBuf::from(dir))));
    AddressGroup, from String: json;
    Occupant, from String: json;
    Moved, from String: json;
    Owner, from String: json;
    Labels, from String: json;
}

/// Reads a word of an enumeration, or a name.
fn word<T: DeserializeOwned>(text: String) -> Result<T, BoxDynError> {
    let text: StringDeserializer<serde::de::value::Error> = text.into_deserializer();
    Ok(T::deserialize(text)?)
}

/// Reads a value that is stored as JSON.
#[expect(clippy::needless_pass_by_value, reason = "a column is read by value")]
fn json<T: DeserializeOwned>(text: String) -> Result<T, BoxDynError> {
    Ok(serde_json::from_str(&text)?)
}
