//! Ports that a packet filter redirects to containers. portbook passes them over when it grants a port;
//! a rule that came after the grant is found here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::answers::document::LeaseDocument;
use crate::config::Pool;
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::port::{Port, PortSet, Protocol};
use crate::host::interface::Interfaces;
use crate::host::occupancy::Occupancy;
use crate::host::redirect::{addresses_to_try, redirected_at};

/// Maximum number of ports that are tried. The ports of leases come first.
const MOST: usize = 20_000;

/// Number of ports that are tried at a time.
const AT_ONCE: usize = 32;

/// Limit on the whole check. A host that drops packets answers nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finds ports of leases and pools that a packet filter redirects. What was not looked at is noted in
/// `unknown`.
pub(super) async fn ports(
    pools: &[Arc<Pool>],
    leases: &[LeaseDocument],
    unknown: &mut Vec<String>,
) -> Vec<(String, String)> {
    let any = AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]);
    let Ok(host) = Interfaces::open().current() else {
        return Vec::new();
    };
    let at = addresses_to_try(&any, &host);
    if at.is_empty() {
        return Vec::new();
    }
    let wanted = wanted(pools, leases);
    let Ok(found) = tokio::time::timeout(PATIENCE, redirected(&at, &wanted)).await else {
        unknown
            .push("ports that a packet filter redirects: they were too slow to answer".to_owned());
        return Vec::new();
    };
    let found = found.into_iter();
    found.filter_map(|port| told(port, leases)).collect()
}

/// The TCP ports of leases and pools on which nothing listens.
fn wanted(pools: &[Arc<Pool>], leases: &[LeaseDocument]) -> Vec<Port> {
    let listeners = Occupancy::listeners().unwrap_or_default();
    let busy: PortSet = listeners.iter().map(|entry| entry.port).collect();
    let held = leases
        .iter()
        .filter(|lease| lease.protocol == Protocol::Tcp);
    let held: PortSet = held.map(|lease| lease.port).collect();
    let held = held.without(&busy);
    let pools = pools
        .iter()
        .filter(|pool| pool.protocol.each().contains(&Protocol::Tcp));
    let pooled = pools.fold(PortSet::EMPTY, |all, pool| all.union(&pool.ranges));
    let pooled = pooled.without(&held).without(&busy);
    held.iter().chain(pooled.iter()).take(MOST).collect()
}

async fn redirected(at: &[IpAddr], ports: &[Port]) -> Vec<Port> {
    let tried = ports.iter().map(|port| async {
        let found = redirected_at(at, *port).await;
        found.map(|_| *port)
    });
    let tried = stream::iter(tried).buffer_unordered(AT_ONCE);
    let mut found: Vec<Port> = tried.filter_map(std::future::ready).collect().await;
    found.sort_unstable();
    found
}

fn told(port: Port, leases: &[LeaseDocument]) -> Option<(String, String)> {
    let mut on_port = leases
        .iter()
        .filter(|lease| lease.protocol == Protocol::Tcp);
    let why = "a packet filter sends its connections elsewhere, such as to a container";
    Some(match on_port.find(|lease| lease.port == port) {
        // Its engine is away, and its container has the connections.
        Some(lease) if lease.owner.as_ref().is_some_and(|owner| owner.engine) => return None,
        Some(lease) => (
            format!(
                "port {port}/tcp is leased, and {why}: the program of the lease will not get them"
            ),
            format!("portbook release {}", lease.id),
        ),
        None => (
            format!("port {port}/tcp is in a pool, and {why}: it is passed over"),
            format!("portbook exclude {port} --reason redirected"),
        ),
    })
}
