//! Leases without an engine around them, on a real record and real sockets.

use std::time::Duration;

use super::*;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::lease::State;
use crate::domain::lease::tests_support::lease;
use crate::domain::port::Protocols;
use crate::host::hold::Take;
use crate::host::process;
use crate::store::StoreOptions;

/// Faults, for tests of repair.
impl Leases {
    pub(in crate::engine) fn lose_from_books(&self, id: LeaseId) {
        self.state.with(|state| state.books.remove(id));
    }

    pub(in crate::engine) fn alter(&self, id: LeaseId, change: impl FnOnce(&mut Lease)) {
        self.note(id, change);
    }
}

const ENDING: Ending = Ending {
    state: State::Released,
    why: "released",
    forgets: false,
};

async fn leases(folder: &tempfile::TempDir) -> Arc<Leases> {
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: None,
    };
    let file = folder.path().join("portbook.db");
    let (store, _) = Store::open(&file, options).await.unwrap();
    Arc::new(Leases::new(store, Clock::manual()))
}

/// Makes every commit of a lease fail.
async fn break_record(folder: &tempfile::TempDir) {
    let file = folder.path().join("portbook.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let record = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let broken = sqlx::query("drop table lease_row");
    broken.execute(&record).await.unwrap();
    record.close().await;
}

/// A port of the kernel's choosing on an address that no other test uses.
fn fresh(leases: &Arc<Leases>) -> Fresh {
    let address = BindAddress {
        interface: "lo".into(),
        ip: "127.0.84.1".parse().unwrap(),
        scope: 0,
    };
    let group = AddressGroup::new([address]);
    let probe = std::net::TcpListener::bind("127.0.84.1:0").unwrap();
    let port = Port::new(probe.local_addr().unwrap().port()).unwrap();
    drop(probe);
    let reservation = Reservation::of(leases, &group, Protocols::Tcp, port).unwrap();
    let hold = Hold::take(
        Take::Strictly,
        &group,
        Protocol::Tcp,
        port,
        &leases.clock,
        &mut |_, _| {},
    );
    let mut lease = lease(port.get());
    lease.addresses = group;
    lease.owner = None;
    lease.state = State::Reserved;
    Fresh {
        assist: None,
        lease,
        hold: hold.unwrap(),
        reservation: Arc::new(reservation),
        claim: None,
    }
}

#[tokio::test]
async fn granted_lease_is_recorded_held_and_booked_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let leases = leases(&folder).await;
    let fresh = fresh(&leases);
    let (batch, place) = (leases.store.batch(), fresh.lease.addresses.clone());
    let (granted, ended) = leases.grant(batch, vec![fresh], Vec::new()).await.unwrap();
    let (id, port) = (granted[0].id, granted[0].port);
    assert!(ended.is_empty() && leases.reservations().is_empty());
    assert!(leases.hold_of(id).is_some());
    assert!(leases.store.lease(id).await.unwrap().is_some());
    let keeper = leases.keeper_of(&place, Protocols::Tcp, port);
    assert!(matches!(keeper, Some(Keeper::Lease(lease)) if lease.id == id));

    let ended = leases.end(id, ENDING, |_| true).await.unwrap().unwrap();
    assert_eq!(ended.lease.state, State::Released);
    assert!(leases.hold_of(id).is_none() && leases.get(id).is_none());
    assert!(leases.keeper_of(&place, Protocols::Tcp, port).is_none());
}

#[tokio::test]
async fn ending_that_cannot_be_recorded_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let leases = leases(&folder).await;
    let batch = leases.store.batch();
    let granted = leases.grant(batch, vec![fresh(&leases)], Vec::new()).await;
    let lease = Arc::clone(&granted.unwrap().0[0]);
    break_record(&folder).await;
    assert!(leases.end(lease.id, ENDING, |_| true).await.is_err());
    assert_eq!(leases.living(lease.id).unwrap().state, State::Reserved);
    assert!(leases.hold_of(lease.id).is_some());
}

#[tokio::test]
async fn grant_that_cannot_be_recorded_frees_its_port() {
    let folder = tempfile::tempdir().unwrap();
    let leases = leases(&folder).await;
    let fresh = fresh(&leases);
    break_record(&folder).await;
    let batch = leases.store.batch();
    assert!(leases.grant(batch, vec![fresh], Vec::new()).await.is_err());
    assert!(leases.all().is_empty() && leases.reservations().is_empty());
    assert_eq!(leases.descriptor_count(), 0);
}

#[tokio::test]
async fn requests_wait_for_the_turn_of_a_lease() {
    let folder = tempfile::tempdir().unwrap();
    let leases = leases(&folder).await;
    let batch = leases.store.batch();
    let granted = leases.grant(batch, vec![fresh(&leases)], Vec::new()).await;
    let id = granted.unwrap().0[0].id;
    let turn = leases.turn(id).await;
    let mut ending = std::pin::pin!(leases.end(id, ENDING, |_| true));
    let waits = tokio::time::timeout(Duration::from_millis(20), &mut ending);
    assert!(waits.await.is_err(), "it ended in the turn of another");
    drop(turn);
    assert!(ending.await.unwrap().is_some());
}
