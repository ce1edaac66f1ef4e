//! Deleting old rows.

use super::open;
use super::past::{add, at, ended, filter};
use crate::domain::history::{Learned, SightingRow, SnapshotRow};
use crate::domain::lease::State;
use crate::domain::port::{Port, Protocol};
use crate::domain::sighting::{Sighting, Visitor};
use crate::store::{Bounds, Cursor, ExportFilter, ExportTable, Kind, Store};

/// Learns from all attempts, then deletes the rows that may go: their numbers, kind by kind.
pub(super) async fn prune(store: &Store, bounds: Bounds) -> [u64; 5] {
    prune_by(store, bounds, 3).await
}

async fn prune_by(store: &Store, bounds: Bounds, rows: u32) -> [u64; 5] {
    let learned = Learned {
        covers: Some(store.reader().last_attempt().await.unwrap()),
        ..Learned::default()
    };
    store.write_learned(learned).await.unwrap();
    let mut deleted = [0; 5];
    for (deleted, kind) in deleted.iter_mut().zip(Kind::ALL) {
        let mut next = Some(Cursor::default());
        while let Some(after) = next {
            let step = store.prune(kind, after, rows, bounds).await.unwrap();
            *deleted += step.deleted;
            next = step.next;
        }
    }
    deleted
}

pub(super) async fn bounds(store: &Store, before: i64, keep: u64) -> Bounds {
    let reader = store.reader();
    reader.bounds(at(before), keep, at(0)).await.unwrap()
}

#[tokio::test]
async fn living_leases_and_last_leases_of_names_stay_with_their_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let mut allocations = Vec::new();
    for number in 0..6 {
        allocations.push(add(&store, 100, number, 2).await);
    }
    let mut living = ended(&allocations[0], 10, None);
    (living.state, living.ended_at) = (State::Active, None);
    let mut older = ended(&allocations[1], 11, Some("web"));
    let last = ended(&allocations[2], 12, Some("web"));
    let mut elsewhere = ended(&allocations[3], 13, Some("web"));
    elsewhere.protocol = Protocol::Udp;
    let unnamed = ended(&allocations[4], 14, None);
    // The same name of another user is another name.
    older.uid = last.uid;
    for lease in [&living, &older, &last, &elsewhere, &unnamed] {
        store.commit(store.batch().lease(lease)).await.unwrap();
    }
    add(&store, 200, 0, 1).await;
    store.count_attempts(false).await.unwrap();

    let limits = bounds(&store, 150, 1_000_000).await;
    let would = store.reader().removable(limits).await.unwrap();
    let would = [
        would.attempts,
        would.leases,
        would.allocations,
        would.looks,
        would.totals,
    ];
    assert_eq!(would, [12, 2, 3, 0, 0]);
    assert_eq!(prune(&store, limits).await, would);
    for lease in [&living, &last, &elsewhere] {
        assert!(store.lease(lease.id).await.unwrap().is_some());
        assert!(store.allocation(lease.allocation).await.unwrap().is_some());
    }
    for lease in [&older, &unnamed] {
        assert!(store.lease(lease.id).await.unwrap().is_none());
        assert!(store.allocation(lease.allocation).await.unwrap().is_none());
    }
    let name = last.name.as_ref().unwrap();
    let found = store.last_of_name(last.uid, &last.scope, name, Protocol::Tcp);
    assert_eq!(found.await.unwrap().unwrap().lease.id, last.id);

    // Once even the sums of that day go, the name's port goes too.
    let all = store.reader().bounds(at(150), 1, at(150)).await.unwrap();
    let would = store.reader().removable(all).await.unwrap();
    let deleted = prune(&store, all).await;
    assert_eq!(deleted[1..3], [2, 2]);
    assert_eq!(
        deleted[1..],
        [would.leases, would.allocations, would.looks, would.totals]
    );
    assert!(store.lease(living.id).await.unwrap().is_some());
}

#[tokio::test]
async fn old_snapshots_are_deleted_but_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path()).await;
    let mut learned = Learned::default();
    let sighting = |port| Sighting {
        protocol: Protocol::Tcp,
        port: Port::new(port).unwrap(),
        local: "127.0.0.1".parse().unwrap(),
        scope: 0,
        dual: false,
    };
    for seq in 1..=4 {
        let at_ms = at(seq).as_millisecond();
        learned.snapshots.push(SnapshotRow { seq, at_ms });
    }
    for (port, last_seq) in [(1, Some(1)), (2, Some(3)), (3, None)] {
        learned.sightings.push(SightingRow {
            sighting: sighting(port),
            visitor: Visitor::default(),
            first_seq: 1,
            last_seq,
        });
    }
    store.write_learned(learned).await.unwrap();
    let rows = async |table| {
        let filter = ExportFilter {
            of: filter(|_| {}),
            ..ExportFilter::default()
        };
        store.reader().export(table, &filter).await.unwrap()
    };
    let deleted = prune(&store, bounds(&store, 3, 9).await).await;
    // Snapshots 1 and 2, and the sighting that ended in them.
    assert_eq!(deleted[3], 3);
    assert_eq!(rows(ExportTable::Snapshots).await.len(), 2);
    assert_eq!(rows(ExportTable::Sightings).await.len(), 2);
    prune(&store, bounds(&store, 99, 9).await).await;
    assert_eq!(rows(ExportTable::Snapshots).await[0].get("seq"), 4);
}

#[tokio::test]
async fn pruned_record_gives_its_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for number in 0..20 {
        add(&store, 100, number, 1000).await;
    }
    add(&store, 200, 0, 1).await;
    store.count_attempts(false).await.unwrap();
    let pages = async || -> i64 {
        let pages = sqlx::query_scalar("pragma page_count");
        pages.fetch_one(&store.reader().pool).await.unwrap()
    };
    let before = pages().await;
    let limits = bounds(&store, 150, 1_000_000).await;
    assert_eq!(prune_by(&store, limits, 4096).await[0], 20_000);
    let after = pages().await;
    assert!(after < before - 100, "{before} pages, then {after}");
}
