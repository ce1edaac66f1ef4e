//! The engine: the owners of its state, side by side.
//!
//! Requests and the life of leases are functions over these. An owner knows none of the others, but
//! for the record, which leases and learning write to.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use uuid::Uuid;

use super::caller::Mode;
use super::fleet::FleetDesk;
use super::heir::Searches;
use super::journal::Journal;
use super::keeper::gone::Folders;
use super::keeper::suspects::Repairs;
use super::learning::Learning;
use super::leases::Leases;
use super::line::Line;
use super::lock::Guarded;
use super::looked::Looked;
use super::rules::RulesInForce;
use crate::config::Settings;
use crate::domain::lease::BootTime;
use crate::engine::publications::Containers;
use crate::host::clock::Clock;
use crate::host::interface::Interfaces;
use crate::host::kernel;
use crate::host::pidfd::Pidfds;
use crate::host::process::Identities;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Number of descriptors that holds leave to clients, files and the runtime.
pub const KEPT_FREE: u64 = 256;

/// Number of doors at which other users keep connections: console, API and descriptor socket.
const DOORS: u64 = 3;

/// All state of the engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) mode: Mode,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) interfaces: Interfaces,
    pub(super) rules: RulesInForce,
    pub(super) learning: Arc<Learning>,
    pub(super) journal: Journal,
    pub(super) leases: Arc<Leases>,
    pub(super) line: Line,
    pub(super) fleet: FleetDesk,
    pub(super) repairs: Guarded<Repairs>,
    pub(super) folders: Guarded<Folders>,
    /// Last look for programs on other ports than theirs.
    pub(super) elsewhere: Guarded<Looked>,
    /// Time before which no stock of spares is filled up. `None` if that may be tried.
    pub(super) stocks_put_off: Guarded<Option<BootTime>>,
    /// Names of containers on ports.
    pub(super) containers: Guarded<Containers>,
    pub(super) pidfds: Pidfds,
    /// Clients that were looked at a moment ago.
    pub(super) identities: Identities,
    /// Looks for what ended owners left behind.
    pub(super) searches: Searches,
    /// Whether a task listens to the kernel's news of interfaces.
    pub(super) is_watching: AtomicBool,
    pub(super) runtime: tokio::runtime::Handle,
    /// Maximum number of open descriptors of this process.
    pub(super) descriptor_limit: u64,
    rng: Guarded<fastrand::Rng>,
    last_id: Guarded<Uuid>,
}

impl Engine {
    /// Returns an engine over an open record. Must be called on the runtime that is to watch owners.
    pub(super) fn new(
        mode: Mode,
        settings: Arc<Settings>,
        store: Store,
        clock: Clock,
        rng: fastrand::Rng,
    ) -> Self {
        let half_life = settings.history.half_life;
        Self {
            mode,
            interfaces: Interfaces::open(),
            rules: RulesInForce::new(settings),
            learning: Arc::new(Learning::new(store.clone(), clock.clone(), half_life)),
            journal: Journal::new(clock.clone(), Metrics::new(store.metrics())),
            leases: Arc::new(Leases::new(store.clone(), clock.clone())),
            line: Line::default(),
            fleet: FleetDesk::default(),
            repairs: Guarded::default(),
            folders: Guarded::default(),
            elsewhere: Guarded::default(),
            stocks_put_off: Guarded::default(),
            containers: Guarded::default(),
            pidfds: Pidfds::default(),
            identities: Identities::default(),
            searches: Searches::default(),
            is_watching: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
            descriptor_limit: descriptor_limit(mode),
            rng: Guarded::new(rng),
            last_id: Guarded::default(),
            clock,
            store,
        }
    }

    /// Returns the settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.rules.settings()
    }

    /// Returns a generator of random numbers for one task.
    pub(super) fn rng(&self) -> fastrand::Rng {
        self.rng.with(fastrand::Rng::fork)
    }

    /// Returns a new id, greater than all before it: lists are in the order of grants. It begins with the
    /// time (UUID version 7, RFC 9562).
    pub(super) fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        let step = self.rng.with(|rng| {
            rng.fill(&mut random);
            u128::from(rng.u32(1..))
        });
        let ms = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid();
        self.last_id.with(|last| {
            // In one millisecond, or after the clock was set back, an id lies a random step behind the last
            // one, so that it cannot be guessed (RFC 9562, 6.2). The steps of one millisecond do not reach
            // the bits above.
            if id <= *last {
                *last = Uuid::from_u128(last.as_u128().saturating_add(step));
            } else {
                *last = id;
            }
            *last
        })
    }

    /// Maximum number of descriptors that holds and watches may keep open.
    pub(super) fn descriptor_budget(&self) -> usize {
        let guests = kernel::guest_connections(self.descriptor_limit) * DOORS;
        let kept_free = match self.mode {
            Mode::Serving => KEPT_FREE.max(guests),
            Mode::Embedded => KEPT_FREE,
        };
        let budget = self.descriptor_limit.saturating_sub(kept_free);
        usize::try_from(budget).unwrap_or(usize::MAX)
    }
}

/// Returns the limit on open descriptors. A service raises its own as far as it may; a command leaves
/// its own alone, because the program that it becomes would inherit it.
fn descriptor_limit(mode: Mode) -> u64 {
    let limit = match mode {
        Mode::Serving => kernel::raise_fd_limit().ok(),
        Mode::Embedded => None,
    };
    limit.unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use crate::engine::keeper::tests::place;

    #[tokio::test]
    async fn ids_of_one_millisecond_are_in_their_order() {
        let place = place().await;
        let ids: Vec<_> = (0..1000).map(|_| place.service.0.new_id()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
