//! The fence of this host: which numbers the kernel guards, and the permits that the session loop keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::fence::Nft;
use super::ground::{Ground, Tended, is_held};
use super::member::Member;
use super::permit::{FenceError, Permits};
use crate::domain::claim::{Claim, Reclaim};
use crate::domain::fleet::FleetStatus;
use crate::domain::lease::BootTime;
use crate::domain::port::{PortSet, Protocol};
use crate::engine::service::Service;
use crate::host::kernel::outgoing_ports;

/// Part of the time of reclaim that a number must be open for: with less it is told.
const NEAR: u32 = 4;

/// What the kernel guards since the start of the service.
#[derive(Debug, Clone, Default)]
pub struct Fencing {
    /// `None` if the kernel guards nothing.
    permits: Option<Permits>,
    /// Ports of pools with a time of reclaim, and that time.
    pools: Arc<Vec<(PortSet, Duration)>>,
    /// Reason for which the kernel guards nothing though pools ask for it. Empty otherwise.
    why: Arc<str>,
}

impl Fencing {
    /// Loads the table of the kernel for the pools that ask for it, and for claims of earlier ones.
    pub async fn load(service: &Service) -> Self {
        let settings = service.settings();
        let unique = settings.pools.values().filter(|pool| pool.is_unique());
        let pools: Vec<(PortSet, Duration)> = unique
            .filter_map(|pool| Some((pool.ranges.clone(), pool.reclaim.and_then(Reclaim::time)?)))
            .collect();
        let claims = service.fleet().claims().all();
        let fenced = claims.iter().filter(|one| one.claim.reclaim_s > 0);
        let mut guarded: BTreeMap<Protocol, PortSet> = BTreeMap::new();
        let mut guard = |protocol, ports: &PortSet| {
            let known = guarded.entry(protocol).or_insert(PortSet::EMPTY);
            *known = known.union(ports);
        };
        for (ports, _) in &pools {
            guard(Protocol::Tcp, ports);
            guard(Protocol::Udp, ports);
        }
        for one in fenced {
            let number = one.claim.number;
            guard(number.protocol, &PortSet::single(number.port));
        }
        if guarded.is_empty() {
            return Self::default();
        }
        let mut nft = Nft::default();
        let loaded = match overlap(&pools) {
            Some(error) => Err(error),
            None => nft.load(&guarded).await.map(|()| nft),
        };
        Self::of(service, pools, loaded)
    }

    fn of(
        service: &Service,
        pools: Vec<(PortSet, Duration)>,
        loaded: Result<Nft, FenceError>,
    ) -> Self {
        let pools = Arc::new(pools);
        match loaded {
            Ok(nft) => Self {
                permits: Some(Permits::new(Arc::new(nft), service.clock().clone())),
                pools,
                why: "".into(),
            },
            Err(error) => {
                tracing::warn!(%error, "unique numbers have no fence in the kernel, so no clock takes them from this host");
                Self {
                    permits: None,
                    pools,
                    why: error.to_string().into(),
                }
            }
        }
    }

    /// Returns the permits. `None` if the kernel guards nothing.
    pub fn permits(&self) -> Option<&Permits> {
        self.permits.as_ref()
    }

    /// Time of reclaim that a claim is to have, in seconds. One that has a fence keeps its time.
    pub fn reclaim_s(&self, claim: &Claim) -> u64 {
        if self.permits.is_none() {
            return 0;
        }
        if claim.reclaim_s > 0 {
            return claim.reclaim_s;
        }
        let mut pools = self.pools.iter();
        let pool = pools.find(|(ports, _)| ports.contains(claim.number.port));
        pool.map_or(0, |(_, time)| time.as_secs())
    }
}

/// The failure of pools whose numbers outgoing connections get: their answers would be cut off.
fn overlap(pools: &[(PortSet, Duration)]) -> Option<FenceError> {
    let outgoing = outgoing_ports();
    let mut all = pools.iter().map(|(ports, _)| ports.intersection(&outgoing));
    let both = all.find(|both| !both.is_empty())?;
    Some(FenceError(format!(
        "outgoing connections get the ports {both} of a unique pool: choose ranges outside net.ipv4.ip_local_port_range"
    )))
}

impl<E: Engine> Member<E> {
    /// Notes a renewal that succeeded, and prolongs what the kernel permits.
    pub(super) async fn note_renewal(&mut self, sent: BootTime) {
        if let (Some(permits), Some(session)) = (self.permits(), self.session.id()) {
            permits.renewed(session, sent);
        }
        self.prolong().await;
    }

    /// Looks whether the table is still there: other programs flush all rules.
    pub(super) async fn keep_fence(&self) {
        let Some(permits) = self.permits() else {
            return;
        };
        match permits.keep_loaded().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "the table portbook of the packet filter was gone, and is loaded again"
            ),
            Err(error) => {
                tracing::error!(%error, "the table portbook of the packet filter is gone: unique numbers are open without a fence");
            }
        }
    }

    /// Prolongs what the kernel permits to the leases of this host.
    pub(super) async fn prolong(&mut self) {
        let Some(permits) = self.permits() else {
            return;
        };
        if let Err(error) = permits.grant(&self.fenced()).await {
            tracing::warn!(%error, "could not keep unique numbers open; that is tried again after the next renewal");
        }
    }

    /// Shuts what is over, where the kernel's own clock stood still.
    pub(super) async fn shut_late(&self) {
        let Some(permits) = self.permits() else {
            return;
        };
        if permits.first_end().is_none_or(|end| end > self.now()) {
            return;
        }
        if let Err(error) = permits.shut_late().await {
            tracing::warn!(%error, "could not shut unique numbers whose time is over; the kernel does so by itself");
        }
    }

    /// Tells once if numbers are shut soon.
    pub(super) fn watch_fence(&mut self) {
        let is_near = self.is_near();
        if is_near && !self.is_fence_near {
            let why = "the kernel shuts the unique numbers of this host soon, as the fleet does not answer";
            tracing::warn!("{why}");
            self.service
                .journal()
                .fleet(&self.identity.host, self.state, why);
        }
        self.is_fence_near = is_near;
    }

    /// The part of the status that tells of the fence.
    pub(super) fn fence_status(&self) -> FleetStatus {
        let fencing = &self.claims.claimant.ground.fencing;
        let end = fencing.permits().and_then(Permits::first_end);
        let ms = |end: BootTime| u64::try_from(end.0.as_millis()).unwrap_or(u64::MAX);
        let near = "the session was not renewed for long: the kernel shuts unique numbers of this host soon";
        let asks = fencing.permits.is_some() || !fencing.pools.is_empty();
        FleetStatus {
            has_fence: asks.then_some(fencing.permits.is_some()),
            fence_warning: if self.is_fence_near {
                near.to_owned()
            } else {
                fencing.why.to_string()
            },
            fence_end_boot_ms: end.map(ms),
            ..FleetStatus::default()
        }
    }

    fn is_near(&self) -> bool {
        let Some(permits) = self.permits() else {
            return false;
        };
        let now = self.now();
        let claims = self.fenced();
        claims.iter().any(|claim| {
            let least = Duration::from_secs(claim.reclaim_s) / NEAR;
            permits
                .written_end(claim.number)
                .is_some_and(|end| end.since(now) < least)
        })
    }

    fn permits(&self) -> Option<&Permits> {
        self.claims.claimant.ground.fencing.permits()
    }

    /// Claims with a fence whose leases live.
    fn fenced(&self) -> Vec<Claim> {
        let ground = &self.claims.claimant.ground;
        if ground.fencing.permits.is_none() {
            return Vec::new();
        }
        let all = ground.tended(|one| is_held(one) && one.claim.reclaim_s > 0);
        all.iter().map(Tended::claim).collect()
    }
}
