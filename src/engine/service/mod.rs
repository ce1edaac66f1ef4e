//! The façade: everything that can be asked of the engine. It forwards and decides nothing.

mod reading;
mod running;

use std::sync::Arc;
use std::time::Duration;

use super::allocated::Allocated;
pub use super::caller::{Caller, Mode};
use super::engine::Engine;
use super::exclusion::{self, Excluded};
pub use super::keeper::descriptor::Terms;
use super::keeper::descriptor::{self, Given};
use super::keeper::{ending, note, undoing};
use super::queue;
use super::refusal::Refusal;
use super::retention::{self, Limits};
#[cfg(feature = "fleet")]
use super::{kept, unique};
use crate::config::Settings;
#[cfg(feature = "fleet")]
use crate::domain::claim::{LeaseClaim, Number};
#[cfg(feature = "fleet")]
use crate::domain::lease::Name;
use crate::domain::lease::{Lease, LeaseId};
#[cfg(feature = "fleet")]
use crate::domain::port::{Port, Protocol};
use crate::domain::port::{PortSet, Protocols};
use crate::domain::request::Request;
use crate::host::clock::Clock;
use crate::host::process::Place;
use crate::store::{Removed, Store};

/// The engine, as the API, the pages and the commands use it. Clones share one engine.
#[derive(Debug, Clone)]
pub struct Service(pub(super) Arc<Engine>);

impl Service {
    /// Returns a service over an open record. Must be called on the runtime that is to watch owners.
    pub fn new(
        mode: Mode,
        settings: Arc<Settings>,
        store: Store,
        clock: Clock,
        rng: fastrand::Rng,
    ) -> Self {
        Self(Arc::new(Engine::new(mode, settings, store, clock, rng)))
    }

    /// Returns the caller at the other end of a connection, which the kernel names. Its process is looked
    /// at once a second.
    pub fn peer(&self, uid: u32, pid: Option<u32>) -> Caller {
        let now = self.0.clock.boot();
        let known = |pid| self.0.identities.of(pid, now).map(|known| known.place);
        Caller::peer(uid, pid, |pid| {
            known(pid).unwrap_or_else(|_| Place::of(pid))
        })
    }

    /// Answers a request for ports. The leases of an answer are committed. A refusal is on record
    /// with its attempts.
    pub async fn allocate(&self, caller: &Caller, request: &Request) -> Result<Allocated, Refusal> {
        queue::allocate(&self.0, caller, request).await
    }

    /// Returns a living lease that the caller may change.
    pub fn lease_of(&self, caller: &Caller, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
        self.0.leases.of_caller(caller, id)
    }

    /// Releases a lease. Its name forgets the port.
    pub async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        ending::release(&self.0, caller, id).await
    }

    /// Releases a lease that its user did not ask for. Its name still knows its port.
    pub async fn take_back(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        ending::take_back(&self.0, caller, id).await
    }

    /// Undoes a release by its user within the last ten minutes: the lease goes on as it was.
    pub async fn undo_release(&self, caller: &Caller, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
        undoing::undo_release(&self.0, caller, id).await
    }

    /// Makes a lease last for `ttl` from now on, or for its own lifetime if `ttl` is `None`.
    pub async fn renew(
        &self,
        caller: &Caller,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<Arc<Lease>, Refusal> {
        ending::renew(&self.0, caller, id, ttl).await
    }

    /// Writes a note on a lease, or removes it if the text is blank.
    pub async fn note(
        &self,
        caller: &Caller,
        id: LeaseId,
        text: &str,
    ) -> Result<Arc<Lease>, Refusal> {
        note::write(&self.0, caller, id, text).await
    }

    /// Gives the sockets of a lease to its user, in the order of its addresses.
    pub async fn give_sockets(
        &self,
        caller: &Caller,
        id: LeaseId,
        terms: Terms,
    ) -> Result<Given, Refusal> {
        descriptor::give_sockets(&self.0, caller, id, terms).await
    }

    /// Notes that the fleet has the number of a lease no more. `by` is the host that has it.
    #[cfg(feature = "fleet")]
    pub async fn lose_claim(&self, id: LeaseId, by: Option<&str>) -> Result<(), Refusal> {
        unique::lose(&self.0, id, by).await
    }

    /// Notes the claim on the number of a lease, in memory alone: the record has it in a table of its own.
    #[cfg(feature = "fleet")]
    pub fn note_claim(&self, id: LeaseId, claim: LeaseClaim) {
        self.0.leases.set_claim(id, claim);
    }

    /// Returns the name of the pool whose fence shuts a number to all that have no claim on it. `None` if none does.
    #[cfg(feature = "fleet")]
    pub fn fenced_pool(&self, port: Port) -> Option<String> {
        kept::fenced_pool(&self.0, port)
    }

    /// Returns the name of the pool that would grant a number as a unique one. `None` if none would.
    #[cfg(feature = "fleet")]
    pub fn unique_pool(&self, port: Port) -> Option<String> {
        kept::unique_pool(&self.0, port)
    }

    /// Looks whether a number could be kept for a name.
    #[cfg(feature = "fleet")]
    pub async fn check_everywhere(&self, number: Number, name: &Name) -> Result<(), Refusal> {
        kept::check(&self.0, number, name).await
    }

    /// Keeps a number for a name, as it is reserved on every host.
    #[cfg(feature = "fleet")]
    pub async fn keep_everywhere(&self, number: Number, name: &Name) -> Result<(), Refusal> {
        kept::keep(&self.0, number, name).await
    }

    /// Lets go of a number that is reserved on every host no more. `name`: the one it was kept for, if that is known.
    #[cfg(feature = "fleet")]
    pub async fn let_everywhere_go(
        &self,
        number: Number,
        name: Option<&Name>,
    ) -> Result<(), Refusal> {
        kept::let_go(&self.0, number, name).await
    }

    /// Chooses a number that is to be reserved on every host, without the ports in `taken`.
    #[cfg(feature = "fleet")]
    pub async fn choose_everywhere(
        &self,
        pool: Option<&str>,
        name: &Name,
        protocol: Protocol,
        taken: &PortSet,
    ) -> Result<Port, Refusal> {
        kept::choose(&self.0, pool, name, protocol, taken).await
    }

    /// Excludes ports, all or none. Leases on them stay until their names are asked for again.
    pub async fn exclude(
        &self,
        caller: &Caller,
        protocols: Protocols,
        ports: &PortSet,
        reason: Option<&str>,
    ) -> Result<Excluded, Refusal> {
        exclusion::exclude(&self.0, caller, protocols, ports, reason).await
    }

    /// Takes exclusions back. Refused if none of the ports is excluded by hand.
    pub async fn include(
        &self,
        caller: &Caller,
        protocols: Protocols,
        ports: &PortSet,
    ) -> Result<(), Refusal> {
        exclusion::include(&self.0, caller, protocols, ports).await
    }

    /// Deletes old rows from the record. A dry run only counts them.
    pub async fn prune(
        &self,
        caller: &Caller,
        limits: Limits,
        dry_run: bool,
    ) -> Result<Removed, Refusal> {
        retention::prune(&self.0, caller, limits, dry_run).await
    }
}
