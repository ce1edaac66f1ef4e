//! Asking for the past: filters, pages, sums.

use sqlx::{QueryBuilder, Row};

use super::past::{DAY, add, allocation, at, attempts, ended, filter};
use super::{attempt, full_lease, open};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::explanation::Explanation;
use crate::domain::history::{LateRow, Learned};
use crate::domain::port::Protocol;
use crate::store::filter::narrow;
use crate::store::{AllocationRecord, AttemptFilter, ExportFilter, ExportTable, Store};

type Set = fn(&mut AttemptFilter);

/// SQLite's plan of a query for attempts.
async fn plan(store: &Store, filter: AttemptFilter) -> String {
    let filter = store.reader().bounded(filter).await.unwrap();
    let mut query = QueryBuilder::new("explain query plan select * from attempt where true");
    narrow(&mut query, &filter);
    let rows = query.build().fetch_all(&store.reader().pool).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    steps.join("; ")
}

async fn count(store: &Store, filter: AttemptFilter) -> usize {
    let reader = store.reader();
    let filter = reader.bounded(filter).await.unwrap();
    reader.attempts(&filter).await.unwrap().len()
}

#[tokio::test]
async fn selective_filters_use_an_index_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let allocation = add(&store, 100, 1, 50).await;
    let of_allocation = filter(|f| f.allocation = Some(allocation.id));
    let by_allocation = plan(&store, of_allocation).await;
    assert!(by_allocation.contains("INTEGER PRIMARY KEY (rowid>? AND rowid<?)"));
    let filters: [(&str, Set); 9] = [
        ("attempt_port (<expr>=? AND port=?)", |f| {
            f.ports = Some(8001..=8001);
            f.protocol = Some(Protocol::Tcp);
        }),
        ("attempt_port (<expr>=? AND port>? AND port<?)", |f| {
            f.ports = Some(8001..=8003);
        }),
        ("attempt_refused (outcome=?)", |f| {
            f.outcome = Some(Outcome::InUse);
            f.pool = Some("default".into());
        }),
        ("attempt_errno (errno=?)", |f| f.errno = Some(98)),
        ("attempt_errno (errno=?)", |f| {
            (f.errno, f.uid) = (Some(98), Some(1));
        }),
        ("INTEGER PRIMARY KEY (rowid>? AND rowid<?)", |f| {
            (f.since, f.until) = (Some(at(100)), Some(at(101)));
        }),
        ("INTEGER PRIMARY KEY (rowid<?)", |f| {
            (f.ports, f.before) = (Some(1..=65535), Some(20));
        }),
        ("attempt_uid (uid=? AND rowid<?)", |f| {
            (f.uid, f.before) = (Some(1), Some(20));
        }),
        // All attempts in their order.
        ("SCAN attempt_row", |f| {
            (f.uid, f.pool) = (Some(1), Some("default".into()));
        }),
    ];
    for (index, set) in filters {
        let plan = plan(&store, filter(set)).await;
        assert!(plan.contains(index), "{plan} is not by {index}");
        let is_range = index.contains("port>");
        assert!(is_range || !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn each_filter_leaves_the_attempts_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 102, 1, 60).await;
    // The clock was set back: the later attempts have an earlier time.
    add(&store, 100, 2, 60).await;
    let filters: [(usize, Set); 10] = [
        (120, |_| {}),
        (20, |f| f.outcome = Some(Outcome::Bound)),
        (60, |f| f.since = Some(at(101))),
        (60, |f| f.until = Some(at(101))),
        (0, |f| f.since = Some(at(103))),
        (0, |f| f.until = Some(at(99))),
        (36, |f| f.ports = Some(8000..=8001)),
        (0, |f| f.protocol = Some(Protocol::Udp)),
        (0, |f| f.interface = Some("lan0".into())),
        (60, |f| f.uid = Some(1)),
    ];
    for (wanted, set) in filters {
        let filter = filter(set);
        assert_eq!(count(&store, filter.clone()).await, wanted, "{filter:?}");
    }
}

#[tokio::test]
async fn days_come_page_by_page_without_gap_or_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for day in 100..103 {
        add(&store, day, 1, 30).await;
    }
    store.count_attempts(false).await.unwrap();
    let mut filter = ExportFilter::default();
    filter.of.limit = 2;
    let mut seen = Vec::new();
    loop {
        let page = store.reader().export(ExportTable::Days, &filter).await;
        let page = page.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some(last.key.clone());
        seen.extend(page);
    }
    assert_eq!(seen.len(), 3 * 7);
    let order = |row: &crate::store::ExportRow| {
        let day = row.get("day").as_str().unwrap().to_owned();
        (day, row.get("port").as_u64())
    };
    assert!(seen.iter().is_sorted_by(|a, b| order(a) > order(b)));
    let attempts = seen.iter().map(|row| row.get("attempts").as_u64().unwrap());
    assert_eq!(attempts.sum::<u64>(), 90);
    let first = serde_json::to_string(&seen[0]).unwrap();
    assert!(first.starts_with(r#"{"day":"1970-04-13","pool":"default","#));
    assert!(first.ends_with(r#""last_at":"1970-04-13T00:00:01Z"}"#));
}

#[tokio::test]
async fn late_conflicts_belong_to_the_user_of_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let lease = full_lease();
    store.commit(store.batch().lease(&lease)).await.unwrap();
    let late = |at_ms, occupant: &str| LateRow {
        at_ms,
        lease: lease.id,
        protocol: lease.protocol,
        port: lease.port,
        addresses: lease.addresses.clone(),
        occupant: occupant.to_owned(),
        occupant_uid: Some(lease.uid),
    };
    let learned = Learned {
        late: vec![late(5, "old"), late(10, "one"), late(20, "two")],
        ..Learned::default()
    };
    store.write_learned(learned).await.unwrap();
    let reader = store.reader();
    let (owner, other) = (Some(lease.uid), Some(lease.uid + 1));
    let total = reader.late_total(10, owner).await.unwrap();
    assert_eq!(total.found, 2);
    let last = total.last.unwrap();
    assert_eq!((&*last.occupant, last.occupant_uid), ("two", owner));
    let others = reader.late_total(0, other).await.unwrap();
    assert_eq!((others.found, others.last), (0, None));
    let listed = reader.late_conflicts(None, owner).await.unwrap();
    let occupants: Vec<&str> = listed.iter().map(|late| &*late.occupant).collect();
    assert_eq!(occupants, ["two", "one", "old"]);
    assert_eq!((listed[0].lease, listed[0].uid), (lease.id.0, owner));
    let name = lease.name.as_ref().map(ToString::to_string);
    assert_eq!(listed[0].name, name);
    let before = reader.late_conflicts(Some(listed[0].seq), None).await;
    assert_eq!(before.unwrap(), listed[1..]);
    let others = reader.late_conflicts(None, other).await;
    assert_eq!(others.unwrap(), []);
}

#[tokio::test]
async fn attempts_made_while_a_round_is_written_are_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 3).await;
    let covered = store.reader().last_attempt().await.unwrap();
    add(&store, 100, 2, 2).await;
    let round = |covers| Learned {
        covers,
        ..Learned::default()
    };
    let replayed = async || store.remembered().await.unwrap().attempts.len();
    store.write_learned(round(None)).await.unwrap();
    assert_eq!(replayed().await, 5, "there is more to write");
    store.write_learned(round(Some(covered))).await.unwrap();
    assert_eq!(replayed().await, 2);
}

#[tokio::test]
async fn attempts_add_up_over_time_and_by_occupant() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let first = add(&store, 100, 1, 60).await;
    add(&store, 102, 2, 12).await;
    let named = Attempt {
        at: at(102),
        ..attempt()
    };
    let batch = store.batch().attempts(&first, &[named.clone(), named]);
    store.commit(batch).await.unwrap();

    let (reader, all) = (store.reader(), AttemptFilter::default());
    let times = reader.attempt_times(&all).await.unwrap();
    let of = |day, outcome: Outcome| {
        let found = times.iter().find(|times| times.outcome == outcome.as_str());
        let found = found.into_iter().flat_map(|times| &times.at_ms);
        found.filter(|at_ms| **at_ms / DAY == day).count()
    };
    assert_eq!(of(100, Outcome::Bound), 10);
    assert_eq!(of(102, Outcome::InUse), 4);
    let all_ms: Vec<i64> = times.iter().flat_map(|times| times.at_ms.clone()).collect();
    assert_eq!(all_ms.len(), 74);
    assert_eq!(all_ms.iter().min(), Some(&(100 * DAY + 1000)));
    assert_eq!(all_ms.iter().max(), Some(&(102 * DAY + 1000)));

    let ways = reader.in_the_way(&all).await.unwrap();
    assert_eq!((&ways[0].command, ways[0].attempts), (&None, 12));
    assert_eq!((ways[1].uid, ways[1].attempts), (Some(0), 2));
    assert!(ways[1].command.as_deref().unwrap().contains("drop table"));

    let none = filter(|f| f.pool = Some("another".into()));
    assert_eq!(reader.attempt_times(&none).await.unwrap(), []);
}

#[tokio::test]
async fn attempts_are_found_by_name_and_strategy_of_their_request() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let named = add(&store, 100, 1, 60).await;
    let lease = ended(&named, 10, Some("web"));
    store.commit(store.batch().lease(&lease)).await.unwrap();
    let random = AllocationRecord {
        explanation: Explanation {
            strategy: "random".into(),
            ..Explanation::default()
        },
        ..allocation(100, 2)
    };
    let batch = store.batch().allocation(&random);
    let batch = batch.attempts(&random, &attempts(100, 7));
    store.commit(batch).await.unwrap();

    let filters: [(usize, Set); 3] = [
        (60, |f| f.name = "web".parse().ok()),
        (0, |f| f.name = "api".parse().ok()),
        (7, |f| f.strategy = Some("random".into())),
    ];
    for (wanted, set) in filters {
        assert_eq!(count(&store, filter(set)).await, wanted);
    }
    let leases = store.leases_of(named.id, 10).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].lease.id, lease.id);
}
