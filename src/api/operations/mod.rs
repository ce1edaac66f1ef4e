//! Every operation of the API with its route. The OpenAPI document is made from the same table.

mod history;
mod serve;
mod service;

#[cfg(feature = "fleet")]
use crate::answers::fleet;
use crate::answers::operation::Description;
use crate::answers::{
    allocations, discovery, exclusions, interfaces, leases, listeners, pools, ports, snapshots,
};
use actix_web::Resource;
pub(super) use service::OpenApi;

use serve::{Served, answered};

/// The operations, by tag, in the order in which a person reads of them.
fn all() -> Vec<Served> {
    let mut all = vec![
        answered::<leases::ListLeases>(),
        answered::<allocations::CreateLeases>(),
        answered::<leases::ShowLease>(),
        answered::<leases::ReleaseLease>(),
        answered::<leases::RenewLease>(),
        answered::<leases::NoteLease>(),
        answered::<discovery::PrometheusDiscovery>(),
        answered::<discovery::TraefikDiscovery>(),
        answered::<allocations::ExplainAllocation>(),
        answered::<ports::ShowPort>(),
        answered::<ports::ShowTcpPort>(),
        answered::<listeners::ListListeners>(),
        answered::<exclusions::ListExclusions>(),
        answered::<exclusions::ExcludePort>(),
        answered::<exclusions::IncludePort>(),
        answered::<exclusions::ExcludePorts>(),
        answered::<exclusions::IncludePorts>(),
        answered::<snapshots::TakeSnapshot>(),
        answered::<pools::ListPools>(),
        answered::<interfaces::ListInterfaces>(),
    ];
    all.extend(history::operations());
    all.extend(service::operations());
    #[cfg(feature = "fleet")]
    all.extend([
        answered::<fleet::ShowFleet>(),
        answered::<fleet::ListFleetHosts>(),
        answered::<fleet::ListFleetNames>(),
        answered::<fleet::ResolveFleetName>(),
        answered::<fleet::ListFleetClaims>(),
        answered::<fleet::FleetDiscovery>(),
        answered::<fleet::EvictFleetHost>(),
        answered::<fleet::EvictUnreadableClaims>(),
        answered::<fleet::ListFleetEverywhere>(),
        answered::<fleet::ReserveEverywhere>(),
        answered::<fleet::ReleaseEverywhere>(),
        answered::<fleet::LeaveFleet>(),
    ]);
    all
}

/// The resources of all operations.
pub(super) fn resources() -> Vec<Resource> {
    serve::resources(all())
}

/// The descriptions, in the same order.
pub(super) fn descriptions() -> Vec<Description> {
    all().into_iter().map(|one| one.description).collect()
}
