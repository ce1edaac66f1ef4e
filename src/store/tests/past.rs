//! A past to count, delete and ask for: allocations and attempts of chosen days.

use std::path::Path;

use jiff::Timestamp;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use super::{attempt, full_lease};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::lease::{AllocationId, Lease, LeaseId, State};
use crate::domain::port::Port;
use crate::store::{AllocationRecord, AttemptFilter, Store};

pub(super) const DAY: i64 = 86_400_000;

/// A time on a day, counted from 1970.
pub(super) fn at(day: i64) -> Timestamp {
    Timestamp::from_millisecond(day * DAY + 1000).unwrap()
}

/// An id of version 7 made at a time.
fn id(time: Timestamp, number: u64) -> Uuid {
    let ms = u128::from(time.as_millisecond().unsigned_abs());
    Uuid::from_u128(ms << 80 | 7 << 76 | u128::from(number))
}

pub(super) fn allocation(day: i64, number: u64) -> AllocationRecord {
    AllocationRecord {
        id: AllocationId(id(at(day), number)),
        at: at(day),
        uid: u32::try_from(number % 2).unwrap(),
        ..super::allocation()
    }
}

/// Outcomes of attempts, each as often as the others.
const OUTCOMES: [Outcome; 6] = [
    Outcome::Bound,
    Outcome::Lingering,
    Outcome::InUse,
    Outcome::NotPermitted,
    Outcome::AddressNotAvailable,
    Outcome::Failed,
];

/// `count` attempts on a few ports, with these outcomes.
pub(super) fn attempts(day: i64, count: u16) -> Vec<Attempt> {
    let one = |number: u16| Attempt {
        at: at(day),
        port: Port::new(8000 + number % 7).unwrap(),
        outcome: OUTCOMES[usize::from(number) % OUTCOMES.len()],
        occupant: attempt().occupant.filter(|_| number.is_multiple_of(3)),
        ..attempt()
    };
    (0..count).map(one).collect()
}

/// Stores allocation `number` of a day with `count` attempts.
pub(super) async fn add(store: &Store, day: i64, number: u64, count: u16) -> AllocationRecord {
    let allocation = allocation(day, number);
    let batch = store.batch().allocation(&allocation);
    let batch = batch.attempts(&allocation, &attempts(day, count));
    store.commit(batch).await.unwrap();
    allocation
}

pub(super) fn ended(of: &AllocationRecord, number: u64, name: Option<&str>) -> Lease {
    let mut lease = full_lease();
    lease.id = LeaseId(id(of.at, number));
    lease.allocation = of.id;
    lease.name = name.map(|name| name.parse().unwrap());
    lease.granted_at = of.at;
    lease.state = State::Released;
    lease.ended_at = Some(of.at);
    lease
}

/// A filter of at most 1000 attempts with the fields that `set` sets.
pub(super) fn filter(set: impl FnOnce(&mut AttemptFilter)) -> AttemptFilter {
    let mut filter = AttemptFilter {
        limit: 1000,
        ..AttemptFilter::default()
    };
    set(&mut filter);
    filter
}

/// Runs a statement on a file, past the store; makes the file if it is missing.
pub(super) async fn raw(file: &Path, statement: &'static str) {
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut raw = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
}
