//! The record against a real SQLite file.

mod asking;
#[cfg(feature = "fleet")]
mod claims;
mod converting;
mod counting;
mod indexes;
mod ledger;
mod past;
mod pruning;
mod sealing;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::address::{BindAddress, Family};
use crate::domain::attempt::{Attempt, Occupant, Outcome, SocketState};
use crate::domain::explanation::Explanation;
use crate::domain::lease::tests_support::lease;
use crate::domain::lease::{AllocationId, BootTime, Owner, Scope, State};
use crate::domain::port::{Port, Protocol};

fn options() -> StoreOptions {
    StoreOptions {
        boot_id: "this boot".into(),
        machine_id: Some("this machine".into()),
        batch_max: 16,
        checkpoint_interval: Some(Duration::from_millis(20)),
    }
}

async fn open(folder: &Path) -> (Store, tokio::task::JoinHandle<()>) {
    Store::open(&folder.join("portbook.db"), options())
        .await
        .unwrap()
}

fn allocation() -> AllocationRecord {
    AllocationRecord {
        id: AllocationId(Uuid::from_u128(7)),
        at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        uid: 1000,
        pool: "default".into(),
        refusal: None,
        detail: None,
        attempt_count: 2,
        free_count: 0,
        duration_us: 431,
        explanation: Explanation {
            notes: vec!["a \"quoted\" note, with a comma".into()],
            ..Explanation::default()
        },
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        span_id: Some("b7ad6b7169203331".into()),
        story: String::new(),
        attempts: Vec::new(),
        retry_key: Some("a key".into()),
    }
}

fn attempt() -> Attempt {
    Attempt {
        at: Timestamp::from_millisecond(1_700_000_000_124).unwrap(),
        address: BindAddress::wildcard(Family::Ipv6),
        protocol: Protocol::Tcp,
        port: Port::new(8888).unwrap(),
        outcome: Outcome::InUse,
        errno: Some(98),
        duration: Duration::from_nanos(7_500),
        occupant: Some(Occupant {
            pid: Some(17),
            uid: Some(0),
            command: Some("a'; drop table lease; --".into()),
            state: SocketState::Listening,
        }),
        span_id: Some("00f067aa0ba902b7".into()),
    }
}

pub(super) fn full_lease() -> crate::domain::lease::Lease {
    let mut lease = lease(24117);
    lease.name = Some("web".parse().unwrap());
    lease.scope = Scope::Dir("/srv/a \"tree\"".into());
    lease.owner = Some(Owner {
        pid: 99,
        start_ticks: 123_456,
        uid: 1000,
        command: "node".into(),
        started_at: Timestamp::from_second(1_700_000_000).unwrap(),
        until_reaped: true,
        inherited: true,
        engine: true,
        mapped_from: Port::new(8080),
        all_mapped: true,
    });
    lease.expires = Some(BootTime(Duration::from_millis(5_500)));
    lease.ttl = Some(Duration::from_mins(1));
    lease.labels.insert("team".into(), "infra".into());
    lease.idle_since = Some(Timestamp::from_second(1_700_000_001).unwrap());
    lease.by_hand = true;
    lease.scope_device = Some(u64::MAX - 3);
    lease
}

#[tokio::test]
async fn stored_rows_are_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path()).await;
    let (allocation, lease, attempt) = (allocation(), full_lease(), attempt());
    let batch = store
        .batch()
        .allocation(&allocation)
        .lease(&lease)
        .attempts(&allocation, std::slice::from_ref(&attempt));
    store.commit(batch).await.unwrap();
    drop(store);
    writer.await.unwrap();

    let (store, _writer) = open(folder.path()).await;
    assert_eq!(
        store.allocation(allocation.id).await.unwrap(),
        Some(allocation.clone())
    );
    let live = store.live_leases().await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!((&live[0].lease, &*live[0].boot_id), (&lease, "this boot"));
    let attempts = store.attempts(&past::filter(|_| {})).await.unwrap();
    let recorded = AttemptRecord {
        seq: Some(1),
        allocation: Some(allocation.id),
        pool: Some(allocation.pool),
        trace_id: allocation.trace_id,
        ..AttemptRecord::from(&attempt)
    };
    assert_eq!(attempts, [recorded]);
    let last = store
        .last_of_name(
            1000,
            &lease.scope,
            lease.name.as_ref().unwrap(),
            Protocol::Tcp,
        )
        .await
        .unwrap();
    assert_eq!(last.unwrap().lease.port, lease.port);
}

#[tokio::test]
async fn changed_lease_replaces_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let mut lease = full_lease();
    lease.name = None;
    store.commit(store.batch().lease(&lease)).await.unwrap();
    // A spare gets its name when it is taken.
    lease.name = Some("8080".parse().unwrap());
    lease.state = State::Released;
    lease.revision += 1;
    lease.ended_at = Some(Timestamp::from_second(1_700_000_100).unwrap());
    store.commit(store.batch().lease(&lease)).await.unwrap();
    // An older form that arrives later does not bring it back.
    store
        .commit(store.batch().lease(&full_lease()))
        .await
        .unwrap();
    assert!(store.live_leases().await.unwrap().is_empty());
    let filter = LeaseFilter {
        state: Some(State::Released),
        limit: 5,
        ..LeaseFilter::default()
    };
    assert_eq!(store.ended_leases(&filter).await.unwrap()[0].lease, lease);
}

#[tokio::test]
async fn files_of_others_newer_and_damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portbook.db");
    let (store, writer) = open(folder.path()).await;
    drop(store);
    writer.await.unwrap();

    let elsewhere = StoreOptions {
        machine_id: Some("another".into()),
        ..options()
    };
    let error = Store::open(&file, elsewhere).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherHost { .. }), "{error}");

    let newer = "update _sqlx_migrations set version = 9999 \
         where version = (select max(version) from _sqlx_migrations)";
    past::raw(&file, newer).await;
    let error = Store::open(&file, options()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 9999, .. }),
        "{error}"
    );

    for damage in [
        "delete from _sqlx_migrations",
        "drop table _sqlx_migrations",
    ] {
        past::raw(&file, damage).await;
        let error = Store::open(&file, options()).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("version"), "{error}");
    }

    let foreign = folder.path().join("foreign.db");
    past::raw(&foreign, "create table bookmark (url text)").await;
    let error = Store::open(&foreign, options()).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    let bad = folder.path().join("bad.db");
    std::fs::write(
        &bad,
        "this was never a database, however long it may be. ".repeat(50),
    )
    .unwrap();
    let error = Store::open(&bad, options()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(
        std::fs::read_to_string(&bad)
            .unwrap()
            .starts_with("this was never")
    );
}

#[tokio::test]
async fn commits_of_a_command_keep_the_log_short() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portbook.db");
    let options = StoreOptions {
        checkpoint_interval: None,
        ..options()
    };
    let (store, _writer) = Store::open(&file, options).await.unwrap();
    let attempts = vec![attempt(); 10];
    for _ in 0..200 {
        let batch = store.batch().attempts(&allocation(), &attempts);
        store.commit(batch).await.unwrap();
    }
    let log = std::fs::metadata(file.with_extension("db-wal")).unwrap();
    assert!(log.len() < 1 << 20, "{} bytes of log", log.len());
}
