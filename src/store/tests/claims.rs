//! Claims on numbers of a fleet.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;
use sqlx::Row;

use super::*;
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::lease::LeaseId;
use crate::store::claim::{CHANGE, ClaimRow, Does, REMOVE};

pub(super) fn claim(port: u16, nonce: &str) -> Claim {
    Claim {
        number: Number {
            protocol: Protocol::Tcp,
            port: Port::new(port).unwrap(),
        },
        lease: LeaseId(Uuid::from_u128(u128::from(port))),
        nonce: nonce.into(),
        session: "s".into(),
        stage: ClaimStage::Asked,
        revision: 0,
        token: 0,
        reclaim_s: 600,
        is_doubtful: true,
    }
}

#[tokio::test]
async fn claims_are_changed_and_forgotten_by_number_and_nonce() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    let (first, other) = (claim(9100, "a"), claim(9101, "b"));
    store
        .put_claims(&[first.clone(), other.clone()])
        .await
        .unwrap();
    let held = Claim {
        stage: ClaimStage::Held,
        revision: 7,
        token: 5,
        is_doubtful: false,
        ..first.clone()
    };
    store
        .change_claims(std::slice::from_ref(&held))
        .await
        .unwrap();
    assert_eq!(store.claims().await.unwrap(), [held.clone(), other.clone()]);
    // What comes late for an earlier claim on the number changes nothing.
    let next = claim(9100, "c");
    store.put_claims(std::slice::from_ref(&next)).await.unwrap();
    store
        .change_claims(std::slice::from_ref(&held))
        .await
        .unwrap();
    store
        .remove_claims(std::slice::from_ref(&held))
        .await
        .unwrap();
    assert_eq!(store.claims().await.unwrap(), [next.clone(), other.clone()]);
    store.remove_claims(&[next, other.clone()]).await.unwrap();
    store.change_claims(&[other]).await.unwrap();
    assert_eq!(store.claims().await.unwrap(), []);
}

#[tokio::test]
async fn cost_of_a_claim_does_not_grow_with_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path()).await;
    for query in [CHANGE, REMOVE] {
        let explain = sqlx::AssertSqlSafe(format!("explain query plan {query}"));
        let explain = (0..10).fold(sqlx::query(explain), |query, _| query.bind(""));
        let steps = explain.fetch_all(&store.reader().pool).await.unwrap();
        let plan: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        let by_key = "SEARCH fleet_claim USING PRIMARY KEY (protocol=? AND port=?)";
        assert!(plan.iter().any(|step| step == by_key), "{plan:?}");
    }
}

/// Numbers and revisions of claims by nonce, as the table has them.
fn rows(connection: &Connection) -> Vec<(u16, String, i64)> {
    let mut query = connection
        .prepare("select port, nonce, revision from fleet_claim order by port")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn claims_in_memory_become_what_those_in_the_table_become(
        steps in prop::collection::vec((0..3_usize, 9100..9103_u16, 0..3_usize), 0..40),
    ) {
        let connection = Connection::open_in_memory().unwrap();
        let table = [
            include_str!("../../../migrations/0023_claim.sql"),
            include_str!("../../../migrations/0024_fence.sql"),
        ];
        connection.execute_batch(&table.concat()).unwrap();
        let mut claims = BTreeMap::new();
        for (revision, (does, port, nonce)) in (1..).zip(steps) {
            let does = [Does::Put, Does::Change, Does::Remove][does];
            let claim = Claim { revision, ..claim(port, ["a", "b", "c"][nonce]) };
            let row = ClaimRow::of(does, &claim);
            row.write(&connection).unwrap();
            row.apply(&mut claims).unwrap();
            let known = claims.values().map(|claim: &Claim| {
                (claim.number.port.get(), claim.nonce.clone(), claim.revision.cast_signed())
            });
            prop_assert_eq!(rows(&connection), known.collect::<Vec<_>>());
        }
    }
}
