//! The part of the façade that reads.

use std::collections::HashSet;
use std::sync::Arc;

use super::Service;
use crate::config::Settings;
#[cfg(feature = "fleet")]
use crate::domain::claim::ClaimCounts;
use crate::domain::exclusion::Exclusions;
use crate::domain::health::Check;
use crate::domain::hint::Hint;
use crate::domain::lease::{Lease, LeaseId};
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
#[cfg(feature = "fleet")]
use crate::domain::prior::{Prior, Report};
use crate::domain::selector::Selector;
use crate::engine::capacity::{self, Capacity, OnInterface};
use crate::engine::containers;
use crate::engine::fleet::FleetDesk;
use crate::engine::keeper::undoing;
use crate::engine::kin::{self, Kin};
use crate::engine::survey::{self, Opinion, Survey};
use crate::engine::{health, journal::Journal, measures, refusal::Refusal};
use crate::host::clock::Clock;
use crate::host::interface::Interfaces;
use crate::store::Store;
use crate::telemetry::metrics::{Exposition, PortserverMetrics};

impl Service {
    /// Whether a release of a lease can still be undone.
    pub fn can_undo_release(&self, lease: &Lease) -> bool {
        undoing::can_be_undone(lease, self.0.clock.now())
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings()
    }

    /// Returns the ports that are excluded by hand.
    pub fn exclusions(&self) -> Arc<Exclusions> {
        Arc::clone(&self.0.rules.now().exclusions)
    }

    /// Returns the record.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Returns the desk of the fleet.
    pub fn fleet(&self) -> &FleetDesk {
        &self.0.fleet
    }

    /// Counts the claims of this host on unique numbers by state.
    #[cfg(feature = "fleet")]
    pub fn claim_counts(&self) -> ClaimCounts {
        let lives = |id| self.0.leases.get(id).is_some();
        self.0.fleet.claims().counts(lives)
    }

    /// Returns a new id of a session or of this data directory in the fleet.
    #[cfg(feature = "fleet")]
    pub fn fleet_id(&self) -> String {
        self.0.new_id().to_string()
    }

    /// Returns what other hosts of a fleet may learn of this host's ports. `commands`: with the names of the
    /// commonest programs on them.
    #[cfg(feature = "fleet")]
    pub fn report_for_fleet(&self, commands: bool) -> Report {
        self.0.learning.report(commands)
    }

    /// Sets what other hosts of a fleet have seen on their ports, in place of what was set before.
    #[cfg(feature = "fleet")]
    pub fn set_fleet_prior(&self, prior: &Prior) {
        self.0.learning.set_prior(prior);
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the host's interfaces.
    pub fn interfaces(&self) -> &Interfaces {
        &self.0.interfaces
    }

    /// Returns the name of the container for which a process listens on a port, as far as it is known.
    pub fn container_of(
        &self,
        (protocol, port): (Protocol, Port),
        pid: u32,
        command: &str,
    ) -> Option<String> {
        containers::name_of(pid, command).or_else(|| containers::name_on(&self.0, protocol, port))
    }

    /// Asks container engines for the names of their containers, unless that was done a moment ago.
    pub async fn refresh_containers(&self) {
        containers::refresh(&self.0).await;
    }

    /// Returns every living lease, oldest first.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        self.0.leases.all()
    }

    /// Returns the number of living leases.
    pub fn lease_count(&self) -> usize {
        self.0.leases.count()
    }

    /// Returns a living lease.
    pub fn lease(&self, id: LeaseId) -> Option<Arc<Lease>> {
        self.0.leases.get(id)
    }

    /// Returns the living leases on a port.
    pub fn leases_on(&self, protocol: Protocol, port: Port) -> Vec<Arc<Lease>> {
        self.0.leases.on_port(protocol, port)
    }

    /// Returns the outsiders that the latest look found on the port of a lease.
    pub fn outsiders(&self, id: LeaseId) -> Vec<Outsider> {
        self.0.leases.outsiders(id)
    }

    /// Returns the hint on a lease: that its number is lost, that nothing reaches its port, else one on its program.
    pub fn hint(&self, id: LeaseId) -> Option<Hint> {
        self.hint_of_fleet(id).or_else(|| self.0.leases.hint(id))
    }

    /// Returns the hint on a lease that it has lost its number, or that nothing reaches it.
    #[cfg(feature = "fleet")]
    fn hint_of_fleet(&self, id: LeaseId) -> Option<Hint> {
        let lease = self.lease(id)?;
        let lost = self.0.fleet.claims().hint(&lease);
        lost.or_else(|| self.0.fleet.fence().hint(&lease, self.clock()))
    }

    /// Returns none, as this build has no fleet.
    #[cfg(not(feature = "fleet"))]
    #[expect(
        clippy::unused_self,
        reason = "it is asked like that of a build with a fleet"
    )]
    fn hint_of_fleet(&self, _: LeaseId) -> Option<Hint> {
        None
    }

    /// Returns the inodes of portbook's own sockets on a port, which occupy it for no other program.
    pub fn own_sockets(&self, protocol: Protocol, port: Port) -> HashSet<u64> {
        self.0.leases.own_sockets(protocol, port)
    }

    /// Returns the number of descriptors that holds and watched owners keep open.
    pub fn held_descriptors(&self) -> usize {
        self.0.leases.descriptor_count()
    }

    /// Returns the maximum number of descriptors that holds and watched owners may keep open.
    pub fn descriptor_budget(&self) -> usize {
        self.0.descriptor_budget()
    }

    /// Returns every port as a request on these interfaces would find it. Without interfaces, those of
    /// the default pool count.
    pub fn survey(&self, protocol: Protocol, on: &[Selector]) -> Result<Survey, Refusal> {
        survey::survey(&self.0, protocol, on)
    }

    /// Returns each pool's opinion of one port.
    pub fn opinions(&self, protocol: Protocol, port: Port) -> Result<Vec<Opinion>, Refusal> {
        survey::opinions(&self.0, protocol, port)
    }

    /// Returns the use of each pool, in the order of their names.
    pub fn capacities(&self) -> Result<Vec<Capacity>, Refusal> {
        capacity::capacities(&self.0)
    }

    /// Returns the use of each pool on each interface, in the order of their names.
    pub fn capacities_by_interface(&self) -> Result<Vec<OnInterface>, Refusal> {
        capacity::capacities_by_interface(&self.0)
    }

    /// Returns the leases as they are now, to relate sockets to: those on one port, or all.
    pub fn kin(&self, only: Option<(Protocol, Port)>) -> Kin {
        kin::kin(&self.0, only)
    }

    /// Checks everything that granting and keeping ports depends on.
    pub async fn health(&self) -> Vec<Check> {
        health::health(&self.0).await
    }

    /// Returns all metrics as text.
    pub async fn metrics(&self, exposition: Exposition) -> String {
        measures::metrics(&self.0, exposition).await
    }

    /// Returns the counters of a port server.
    pub fn portserver_metrics(&self) -> PortserverMetrics {
        self.0.journal.portserver_metrics()
    }

    /// Counts an answer with an error of this code.
    pub fn note_rejection(&self, code: &'static str) {
        self.0.journal.rejected(code);
    }
}
