//! Learning without an engine around it, on a real record.

use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;

use super::*;
use crate::domain::lease::tests_support::lease;
use crate::host::process;
use crate::store::StoreOptions;

async fn record(folder: &Path) -> Store {
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: Some(Duration::from_secs(1)),
    };
    let (store, _) = Store::open(&folder.join("portbook.db"), options)
        .await
        .unwrap();
    store
}

fn learning(store: &Store) -> Arc<Learning> {
    let half_life = Duration::from_hours(1);
    Arc::new(Learning::new(store.clone(), Clock::manual(), half_life))
}

#[tokio::test]
async fn snapshots_and_counts_reach_the_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = record(folder.path()).await;
    let before = learning(&store);
    let lease = lease(20_000);
    let groups = [(lease.addresses.clone(), lease.protocol)];
    let at = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(before.snapshot(&groups, HashMap::new(), at), 1);
    before.released(&lease);
    before.write_snapshots().await.unwrap();

    let later = learning(&store);
    later.remember().await.unwrap();
    assert_eq!(later.snapshot(&groups, HashMap::new(), at), 2);
    let snapshots = later.read_page(&lease.addresses, lease.protocol, Page::checks_total);
    assert_eq!(snapshots, Some(2));
}

async fn commit_for_ever(store: Store, lease: Lease) {
    loop {
        store.commit(store.batch().lease(&lease)).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// A service that stops drops its rounds, at any point, and then settles what was learned.
#[tokio::test]
async fn a_round_whose_caller_goes_away_loses_no_row() {
    for wakes in 1..16 {
        let folder = tempfile::tempdir().unwrap();
        let store = record(folder.path()).await;
        let before = learning(&store);
        let lease = lease(20_000);
        let groups = [(lease.addresses.clone(), lease.protocol)];
        before.snapshot(&groups, HashMap::new(), jiff::Timestamp::UNIX_EPOCH);
        before.released(&lease);
        // With an entry in the ledger the round has to wait for the tables as well.
        let entries = tokio::spawn(commit_for_ever(store.clone(), lease.clone()));
        let mut round = Box::pin(before.write());
        let mut left = wakes;
        poll_fn(|context| {
            left -= 1;
            let polled = round.as_mut().poll(context).map(drop);
            if left == 0 { Poll::Ready(()) } else { polled }
        })
        .await;
        drop(round);
        entries.abort();
        before.settle().await;

        let later = learning(&store);
        later.remember().await.unwrap();
        let ports = later.read_page(&lease.addresses, lease.protocol, Page::len);
        assert_eq!(ports, Some(1), "dropped after {wakes} wakes");
    }
}
