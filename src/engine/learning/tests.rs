//! Learning without an engine around it, on a real record.

use super::*;
use crate::domain::lease::tests_support::lease;
use crate::host::process;
use crate::store::StoreOptions;

#[tokio::test]
async fn snapshots_and_counts_reach_the_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: None,
    };
    let file = folder.path().join("portbook.db");
    let (store, _) = Store::open(&file, options).await.unwrap();
    let learning = Learning::new(store.clone(), Clock::manual(), Duration::from_hours(1));
    let lease = lease(20_000);
    let groups = [(lease.addresses.clone(), lease.protocol)];
    let at = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(learning.snapshot(&groups, HashMap::new(), at), 1);
    learning.released(&lease);
    learning.write_snapshots().await.unwrap();

    let later = Learning::new(store, Clock::manual(), Duration::from_hours(1));
    later.remember().await.unwrap();
    assert_eq!(later.snapshot(&groups, HashMap::new(), at), 2);
    let snapshots = later.read_page(&lease.addresses, lease.protocol, Page::checks_total);
    assert_eq!(snapshots, Some(2));
}
