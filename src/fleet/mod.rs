//! The fleet: this host among others, over an engine that keeps what they tell each other.
//!
//! One task, on a thread of its own, does all of it ([`member`]): it holds the [`session`], publishes
//! [`names`], and answers questions ([`questions`]) that arrive at the engine's desk
//! (`crate::engine::fleet`). The rest of the service reads the desk and never waits for the fleet.
//! Beside it, [`counter`] claims unique numbers, [`sweeping`] sweeps, and [`everywhere`] keeps numbers that an
//! operator ([`reserving`]) reserves on every host. [`sharing`] tells and reads once a day which ports are busy.
//! [`engine`] is all that is asked of an engine; [`etcd`] is one.

mod claim;
#[cfg(test)]
mod claim_tests;
mod claiming;
mod common_name;
mod connect;
mod counter;
#[cfg(test)]
mod crowd;
mod draw;
mod engine;
mod epoch;
mod etcd;
mod etcd_error;
#[cfg(test)]
mod etcd_tests;
mod everywhere;
mod fence;
mod fencing;
mod follow;
mod gathering;
mod ground;
mod guarding;
mod holding;
mod host_ground;
mod join;
mod keeping;
mod key;
mod lessor;
mod marking;
mod member;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod memory;
mod names;
mod permit;
mod prior;
mod publishing;
mod questions;
mod reader;
mod refused;
mod regain;
mod reserving;
mod role;
mod scheme;
mod session;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod shaky;
mod sharing;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod sim_kernel;
#[cfg(test)]
mod simulation;
mod stray;
mod sweep;
#[cfg(test)]
mod sweep_tests;
mod sweeping;
mod telling;
mod tend;
mod tending;
mod value;
mod view;
mod watching;
#[cfg(test)]
mod world;

use std::net::IpAddr;

use self::fencing::Fencing;

use crate::domain::fleet::HostName;
use crate::engine::fleet::FleetCounters;
use crate::engine::service::Service;
use crate::host::interface::Interfaces;

pub use join::{JoinFailure, certified_as, look, probe};
pub use role::{Rights, role};

/// Keeps this host in its fleet for as long as it is polled, and answers what comes to the counters.
pub async fn run(service: Service, counters: FleetCounters) {
    let settings = service.settings();
    // Numbers of this host are guarded even if its settings of the engine are wrong.
    let fencing = Fencing::load(&service).await;
    let member = member::run(&service, &settings.fleet, counters, fencing.clone());
    // The loop's future is large, and it lasts as long as the service.
    if let Err(error) = Box::pin(member).await {
        tracing::error!(%error, "this host is in no fleet until the next start; all local work goes on");
        telling::tell_failure(&service, &settings.fleet, &error, &fencing);
    }
}

/// Deletes the fence of a service that is in no fleet any more, if it has one.
pub async fn unload_fence(service: Service) {
    let left = Fencing::unload(&service).await.status(None);
    if !left.fence_warning.is_empty() {
        service.fleet().set(left);
    }
}

/// Name of this host in the fleet: that of the settings, else the machine's own.
pub fn host_name(setting: Option<&HostName>) -> Option<HostName> {
    let own = || {
        let name = rustix::system::uname();
        name.nodename().to_str().ok()?.parse().ok()
    };
    setting.cloned().or_else(own)
}

/// Addresses of this host for others: neither loopback, nor link-local, nor of container engines; the
/// primary ones first.
fn addresses(interfaces: &Interfaces) -> Vec<IpAddr> {
    let Ok(snapshot) = interfaces.current() else {
        return Vec::new();
    };
    let listing = snapshot.listing();
    let real = listing
        .iter()
        .filter(|nic| nic.up && !nic.loopback && !nic.is_virtual);
    let mut addresses: Vec<_> = real.flat_map(|nic| &nic.addresses).collect();
    addresses.retain(|address| address.scope == 0 && !is_link_local(address.ip));
    addresses.sort_by_key(|address| !address.primary);
    let mut addresses: Vec<IpAddr> = addresses.into_iter().map(|address| address.ip).collect();
    addresses.truncate(value::MOST_ADDRESSES);
    addresses
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
