//! Counting attempts into the totals.

use super::open;
use super::past::{add, allocation};
use super::pruning::{bounds, prune};
use crate::store::{HourTotal, StatsFilter, Store};

/// Attempts and conflicts by day and port, summed up from the rows.
async fn sums_of_rows(store: &Store) -> Vec<(i64, i64, i64, i64)> {
    sqlx::query_as(
        "select at_ms / 86400000, port, count(*), sum(outcome = 'in_use') from attempt \
         group by 1, 2 order by 1, 2",
    )
    .fetch_all(&store.reader().pool)
    .await
    .unwrap()
}

/// Attempts and conflicts by day and port, from the totals.
pub(super) async fn sums_of_days(store: &Store) -> Vec<(i64, i64, i64, i64)> {
    sqlx::query_as(
        "select day, port, sum(bound + lingering + in_use + not_permitted \
         + address_not_available + failed), sum(in_use) from attempt_day \
         group by 1, 2 order by 1, 2",
    )
    .fetch_all(&store.reader().pool)
    .await
    .unwrap()
}

/// Attempts and conflicts of all hours.
async fn sums_of_hours(store: &Store, uid: Option<u32>) -> (i64, i64) {
    let totals = store.reader().hour_totals(0, uid).await.unwrap();
    let sum = |of: fn(&HourTotal) -> i64| totals.iter().map(of).sum();
    (sum(|hour| hour.attempts), sum(|hour| hour.in_use))
}

#[tokio::test]
async fn totals_are_the_sums_of_rows_and_outlive_them() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for day in 100..104 {
        add(&store, day, 1, 200).await;
        add(&store, day, 2, 33).await;
        // However many count at once, each attempt counts once.
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
async fn hours_include_attempts_that_are_not_counted_yet() {
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
async fn uncounted_attempts_are_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 20).await;
    let limits = bounds(&store, 101, 1).await;
    assert_eq!(prune(&store, limits).await[0], 0);
    store.count_attempts(false).await.unwrap();
    // The newest stays: its number must not be given again, as counting goes by numbers.
    assert_eq!(prune(&store, limits).await[0], 19);
    add(&store, 100, 2, 5).await;
    store.count_attempts(false).await.unwrap();
    let counted: i64 = sums_of_days(&store).await.iter().map(|sum| sum.2).sum();
    assert_eq!(counted, 25);
}

#[tokio::test]
async fn random_would_meet_is_summed_if_the_explanation_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    add(&store, 100, 1, 1).await;
    let filter = StatsFilter {
        first_day: 100,
        ..StatsFilter::default()
    };
    let totals = store.reader().allocation_totals(&filter).await.unwrap();
    assert_eq!((totals[0].granted, totals[0].weighed), (1, 0));
    let weighed = [(Some(0.25), 1), (Some(1.0), 0), (None, 0)];
    for (number, (chance, free)) in (2..).zip(weighed) {
        let mut record = allocation(100, number);
        record.uid = 1;
        record.explanation.random_would_meet = chance;
        record.free_count = free;
        let batch = store.batch().allocation(&record);
        store.commit(batch).await.unwrap();
    }
    let totals = store.reader().allocation_totals(&filter).await.unwrap();
    let total = &totals[0];
    assert_eq!((total.granted, total.weighed), (4, 2));
    assert!((total.random_would_meet - 1.25).abs() < 1e-9);
    // Each had two candidate ports, of which one and none were free.
    assert_eq!(total.met, 1 + 2);
}
