//! Unique numbers a second.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use serde_json::json;

use crate::common::api::Api;
use crate::common::place::Place;
use crate::common::{figure, now};
use crate::engine::ADDRESSES;

const CLIENTS: usize = 8;

/// Claims of a client in a round.
const CLAIMS: usize = 60;

const ROUNDS: usize = 7;

/// Length of the value of a claim, in bytes.
const VALUE: usize = 215;

/// Measures and prints.
pub fn measure() -> Result<()> {
    let mut place = crate::member("10000-10999", "one")?;
    place.set("PORTBOOK_POOLS__EDGE__RANGES", "20000-31999");
    place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
    place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "manual");
    place.set("PORTBOOK_POOLS__LOCAL__RANGES", "11000-18999");
    let _service = place.serve()?;
    crate::join(&place)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let (mut ratios, mut bare, mut own, mut local) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let without = runtime.block_on(put(round))?;
        let with = claim(&place, "edge")?;
        bare.push(without);
        own.push(with);
        local.push(claim(&place, "local")?);
        ratios.push(with / without);
    }
    figure::heading("Unique numbers with eight clients, medians of seven rounds in turns");
    figure::plain(
        "keys that bare clients of etcd put",
        figure::median(&mut bare),
        "/s",
    );
    figure::plain("leases of a local pool", figure::median(&mut local), "/s");
    figure::plain(
        "leases with a number of the fleet",
        figure::median(&mut own),
        "/s",
    );
    figure::at_least(
        "of what bare clients put",
        figure::median(&mut ratios),
        0.8,
        "",
    );
    Ok(())
}

/// Puts keys under the conditions of a claim: the key is absent, another one is bound to a lease and there, and a third
/// one is absent. The clients do nothing else. Returns the rate.
async fn put(round: usize) -> Result<f64> {
    let mut client = Client::connect([ADDRESSES[0]], None).await?;
    let lease = client.lease_grant(60, None).await?.id();
    let bound = PutOptions::new().with_lease(lease);
    client.put("/bare/session", "{}", Some(bound)).await?;
    let begin = now();
    let clients = (0..CLIENTS).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move {
            for index in 0..CLAIMS {
                let key = format!("/bare/claim/{round}/{number}/{index}");
                let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
                let present = Compare::create_revision("/bare/session", CompareOp::Greater, 0);
                let no_hold = Compare::create_revision("/bare/hold", CompareOp::Equal, 0);
                let put = TxnOp::put(key, "v".repeat(VALUE), None);
                let txn = Txn::new().when([absent, present, no_hold]).and_then([put]);
                ensure!(client.txn(txn).await?.succeeded(), "a key was not put");
            }
            anyhow::Ok(())
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await??;
    }
    Ok(rate(begin.elapsed().as_secs_f64()))
}

/// Leases ports of a pool with as many clients. Returns the rate.
fn claim(place: &Place, pool: &str) -> Result<f64> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Api::connect(&place.socket())?);
    }
    let wanted = json!({"pool": pool, "ttl": "1h"});
    let begin = now();
    thread::scope(|scope| {
        let asking = clients.iter_mut().map(|api| {
            let wanted = &wanted;
            scope.spawn(move || (0..CLAIMS).try_for_each(|_| api.lease(wanted).map(drop)))
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().try_for_each(|one| {
            let done = one.join().map_err(|_| anyhow!("a client has failed"))?;
            done.context("a lease")
        })
    })?;
    Ok(rate(begin.elapsed().as_secs_f64()))
}

fn rate(seconds: f64) -> f64 {
    let count = u64::try_from(CLIENTS * CLAIMS).unwrap_or_default();
    figure::approximately(count) / seconds
}
