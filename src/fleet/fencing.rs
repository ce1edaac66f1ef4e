//! The fence of this host: which numbers the kernel guards, and the permits that the session loop keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fence::Nft;
use super::permit::{FenceError, Permits};
use crate::domain::claim::{Claim, Number, Reclaim};
use crate::domain::fleet::FleetStatus;
use crate::domain::port::{PortSet, Protocol};
use crate::engine::service::Service;
use crate::host::kernel::outgoing_ports;
use crate::store::FenceTable;

/// Ports that the kernel guards, by protocol.
type Guarded = BTreeMap<Protocol, PortSet>;

/// What the kernel guards since the start of the service.
#[derive(Debug, Clone, Default)]
pub struct Fencing {
    /// `None` if the kernel guards nothing.
    permits: Option<Permits>,
    /// Ports of pools with a time of reclaim, and that time.
    pools: Arc<Vec<(PortSet, Duration)>>,
    /// Times of reclaim in seconds of the claims at the start, whose pools may have none any more: the kernel
    /// guards their numbers until the next start.
    earlier: Arc<BTreeMap<Number, u64>>,
    /// Reason for which the kernel guards nothing though pools ask for it, or guards numbers that it should
    /// not. Empty otherwise.
    why: Arc<str>,
}

impl Fencing {
    /// Loads the table of the kernel for the pools that ask for it, and for claims of earlier ones. If there are
    /// none, deletes the one that an earlier start has loaded.
    pub async fn load(service: &Service) -> Self {
        let (pools, earlier) = (pools(service), earlier(service));
        let guarded = guarded(&pools, &earlier);
        if guarded.is_empty() {
            return Self::unload(service).await;
        }
        let before = left_behind(service).await;
        let loaded = match overlap(&pools) {
            Some(error) => Err(error),
            None => load(service, &guarded).await,
        };
        let fencing = Self {
            pools: Arc::new(pools),
            earlier: Arc::new(earlier),
            ..Self::default()
        };
        match loaded {
            Ok(nft) => fencing.with(service, nft, guarded).await,
            Err(error) => {
                // A claim with a fence keeps it until the fleet knows that there is none.
                let may_go = before.is_some() && fencing.earlier.is_empty();
                let is_gone = may_go && unload(service).await.is_ok();
                fencing.without(service, &error, before.filter(|_| !is_gone))
            }
        }
    }

    /// Deletes the table that an earlier start of this service has loaded: nothing is guarded any more.
    pub async fn unload(service: &Service) -> Self {
        // No permit is prolonged from now on, whether the table goes or not.
        service.fleet().fence().clear();
        let Some(before) = left_behind(service).await else {
            return Self::default();
        };
        match unload(service).await {
            Ok(()) => {
                tracing::info!(
                    "no unique number has a fence any more: the table portbook of the packet filter is deleted"
                );
                Self::default()
            }
            // Its kernel has forgotten the table with the boot, unless the boot has loaded it again.
            Err(error) if before.boot != service.store().boot_id() => {
                tracing::info!(%error, "could not look for a table portbook of the packet filter; if portbook-fence.service loads it at boot, disable that");
                Self::default()
            }
            Err(error) => Self::default().without(service, &error, Some(before)),
        }
    }

    async fn with(mut self, service: &Service, nft: Nft, guarded: Guarded) -> Self {
        let book = service.fleet().fence();
        book.guard(guarded);
        let open = nft.open_numbers().await;
        let permits = Permits::new(Arc::new(nft), service.clock().clone(), Arc::clone(book));
        let claimed: Vec<Number> = self.earlier.keys().copied().collect();
        match open {
            Ok(open) => permits.note_open(&claimed, &open),
            Err(error) => {
                tracing::warn!(%error, "could not read which unique numbers the kernel has open; the next renewal opens them");
            }
        }
        self.permits = Some(permits);
        self
    }

    fn without(
        mut self,
        service: &Service,
        error: &FenceError,
        before: Option<FenceTable>,
    ) -> Self {
        let boot = service.store().boot_id();
        let loaded = before.filter(|before| before.boot == boot);
        self.why = match loaded {
            None => error.to_string().into(),
            Some(before) => {
                let why = still_loaded(error, &before);
                // Its permits run out, and none comes any more.
                service.fleet().fence().guard(before.ports);
                why.into()
            }
        };
        tracing::warn!(error = %self.why, "unique numbers have no fence in the kernel, so no clock takes them from this host");
        self
    }

    /// Whether the kernel guards something.
    pub fn is_on(&self) -> bool {
        self.permits.is_some()
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
        let earlier = || self.earlier.get(&claim.number).copied();
        pool.map_or_else(|| earlier().unwrap_or(0), |(_, time)| time.as_secs())
    }

    /// The part of the status that tells of the fence, with a warning of another reason.
    pub fn status(&self, warning: Option<String>) -> FleetStatus {
        let trouble = self.permits().and_then(Permits::trouble);
        let trouble = trouble.map(|error| error.to_string());
        let why = Some(self.why.to_string()).filter(|why| !why.is_empty());
        let all: Vec<String> = [why, trouble, warning].into_iter().flatten().collect();
        let asks = self.permits.is_some() || !self.pools.is_empty();
        FleetStatus {
            has_fence: asks.then_some(self.permits.is_some()),
            fence_warning: all.join("; "),
            ..FleetStatus::default()
        }
    }
}

/// Ports of pools with a time of reclaim, and that time.
fn pools(service: &Service) -> Vec<(PortSet, Duration)> {
    let settings = service.settings();
    let unique = settings.pools.values().filter(|pool| pool.is_unique());
    unique
        .filter_map(|pool| Some((pool.ranges.clone(), pool.reclaim.and_then(Reclaim::time)?)))
        .collect()
}

/// Claims that have a fence, with their times of reclaim in seconds.
fn earlier(service: &Service) -> BTreeMap<Number, u64> {
    let claims = service.fleet().claims().all().into_iter();
    let fenced = claims.filter(|one| one.claim.reclaim_s > 0);
    fenced
        .map(|one| (one.claim.number, one.claim.reclaim_s))
        .collect()
}

fn guarded(pools: &[(PortSet, Duration)], earlier: &BTreeMap<Number, u64>) -> Guarded {
    let mut guarded = Guarded::new();
    let mut guard = |protocol, ports: &PortSet| {
        let known = guarded.entry(protocol).or_insert(PortSet::EMPTY);
        *known = known.union(ports);
    };
    for (ports, _) in pools {
        guard(Protocol::Tcp, ports);
        guard(Protocol::Udp, ports);
    }
    for number in earlier.keys() {
        guard(number.protocol, &PortSet::single(number.port));
    }
    guarded
}

/// The table that an earlier start of this service has loaded, and none has deleted.
async fn left_behind(service: &Service) -> Option<FenceTable> {
    let found = service.store().fence_table().await;
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "could not read whether an earlier start has loaded the table portbook of the packet filter");
        None
    })
}

/// Loads the table. It is on record first, so that a later start can delete it.
async fn load(service: &Service, guarded: &Guarded) -> Result<Nft, FenceError> {
    let mut nft = Nft::default();
    service
        .store()
        .set_fence_table(guarded)
        .await
        .map_err(|error| FenceError(format!("it cannot be recorded: {error}")))?;
    nft.load(guarded).await?;
    Ok(nft)
}

async fn unload(service: &Service) -> Result<(), FenceError> {
    Nft::default().unload().await?;
    if let Err(error) = service.store().forget_fence_table().await {
        tracing::warn!(%error, "could not record that the table portbook of the packet filter is deleted; the next start deletes it again");
    }
    Ok(())
}

fn still_loaded(error: &FenceError, before: &FenceTable) -> String {
    let ports = before
        .ports
        .values()
        .fold(PortSet::EMPTY, |all, ports| all.union(ports));
    format!(
        "{error}. The table portbook of the packet filter, which an earlier start has loaded, still shuts {}: once `portbook fleet claims` lists no number of this host with a fence, run `nft delete table inet portbook` as root, and start the service again",
        ports.in_words()
    )
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
