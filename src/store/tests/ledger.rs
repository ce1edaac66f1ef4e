//! The ledger and its filling: nothing that was acknowledged is lost or written twice.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::past::{add, attempts, ended, filter, raw};
use super::{allocation, attempt, full_lease, open, options};
use crate::domain::lease::{AllocationId, State};
use crate::store::ledger::{Frame, Ledger, Pages, Progress};
use crate::store::{AllocationRecord, Batch, Store, StoreError};

/// Makes an empty record; returns the id of its ledger.
async fn make(folder: &Path) -> [u8; 16] {
    let (store, filler) = open(folder).await;
    let query = "select id from ledger";
    let id: Vec<u8> = sqlx::query_scalar(query)
        .fetch_one(&store.reader().pool)
        .await
        .unwrap();
    store.close().await;
    filler.await.unwrap();
    id.try_into().unwrap()
}

/// Appends batches as a service does that is killed before it fills the tables.
async fn append(folder: &Path, id: [u8; 16], filled: u64, batches: Vec<Batch>) {
    let pages = Pages::open(folder, id, filled).unwrap();
    let (orders, _) = std::sync::mpsc::channel();
    let (_, progress) = watch::channel(Progress::default());
    let ledger = Ledger::new(Arc::new(pages), orders, progress, 256, folder.to_owned());
    for batch in batches {
        let durable = batch.is_durable();
        ledger
            .append(batch.into_frame().unwrap(), durable)
            .await
            .unwrap();
    }
}

fn batch() -> Batch {
    Batch::new("this boot".into())
}

fn numbered(number: u128) -> AllocationRecord {
    AllocationRecord {
        id: AllocationId(Uuid::from_u128(number)),
        ..allocation()
    }
}

fn with_attempts(number: u128, count: u16) -> Batch {
    let record = numbered(number);
    batch()
        .allocation(&record)
        .attempts(&record, &attempts(1, count))
}

async fn ports(store: &Store) -> Vec<u16> {
    let attempts = store.attempts(&filter(|_| {})).await.unwrap();
    attempts.iter().map(|attempt| attempt.port).rev().collect()
}

async fn scalar(store: &Store, query: &'static str) -> i64 {
    let reader = store.reader();
    let answer = sqlx::query_scalar(query).fetch_one(&reader.pool);
    answer.await.unwrap()
}

#[cfg(feature = "fleet")]
#[tokio::test]
async fn claim_is_on_record_with_its_lease_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let id = make(folder.path()).await;
    let claim = super::claims::claim(9100, "a");
    let granted = batch().lease(&full_lease()).claim(&claim);
    append(folder.path(), id, 0, vec![granted]).await;
    let (store, _filler) = open(folder.path()).await;
    assert_eq!(store.claims().await.unwrap(), [claim]);
    assert_eq!(store.live_leases().await.unwrap().len(), 1);
}

#[tokio::test]
async fn entries_of_a_killed_service_are_in_the_tables_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let id = make(folder.path()).await;
    let mut lease = full_lease();
    let mut over = lease.clone();
    over.revision += 1;
    over.state = State::Released;
    over.ended_at = Some(over.granted_at);
    lease.guard = crate::domain::lease::Guard::None;
    let batches = vec![
        with_attempts(1, 3).lease(&lease),
        with_attempts(2, 2),
        batch().lease(&over),
    ];
    append(folder.path(), id, 0, batches).await;
    // The frame that was under way when it was killed.
    let file = folder.path().join("ledger-0");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&file, bytes).unwrap();

    for start in 0..3 {
        let (store, filler) = open(folder.path()).await;
        assert_eq!(ports(&store).await, [8000, 8001, 8002, 8000, 8001]);
        assert!(store.allocation(numbered(2).id).await.unwrap().is_some());
        let stored = store.lease(lease.id).await.unwrap().unwrap();
        assert_eq!(stored.lease.state, State::Released);
        assert_eq!(scalar(&store, "select sum(leases) from lease_day").await, 1);
        assert_eq!(
            scalar(&store, "select count(*) from refused_entry").await,
            0
        );
        if start == 1 {
            store.close().await;
        }
        drop(store);
        filler.await.unwrap();
    }
    assert!(!file.exists(), "a clean stop leaves no ledger");
}

#[tokio::test]
async fn killed_between_fill_and_new_entries_nothing_is_filled_twice() {
    let folder = tempfile::tempdir().unwrap();
    let id = make(folder.path()).await;
    append(
        folder.path(),
        id,
        0,
        vec![with_attempts(1, 1), with_attempts(2, 1)],
    )
    .await;
    // The tables have the first entry; a kill came before the file was noted as used up.
    raw(
        &folder.path().join("portbook.db"),
        "update ledger set filled = 1",
    )
    .await;
    append(folder.path(), id, 1, vec![with_attempts(3, 1)]).await;
    let (store, _filler) = open(folder.path()).await;
    for (number, found) in [(1, false), (2, true), (3, true)] {
        let record = store.allocation(numbered(number).id).await.unwrap();
        assert_eq!(record.is_some(), found, "{number}");
    }
}

#[tokio::test]
async fn files_turn_over_under_load_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, filler) = open(folder.path()).await;
    let many = vec![attempt(); 500];
    for number in 0..200 {
        let record = numbered(number);
        let mut lease = full_lease();
        lease.id = crate::domain::lease::LeaseId(record.id.0);
        let batch = store.batch().allocation(&record).lease(&lease);
        store.commit(batch.attempts(&record, &many)).await.unwrap();
    }
    let sizes = ["ledger-0", "ledger-1"].map(|name| {
        let data = std::fs::metadata(folder.path().join(name));
        data.map_or(0, |data| data.len())
    });
    assert!(
        sizes.iter().all(|size| (1..8 << 20).contains(size)),
        "{sizes:?}"
    );
    assert_eq!(
        scalar(&store, "select count(*) from attempt").await,
        100_000
    );
    assert_eq!(scalar(&store, "select count(*) from lease").await, 200);
    store.close().await;
    filler.await.unwrap();
    let (store, _filler) = open(folder.path()).await;
    assert_eq!(
        scalar(&store, "select count(*) from attempt").await,
        100_000
    );
}

#[tokio::test]
async fn entry_that_the_tables_refuse_is_set_aside_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, filler) = open(folder.path()).await;
    store.commit(with_attempts(1, 1)).await.unwrap();
    // The same allocation once more: only a fault in portbook itself makes such an entry.
    for batch in [with_attempts(1, 1), with_attempts(2, 1)] {
        store.commit(batch).await.unwrap();
    }
    assert!(store.allocation(numbered(2).id).await.unwrap().is_some());
    assert_eq!(
        scalar(&store, "select count(*) from refused_entry").await,
        1
    );
    assert_eq!(scalar(&store, "select count(*) from attempt").await, 2);
    store.close().await;
    filler.await.unwrap();
}

#[tokio::test]
async fn command_is_told_at_once_that_a_row_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = crate::store::StoreOptions {
        checkpoint_interval: None,
        ..options()
    };
    let file = folder.path().join("portbook.db");
    let (store, _filler) = Store::open(&file, options).await.unwrap();
    store.commit(with_attempts(1, 1)).await.unwrap();
    let refused = store.commit(with_attempts(1, 1)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Unwritable { .. }),
        "{refused}"
    );
    store.commit(with_attempts(2, 1)).await.unwrap();
    assert_eq!(scalar(&store, "select count(*) from attempt").await, 2);
    assert!(!folder.path().join("ledger-0").exists());
}

#[tokio::test]
async fn ledger_of_another_record_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).await;
    append(folder.path(), [7; 16], 0, vec![with_attempts(1, 1)]).await;
    let (store, _filler) = open(folder.path()).await;
    assert_eq!(ports(&store).await, [0; 0]);
    assert!(folder.path().join("ledger-0.other").exists());
    add(&store, 1, 1, 1).await;
    assert_eq!(ports(&store).await.len(), 1);
}

#[tokio::test]
async fn ledger_of_an_unknown_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let id = make(folder.path()).await;
    append(folder.path(), id, 0, vec![with_attempts(1, 1)]).await;
    let file = folder.path().join("ledger-0");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[6] = b'9';
    std::fs::write(&file, &bytes).unwrap();
    let error = Store::open(&folder.path().join("portbook.db"), options()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("use the portbook that wrote it"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn commits_after_the_close_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, filler) = open(folder.path()).await;
    let record = add(&store, 1, 1, 1).await;
    store.close().await;
    filler.await.unwrap();
    let lease = ended(&record, 1, None);
    let refused = store.commit(store.batch().lease(&lease)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Closed), "{refused}");
}

#[test]
fn entry_that_is_empty_is_a_frame_too() {
    let frame = batch().into_frame().unwrap();
    assert_eq!(frame.entry(), [1, 0, 0, 0]);
    assert!(Frame::of(|_| Err(StoreError::Closed)).is_err());
}
