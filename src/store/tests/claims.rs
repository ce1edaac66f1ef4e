//! Claims on numbers of a fleet.

use sqlx::Row;

use super::*;
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::lease::LeaseId;
use crate::store::claim::{CHANGE, REMOVE};

fn claim(port: u16, nonce: &str) -> Claim {
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
        let explain = sqlx::query(explain).bind("[]");
        let steps = explain.fetch_all(&store.reader().pool).await.unwrap();
        let plan: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        let by_key = "SEARCH fleet_claim USING PRIMARY KEY (protocol=? AND port=?)";
        assert!(plan.iter().any(|step| step == by_key), "{plan:?}");
    }
}
