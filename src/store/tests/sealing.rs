//! Leases whose rows were changed on the disk, past portbook.

use rusqlite::Connection;

use super::*;
use crate::domain::lease::Lease;

/// Opens the record once more, looks for damage, and returns it.
async fn damage(folder: &Path) -> Option<String> {
    let (store, writer) = open(folder).await;
    store.look_for_damage().await.unwrap();
    let damage = store.damage();
    drop(store);
    writer.await.unwrap();
    damage
}

/// Makes a record with a full lease in two forms, and with an ended one.
async fn record(folder: &Path) -> (Lease, Lease) {
    let (store, writer) = open(folder).await;
    let (mut lease, mut ended) = (full_lease(), lease(24118));
    for _ in 0..2 {
        store.commit(store.batch().lease(&lease)).await.unwrap();
        lease.revision += 1;
    }
    (ended.state, ended.ended_at) = (State::Released, Some(Timestamp::UNIX_EPOCH));
    store.commit(store.batch().lease(&ended)).await.unwrap();
    drop(store);
    writer.await.unwrap();
    (lease, ended)
}

fn change(folder: &Path, statement: &str) -> usize {
    let connection = Connection::open(folder.join("portbook.db")).unwrap();
    connection.execute(statement, []).unwrap()
}

#[tokio::test]
async fn change_of_any_column_on_the_disk_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (lease, ended) = record(folder.path()).await;
    assert_eq!(damage(folder.path()).await, None);
    for (what, of) in [
        ("port = port + 1", &lease),
        ("port = port - 1", &ended),
        ("ended_at_ms = 1", &lease),
        ("ended_at_ms = null", &ended),
        ("expires_boot_ms = expires_boot_ms + 1", &lease),
        ("owner = json_set(owner, '$.pid', 98)", &lease),
        ("name = 'wed'", &lease),
        ("state = pool", &ended),
        ("uid = uid - 1", &lease),
        ("labels = null", &lease),
        ("seal = seal + 1", &ended),
        ("id = zeroblob(16)", &lease),
    ] {
        let keep = "create table kept as select * from lease_row";
        change(folder.path(), keep);
        let hex = of.id.0.simple().to_string();
        let statement = format!("update lease_row set {what} where id = unhex('{hex}')");
        assert_eq!(change(folder.path(), &statement), 1, "{what}");
        let told = damage(folder.path()).await.unwrap_or_default();
        assert!(told.contains("is not as it was written"), "{what}: {told}");
        assert!(told.contains("port 241"), "{what}: {told}");
        for back in [
            "delete from lease_row",
            "insert into lease_row select * from kept",
            "drop table kept",
        ] {
            change(folder.path(), back);
        }
        assert_eq!(damage(folder.path()).await, None, "{what}");
    }
}

#[tokio::test]
async fn row_that_an_older_portbook_wrote_again_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path()).await;
    let older = "update lease_row set labels = null, revision = revision + 1";
    assert_eq!(change(folder.path(), older), 2);
    assert_eq!(damage(folder.path()).await, None);
}
