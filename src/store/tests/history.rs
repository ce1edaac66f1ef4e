//! Counting, deleting and asking for the past.

use std::path::Path;

use jiff::Timestamp;
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::{attempt, full_lease, open};
use strum::VariantArray;

use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::explanation::Explanation;
use crate::domain::history::{LateRow, Learned, SightingRow, SnapshotRow};
use crate::domain::lease::{AllocationId, Lease, LeaseId, State};
use crate::domain::port::{Port, Protocol};
use crate::domain::sighting::{Sighting, Visitor};
use crate::store::filter::narrowed;
use crate::store::{
    AllocationRecord, AttemptFilter, Bounds, Cursor, DayFilter, ExportTable, HourTotal, Kind,
    LedgerFilter, StatsFilter, Store,
};

const DAY: i64 = 86_400_000;

/// A long time ago, for the ids of that time.
fn at(day: i64) -> Timestamp {
    Timestamp::from_millisecond(day * DAY + 1000).unwrap()
}

/// An id of version 7, made at this time.
fn id(time: Timestamp, number: u64) -> Uuid {
    let ms = u128::from(time.as_millisecond().unsigned_abs());
    Uuid::from_u128(ms << 80 | 7 << 76 | u128::from(number))
}

fn allocation(day: i64, number: u64) -> AllocationRecord {
    AllocationRecord {
        id: AllocationId(id(at(day), number)),
        at: at(day),
        uid: u32::try_from(number % 2).unwrap(),
        ..super::allocation()
    }
}

/// So many attempts, on few ports, of every outcome.
fn attempts(day: i64, count: u16) -> Vec<Attempt> {
    let one = |number: u16| Attempt {
        at: at(day),
        port: Port::new(8000 + number % 7).unwrap(),
        outcome: Outcome::VARIANTS[usize::from(number) % Outcome::VARIANTS.len()],
        occupant: attempt().occupant.filter(|_| number.is_multiple_of(3)),
        ..attempt()
    };
    (0..count).map(one).collect()
}

async fn add(store: &Store, day: i64, number: u64, count: u16) -> AllocationRecord {
    let allocation = allocation(day, number);
    let batch = store.batch().allocation(&allocation);
    let attempts = attempts(day, count);
    let batch = batch.attempts(&allocation, &attempts);
    store.commit(batch).await.unwrap();
    allocation
}

fn ended(of: &AllocationRecord, number: u64, name: Option<&str>) -> Lease {
    let mut lease = full_lease();
    lease.id = LeaseId(id(of.at, number));
    lease.allocation = of.id;
    lease.name = name.map(|name| name.parse().unwrap());
    lease.granted_at = of.at;
    lease.state = State::Released;
    lease.ended_at = Some(of.at);
    lease
}

/// Deletes what may go, kind by kind; all of it has been learned from.
async fn prune(store: &Store, bounds: Bounds) -> [u64; 5] {
    let learned = Learned {
        covers: Some(store.reader().last_attempt().await.unwrap()),
        ..Learned::default()
    };
    store.write_learned(learned).await.unwrap();
    let mut deleted = [0; 5];
    for (deleted, kind) in deleted.iter_mut().zip(Kind::ALL) {
        let mut next = Some(Cursor::default());
        while let Some(after) = next {
            let step = store.prune(kind, after, 3, bounds).await.unwrap();
            *deleted += step.deleted;
            next = step.next;
        }
    }
    deleted
}

async fn bounds(store: &Store, before: i64, keep: u64) -> Bounds {
    let reader = store.reader();
    reader.bounds(at(before), keep, at(0)).await.unwrap()
}

/// What the rows themselves add up to.
async fn sums_of_rows(store: &Store) -> Vec<(i64, i64, i64, i64)> {
    sqlx::query_as(
        "select at_ms / 86400000, port, count(*), sum(outcome = 'in_use') from attempt \
         group by 1, 2 order by 1, 2",
    )
    .fetch_all(&store.reader().pool)
    .await
    .unwrap()
}

/// Attempts by hour: all of them, and those that met somebody.
async fn sums_of_hours(store: &Store, uid: Option<u32>) -> (i64, i64) {
    let totals = store.reader().hour_totals(0, uid).await.unwrap();
    let sum = |of: fn(&HourTotal) -> i64| totals.iter().map(of).sum();
    (sum(|hour| hour.attempts), sum(|hour| hour.in_use))
}

async fn sums_of_days(store: &Store) -> Vec<(i64, i64, i64, i64)> {
    sqlx::query_as(
        "select day, port, sum(bound + lingering + in_use + not_permitted \
         + address_not_available + failed), sum(in_use) from attempt_day \
         group by 1, 2 order by 1, 2",
    )
    .fetch_all(&store.reader().pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn totals_are_the_sums_and_outlive_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for day in 100..104 {
        add(&store, day, 1, 200).await;
        add(&store, day, 2, 33).await;
        // Counted at any moment, and by two at once, each attempt counts once.
        let (one, other) = tokio::join!(store.count_attempts(true), store.count_attempts(false));
        one.and(other).unwrap();
    }
    let sums = sums_of_rows(&store).await;
    assert_eq!(sums.iter().map(|sum| sum.2).sum::<i64>(), 4 * 233);
    assert_eq!(sums_of_days(&store).await, sums);

    let limits = bounds(&store, 102, 1_000_000).await;
    assert_eq!(prune(&store, limits).await, [466, 0, 4, 0, 0]);
    assert_eq!(sums_of_days(&store).await, sums);
    let limits = bounds(&store, 0, 10).await;
    assert_eq!(prune(&store, limits).await[0], 456);
    assert_eq!(sums_of_days(&store).await, sums);
}

#[tokio::test]
async fn hours_tell_of_every_attempt_whether_it_is_counted_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 200).await;
    let all = sums_of_hours(&store, None).await;
    assert_eq!(all.0, 200, "none is counted yet");
    store.count_attempts(false).await.unwrap();
    assert_eq!(sums_of_hours(&store, None).await, all);
    add(&store, 101, 2, 30).await;
    assert_eq!(sums_of_hours(&store, None).await.0, 230, "some are counted");
    assert_eq!(sums_of_hours(&store, Some(1)).await.0, 200);
    assert_eq!(sums_of_hours(&store, Some(0)).await.0, 30);
    store.count_attempts(false).await.unwrap();
    assert_eq!(sums_of_hours(&store, Some(0)).await.0, 30);
    let later = store.reader().hour_totals(101 * 24, None).await.unwrap();
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!((later[0].hour, later[0].attempts), (101 * 24, 30));
}

#[tokio::test]
async fn late_conflicts_are_counted_for_whose_lease_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let lease = full_lease();
    store.commit(store.batch().lease(&lease)).await.unwrap();
    let late = |at_ms, who: &str| LateRow {
        at_ms,
        lease: lease.id,
        protocol: lease.protocol,
        port: lease.port,
        addresses: lease.addresses.clone(),
        occupant: who.to_owned(),
        occupant_uid: Some(lease.uid),
    };
    let learned = Learned {
        late: vec![late(5, "old"), late(10, "one"), late(20, "two")],
        ..Learned::default()
    };
    store.write_learned(learned).await.unwrap();
    let reader = store.reader();
    let total = reader.late_total(10, Some(lease.uid)).await.unwrap();
    assert_eq!(total.found, 2);
    let last = total.last.unwrap();
    assert_eq!(
        (&*last.occupant, last.occupant_uid),
        ("two", Some(lease.uid))
    );
    let others = reader.late_total(0, Some(lease.uid + 1)).await.unwrap();
    assert_eq!((others.found, others.last), (0, None));
    let listed = reader.late_conflicts(None, Some(lease.uid)).await.unwrap();
    let whos: Vec<&str> = listed.iter().map(|late| &*late.occupant).collect();
    assert_eq!(whos, ["two", "one", "old"]);
    assert_eq!(
        (listed[0].lease, listed[0].uid),
        (lease.id.0, Some(lease.uid))
    );
    let name = lease.name.as_ref().map(ToString::to_string);
    assert_eq!(listed[0].name, name);
    let before = reader.late_conflicts(Some(listed[0].seq), None).await;
    assert_eq!(before.unwrap(), listed[1..]);
    let others = reader.late_conflicts(None, Some(lease.uid + 1)).await;
    assert_eq!(others.unwrap(), []);
}

#[tokio::test]
async fn attempts_that_came_while_a_round_was_written_are_replayed() {
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
async fn what_is_not_counted_yet_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 20).await;
    let limits = bounds(&store, 101, 1).await;
    assert_eq!(prune(&store, limits).await[0], 0);
    store.count_attempts(false).await.unwrap();
    // Never the newest: its number must not be given again, as counting goes by numbers.
    assert_eq!(prune(&store, limits).await[0], 19);
    add(&store, 100, 2, 5).await;
    store.count_attempts(false).await.unwrap();
    let counted: i64 = sums_of_days(&store).await.iter().map(|sum| sum.2).sum();
    assert_eq!(counted, 25);
}

#[tokio::test]
async fn living_leases_and_the_last_ports_of_names_stay_with_their_allocations() {
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
    // Another user's name says nothing about this one's.
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

    // Once even the sums of that day are forgotten, so is where the name was.
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

async fn plan(store: &Store, filter: AttemptFilter) -> String {
    let filter = store.reader().bounded(filter).await.unwrap();
    let mut query = QueryBuilder::new("explain query plan select * from attempt where true");
    narrowed(&mut query, &filter);
    let rows = query.build().fetch_all(&store.reader().pool).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    steps.join("; ")
}

#[tokio::test]
async fn what_is_rare_is_found_by_an_index_in_the_order_of_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let allocation = add(&store, 100, 1, 50).await;
    let filter = AttemptFilter {
        limit: 10,
        ..AttemptFilter::default()
    };
    let wanted = [
        (
            "attempt_allocation (allocation=?)",
            AttemptFilter {
                allocation: Some(allocation.id),
                ..filter.clone()
            },
        ),
        (
            "attempt_port (port=?)",
            AttemptFilter {
                ports: Some(8001..=8001),
                protocol: Some(Protocol::Tcp),
                ..filter.clone()
            },
        ),
        (
            "attempt_refused (outcome=?)",
            AttemptFilter {
                outcome: Some(Outcome::InUse),
                pool: Some("default".into()),
                ..filter.clone()
            },
        ),
        (
            "attempt_errno (errno=?)",
            AttemptFilter {
                errno: Some(98),
                ..filter.clone()
            },
        ),
        (
            "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            AttemptFilter {
                since: Some(at(100)),
                until: Some(at(101)),
                ..filter.clone()
            },
        ),
        (
            "INTEGER PRIMARY KEY (rowid<?)",
            AttemptFilter {
                ports: Some(1..=65535),
                before: Some(20),
                ..filter.clone()
            },
        ),
        (
            "attempt_uid (uid=? AND rowid<?)",
            AttemptFilter {
                uid: Some(1),
                before: Some(20),
                ..filter.clone()
            },
        ),
        (
            "attempt_errno (errno=?)",
            AttemptFilter {
                uid: Some(1),
                errno: Some(98),
                ..filter.clone()
            },
        ),
    ];
    for (index, filter) in wanted {
        let plan = plan(&store, filter).await;
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let by_pool = AttemptFilter {
        uid: Some(1),
        pool: Some("default".into()),
        ..filter.clone()
    };
    let plan_by_pool = plan(&store, by_pool).await;
    assert_eq!(plan_by_pool, "SCAN attempt", "in their order");
    let narrow = AttemptFilter {
        ports: Some(8001..=8003),
        ..filter
    };
    let plan = plan(&store, narrow).await;
    assert!(plan.contains("attempt_port (port>? AND port<?)"), "{plan}");
}

#[tokio::test]
async fn each_filter_leaves_exactly_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 102, 1, 60).await;
    // The clock was set back: what came later has an earlier time.
    add(&store, 100, 2, 60).await;
    let count = async |filter: AttemptFilter| {
        let filter = AttemptFilter {
            limit: 1000,
            ..filter
        };
        let reader = store.reader();
        let filter = reader.bounded(filter).await.unwrap();
        reader.attempts(&filter).await.unwrap().len()
    };
    let none = AttemptFilter::default();
    for (wanted, filter) in [
        (120, none.clone()),
        (
            20,
            AttemptFilter {
                outcome: Some(Outcome::Bound),
                ..none.clone()
            },
        ),
        (
            60,
            AttemptFilter {
                since: Some(at(101)),
                ..none.clone()
            },
        ),
        (
            60,
            AttemptFilter {
                until: Some(at(101)),
                ..none.clone()
            },
        ),
        (
            0,
            AttemptFilter {
                since: Some(at(103)),
                ..none.clone()
            },
        ),
        (
            0,
            AttemptFilter {
                until: Some(at(99)),
                ..none.clone()
            },
        ),
        (
            36,
            AttemptFilter {
                ports: Some(8000..=8001),
                ..none.clone()
            },
        ),
        (
            0,
            AttemptFilter {
                protocol: Some(Protocol::Udp),
                ..none.clone()
            },
        ),
        (
            0,
            AttemptFilter {
                interface: Some("lan0".into()),
                ..none.clone()
            },
        ),
        (
            60,
            AttemptFilter {
                uid: Some(1),
                ..none.clone()
            },
        ),
    ] {
        assert_eq!(count(filter.clone()).await, wanted, "{filter:?}");
    }
}

#[tokio::test]
async fn attempts_on_an_older_record_get_the_user_of_their_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path()).await;
    for number in 0..3 {
        add(&store, 100, number, 10).await;
    }
    drop(store);
    writer.await.unwrap();
    for statement in [
        "drop index attempt_uid",
        "alter table attempt drop column uid",
        "drop index allocation_retry",
        "alter table allocation drop column retry_key",
        "alter table late_conflict drop column occupant_uid",
        "alter table history_state add column pending_seq integer not null default 0",
        "alter table lease drop column moved",
        "alter table lease drop column forgotten",
        "alter table lease drop column idle_since_ms",
        "alter table lease drop column by_hand",
        "alter table lease drop column scope_device",
        "delete from _sqlx_migrations where version >= 9",
    ] {
        raw(folder.path(), statement).await;
    }
    let (store, _writer) = open(folder.path()).await;
    for (uid, wanted) in [(0, 20), (1, 10), (2, 0)] {
        let filter = AttemptFilter {
            uid: Some(uid),
            limit: 100,
            ..AttemptFilter::default()
        };
        assert_eq!(
            store.attempts(&filter).await.unwrap().len(),
            wanted,
            "{uid}"
        );
    }
}

#[tokio::test]
async fn days_come_page_by_page_and_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for day in 100..103 {
        add(&store, day, 1, 30).await;
    }
    store.count_attempts(false).await.unwrap();
    let mut filter = DayFilter {
        limit: 2,
        ..DayFilter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.reader().days(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.key());
        seen.extend(page);
    }
    assert_eq!(seen.len(), 3 * 7);
    assert!(
        seen.iter()
            .is_sorted_by(|a, b| (a.day, a.port) > (b.day, b.port))
    );
    assert_eq!(
        seen.iter()
            .map(super::super::DayRecord::attempts)
            .sum::<i64>(),
        90
    );
    assert_eq!(seen[0].date(), "1970-04-13");
}

async fn raw(folder: &Path, statement: &'static str) {
    let url = format!("sqlite://{}", folder.join("portbook.db").display());
    let mut raw = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::query(statement).execute(&mut raw).await.unwrap();
    sqlx::Connection::close(raw).await.unwrap();
}

#[tokio::test]
async fn what_random_would_have_met_is_summed_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 1).await;
    let filter = StatsFilter {
        first_day: 100,
        ..StatsFilter::default()
    };
    let totals = store.reader().allocation_totals(&filter).await.unwrap();
    assert_eq!((totals[0].granted, totals[0].weighed), (1, 0));
    raw(
        folder.path(),
        "insert into allocation select randomblob(16), at_ms, uid, pool, null, null, attempt_count, \
         1, value, null, null, null from allocation, json_each(json_array( \
         json('{\"random_would_meet\": 0.25, \"granted\": [8000]}'), \
         json('{\"random_would_meet\": 1, \"granted\": []}'), \
         json('{\"random_would_meet\": null}')))",
    )
    .await;
    let totals = store.reader().allocation_totals(&filter).await.unwrap();
    let total = &totals[0];
    assert_eq!((total.granted, total.weighed), (4, 2));
    assert!((total.random_would_meet - 1.25).abs() < 1e-9);
    // Each was given two candidate ports, of which one and none were granted.
    assert_eq!(total.met, 1 + 2);
}

#[tokio::test]
async fn looks_go_after_their_time_and_the_last_one_stays() {
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
    let rows = async |ledger| {
        let filter = LedgerFilter {
            limit: 9,
            ..LedgerFilter::default()
        };
        store.reader().ledger(ledger, &filter).await.unwrap()
    };
    let deleted = prune(&store, bounds(&store, 3, 9).await).await;
    // Snapshots 1 and 2, and who was last seen in them.
    assert_eq!(deleted[3], 3);
    assert_eq!(rows(ExportTable::Snapshots).await.len(), 2);
    assert_eq!(rows(ExportTable::Sightings).await.len(), 2);
    prune(&store, bounds(&store, 99, 9).await).await;
    assert_eq!(rows(ExportTable::Snapshots).await[0][0], 4);
}

#[tokio::test]
async fn attempts_add_up_over_time_and_by_who_was_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let first = add(&store, 100, 1, 60).await;
    add(&store, 102, 2, 12).await;
    let named = Attempt {
        at: at(102),
        ..attempt()
    };
    let batch = store.batch();
    let batch = batch.attempts(&first, &[named.clone(), named]);
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
    let (first, last) = (all_ms.iter().min(), all_ms.iter().max());
    assert_eq!(
        (first, last),
        (Some(&(100 * DAY + 1000)), Some(&(102 * DAY + 1000)))
    );

    let ways = reader.in_the_way(&all).await.unwrap();
    assert_eq!((&ways[0].command, ways[0].attempts), (&None, 12));
    assert_eq!((ways[1].uid, ways[1].attempts), (Some(0), 2));
    assert!(ways[1].command.as_deref().unwrap().contains("drop table"));

    let none = AttemptFilter {
        pool: Some("another".into()),
        ..all
    };
    assert_eq!(reader.attempt_times(&none).await.unwrap(), []);
}

#[tokio::test]
async fn attempts_are_found_by_the_name_and_the_strategy_of_their_request() {
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
    let tried = attempts(100, 7);
    let batch = store.batch().allocation(&random);
    let batch = batch.attempts(&random, &tried);
    store.commit(batch).await.unwrap();

    let count = async |filter: AttemptFilter| {
        let filter = AttemptFilter {
            limit: 1000,
            ..filter
        };
        store.attempts(&filter).await.unwrap().len()
    };
    let by_name = |name: &str| AttemptFilter {
        name: Some(name.parse().unwrap()),
        ..AttemptFilter::default()
    };
    assert_eq!(count(by_name("web")).await, 60);
    assert_eq!(count(by_name("api")).await, 0);
    let by_strategy = AttemptFilter {
        strategy: Some("random".into()),
        ..AttemptFilter::default()
    };
    assert_eq!(count(by_strategy).await, 7);
    let leases = store.leases_of(named.id, 10).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].lease.id, lease.id);
}
