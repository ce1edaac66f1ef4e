//! Addresses come and go. A lease whose address has gone is degraded, not over: its hold survives
//! the address, and it heals when the address returns.

use std::net::IpAddr;

use crate::domain::lease::{Lease, State};
use crate::engine::{engine::Engine, refusal::Refusal};
use crate::host::interface::Snapshot;
use std::sync::Arc;

/// Compares every lease with the addresses that the host has now.
pub(in crate::engine) async fn compare_all(engine: &Arc<Engine>) {
    let host = match engine.interfaces.current() {
        Ok(host) => host,
        Err(error) => {
            tracing::warn!(%error, "leases were not compared with the host's addresses");
            return;
        }
    };
    for lease in engine.leases.all() {
        let _turn = engine.leases.turn(lease.id).await;
        let Some(lease) = engine.leases.living(lease.id) else {
            continue;
        };
        if let Err(error) = compare(engine, &host, &lease).await {
            tracing::error!(%error, lease = %lease.id, "a change of address is not on record");
        }
    }
}

async fn compare(engine: &Arc<Engine>, host: &Snapshot, lease: &Lease) -> Result<(), Refusal> {
    match (missing(host, lease), lease.state) {
        (Some(ip), State::Reserved | State::Handed | State::Active) => {
            let degraded = engine
                .leases
                .change(lease.id, |lease| lease.state = State::Degraded);
            let detail = format!("{ip} has gone from the host");
            engine.journal.degraded(&*degraded.await?, &detail);
        }
        (None, State::Degraded) => {
            let state = healthy(lease);
            let healed = engine
                .leases
                .change(lease.id, |lease| lease.state = state)
                .await?;
            engine
                .journal
                .healed(&healed, "its addresses are all there");
        }
        _ => {}
    }
    Ok(())
}

/// Returns the state of a lease whose addresses are back. The observer finds out whether its owner
/// listens.
const fn healthy(lease: &Lease) -> State {
    if lease.owner.is_some() || lease.claim_by.is_some() {
        State::Handed
    } else {
        State::Reserved
    }
}

/// The first address of a lease that no interface has.
fn missing(host: &Snapshot, lease: &Lease) -> Option<IpAddr> {
    let has = |ip: IpAddr| {
        let mut interfaces = host.interfaces.iter();
        interfaces.any(|interface| interface.addresses.iter().any(|address| address.ip == ip))
    };
    let addresses = lease.addresses.addresses().iter();
    addresses
        .filter(|address| !address.is_wildcard() && !address.ip.is_loopback())
        .map(|address| address.ip)
        .find(|ip| !has(*ip))
}
