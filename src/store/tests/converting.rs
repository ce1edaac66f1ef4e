//! A record of schema 16 (tests/fixture/make-record) and its compact form.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::options;
use super::past::filter;
use crate::domain::explanation::Explanation;
use crate::domain::lease::AllocationId;
use crate::store::{Store, StoreOptions};

const RECORD: &str = include_str!("../../../tests/fixture/record-16.sql");

/// Columns of before, with the query that gives a row of them as text.
const ROWS: [&str; 4] = [
    "select json_array(hex(id), at_ms, uid, pool, refusal, detail, attempt_count, duration_us, \
     trace_id, span_id, retry_key) from allocation order by id",
    "select json_array(hex(id), hex(allocation), name, scope_dir, pool, protocol, port, addresses, \
     uid, handover, guard, state, granted_at_ms, ended_at_ms, boot_id, claim_by_boot_ms, \
     expires_boot_ms, ttl_ms, owner, labels, trace_id, revision, span_id, moved, forgotten, \
     idle_since_ms, by_hand, scope_device) from lease order by id",
    "select json_array(seq, hex(allocation), at_ms, pool, interface, address, protocol, port, \
     outcome, errno, duration_ns, occupant, trace_id, span_id, strategy, uid) from attempt \
     order by seq",
    "select json_array(page, port, at_ms, good, failed, busy, late, released_at_ms, good_total, \
     failed_total, busy_total, late_total, occupant) from history_port order by page, port",
];

/// Totals of before.
const TOTALS: [&str; 5] = [
    "attempt_day",
    "place_day",
    "occupant_day",
    "allocation_hour",
    "lease_day",
];

/// A record of before in a folder. `more` statements change it.
async fn old_record(folder: &Path, more: &'static str) -> PathBuf {
    let file = folder.join("portbook.db");
    let mut old = connect(&file).await;
    sqlx::raw_sql(RECORD).execute(&mut old).await.unwrap();
    sqlx::raw_sql(more).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    file
}

async fn connect(file: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}?mode=rwc", file.display());
    SqliteConnection::connect(&url).await.unwrap()
}

/// Rows and totals as text.
async fn content(file: &Path) -> Vec<Vec<String>> {
    let mut connection = connect(file).await;
    let mut content = Vec::new();
    for query in ROWS {
        let rows = sqlx::query_scalar(query).fetch_all(&mut connection).await;
        content.push(rows.unwrap());
    }
    for table in TOTALS {
        let query = format!("select * from {table}");
        let rows = sqlx::query(AssertSqlSafe(query))
            .fetch_all(&mut connection)
            .await;
        let text = |row: &sqlx::sqlite::SqliteRow| -> String {
            let value = |index| row.try_get_unchecked::<Option<String>, _>(index).unwrap();
            format!("{:?}", (0..row.len()).map(value).collect::<Vec<_>>())
        };
        content.push(rows.unwrap().iter().map(text).collect());
    }
    content
}

/// Explanations of before.
async fn explanations(file: &Path) -> Vec<(AllocationId, String)> {
    let mut connection = connect(file).await;
    let query = "select id, explanation from allocation order by id";
    sqlx::query_as(query)
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

async fn open(file: &Path) -> Store {
    let options = StoreOptions {
        machine_id: None,
        ..options()
    };
    Store::open(file, options).await.unwrap().0
}

#[tokio::test]
async fn record_of_an_old_version_keeps_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let file = old_record(folder.path(), "").await;
    let before = content(&file).await;
    assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");
    let explained = explanations(&file).await;

    let store = open(&file).await;
    for (id, text) in explained {
        let now = store.allocation(id).await.unwrap().unwrap().explanation;
        let before: Explanation = serde_json::from_str(&text).unwrap();
        assert_eq!(now, before);
    }
    assert_eq!(content(&file).await, before);
    let attempts = store.attempts(&filter(|_| {})).await.unwrap();
    for attempt in &attempts {
        let of_allocation = filter(|f| f.allocation = attempt.allocation);
        let found = store.attempts(&of_allocation).await.unwrap();
        assert!(found.contains(attempt), "{attempt:?}");
    }
    let hours = store.reader().hour_totals(0, None).await.unwrap();
    let counted: i64 = hours.iter().map(|hour| hour.attempts).sum();
    assert_eq!(usize::try_from(counted).unwrap(), attempts.len());
}

#[tokio::test]
async fn explanation_that_cannot_be_read_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let damage = "update allocation set explanation = '{\"strategy\":7}' \
         where id = (select min(id) from allocation)";
    let file = old_record(folder.path(), damage).await;
    let (id, _) = explanations(&file).await.remove(0);
    let store = open(&file).await;
    assert!(store.allocation(id).await.is_err());
    let kept: Vec<u8> =
        sqlx::query_scalar("select explanation from allocation order by id limit 1")
            .fetch_one(&mut connect(&file).await)
            .await
            .unwrap();
    assert_eq!(kept, br#"{"strategy":7}"#);
}

#[tokio::test]
async fn converted_record_has_no_free_pages_and_gives_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = old_record(folder.path(), "").await;
    let store = open(&file).await;
    drop(store);
    let mut connection = connect(&file).await;
    let (free, mode): (i64, i64) =
        sqlx::query_as("select * from pragma_freelist_count, pragma_auto_vacuum")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!((free, mode), (0, 2));
}
