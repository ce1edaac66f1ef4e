//! The reports: each is an event, a metric and a log line, as far as it has them.

use std::time::Duration;

use super::Journal;
use crate::domain::attempt::{Attempt, printable};
#[cfg(feature = "fleet")]
use crate::domain::claim::{Number, listed};
use crate::domain::event::EventKind;
#[cfg(feature = "fleet")]
use crate::domain::everywhere::{Kept, claimant};
#[cfg(feature = "fleet")]
use crate::domain::fleet::{FleetState, HostName};
use crate::domain::hint::Hint;
use crate::domain::lease::{AllocationId, Lease, Owner};
use crate::domain::note::NOTE;
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::engine::refusal::Refusal;
use crate::telemetry::span;

/// Leases.
impl Journal {
    pub(in crate::engine) fn granted(&self, lease: &Lease) {
        tracing::info!(
            lease = %lease.id,
            allocation = %lease.allocation,
            name = lease.name.as_ref().map(tracing::field::display),
            folder = lease.scope.folder().map(tracing::field::debug),
            port = %lease.port,
            pool = %lease.pool,
            uid = lease.uid,
            moved = lease.moved.as_ref().map(tracing::field::display),
            "granted"
        );
        let detail = match &lease.moved {
            Some(moved) => format!("{}: {moved}", lease.pool),
            None => lease.pool.to_string(),
        };
        self.lease(EventKind::Granted, lease, detail);
    }

    /// Reports that a release was undone.
    pub(in crate::engine) fn taken_back(&self, lease: &Lease) {
        tracing::info!(lease = %lease.id, port = %lease.port, uid = lease.uid, "release undone");
        let detail = format!("{}: its release was undone", lease.pool);
        self.lease(EventKind::Granted, lease, detail);
    }

    /// Reports an ended lease. `why` is part of the event if portbook ended it before its time.
    pub(in crate::engine) fn ended(&self, lease: &Lease, why: &str, is_early: bool) {
        let ended_at = lease.ended_at.unwrap_or(lease.granted_at);
        let lifetime = ended_at.duration_since(lease.granted_at);
        let state = lease.state.as_str();
        self.metrics
            .ended(state, lifetime.try_into().unwrap_or_default());
        let detail = if is_early {
            format!("{state}: {why}")
        } else {
            state.to_owned()
        };
        self.lease(EventKind::Ended, lease, detail);
        tracing::info!(lease = %lease.id, port = %lease.port, state, "ended: {why}");
    }

    pub(in crate::engine) fn renewed(&self, lease: &Lease, ttl: Duration) {
        tracing::info!(lease = %lease.id, port = %lease.port, ?ttl, "renewed");
        self.lease(EventKind::Renewed, lease, format!("{ttl:?}"));
    }

    pub(in crate::engine) fn noted(&self, lease: &Lease) {
        let note = lease.labels.get(NOTE).map_or("", String::as_str);
        tracing::info!(lease = %lease.id, port = %lease.port, note = printable(note), "noted");
        self.lease(EventKind::Noted, lease, note);
    }

    pub(in crate::engine) fn active(&self, lease: &Lease, detail: &str) {
        self.lease(EventKind::Active, lease, detail);
    }

    /// Reports that a lease has its first owner. Once a lease: an owner that listens again later is
    /// active, not a claimant.
    pub(in crate::engine) fn claimed(&self, lease: &Lease, pid: u32, command: &str) {
        let (span, command) = (span::of_lease("claim", lease), printable(command));
        span.in_scope(
            || tracing::info!(lease = %lease.id, port = %lease.port, pid, command, "claimed"),
        );
        let detail = format!("claimed by {command} (pid {pid})");
        self.lease(EventKind::Claimed, lease, detail);
    }

    /// Reports that the owner of a lease ended, and that a process which it left behind has it now.
    pub(in crate::engine) fn inherited(&self, lease: &Lease, ended: &Owner, heir: &Owner) {
        let (pid, command) = (heir.pid, printable(&heir.command));
        tracing::info!(
            lease = %lease.id, port = %lease.port, pid, command, ended = ended.pid,
            "the owner ended; a process that it left behind has the lease now"
        );
        let before = printable(&ended.command);
        let detail = format!(
            "inherited by {command} (pid {pid}), which {before} (pid {}) left behind",
            ended.pid
        );
        self.lease(EventKind::Inherited, lease, detail);
    }

    /// Reports that a program has asked for a port of its own choice, and was given a spare.
    pub(in crate::engine) fn mapped(&self, lease: &Lease, from: Port) {
        let name = lease.name.as_ref().map(tracing::field::display);
        tracing::info!(lease = %lease.id, port = %lease.port, %from, name, "taken in place of port {from}");
        let detail = format!("taken in place of port {from} (--map all)");
        self.lease(EventKind::Mapped, lease, detail);
    }

    /// Reports that a name keeps its port while its owner is away.
    pub(in crate::engine) fn parked(&self, lease: &Lease, why: &str) {
        self.lease(EventKind::Reserved, lease, why);
    }

    /// Reports an outsider on a leased port. The log, which is the administrator's, names it.
    pub(in crate::engine) fn late_conflict(&self, lease: &Lease, outsider: Outsider) {
        let span = span::of_lease("late_conflict", lease);
        let _within = span.enter();
        tracing::warn!(
            port = %lease.port,
            lease = %lease.id,
            "an outsider listens on a leased port: {outsider}"
        );
        self.metrics.late_conflict();
        let event = self.of_lease(EventKind::LateConflict, lease, String::new());
        self.note(crate::domain::event::Event {
            outsider: Some(outsider),
            ..event
        });
    }

    /// Reports advice on the program of a lease.
    pub(in crate::engine) fn hinted(&self, lease: &Lease, hint: &Hint) {
        let (span, says) = (span::of_lease("hint", lease), &hint.says);
        span.in_scope(|| tracing::info!(lease = %lease.id, port = %lease.port, "hint: {says}"));
        self.lease(EventKind::Hint, lease, says);
    }

    pub(in crate::engine) fn degraded(&self, lease: &Lease, detail: &str) {
        tracing::info!(lease = %lease.id, port = %lease.port, "degraded: {detail}");
        self.lease(EventKind::Degraded, lease, detail);
    }

    pub(in crate::engine) fn healed(&self, lease: &Lease, detail: &str) {
        tracing::info!(lease = %lease.id, port = %lease.port, "healed: {detail}");
        self.lease(EventKind::Healed, lease, detail);
    }

    /// Reports that a lease has its hold back.
    pub(in crate::engine) fn held_again(&self, lease: &Lease) {
        self.lease(EventKind::Repaired, lease, "its hold is back");
    }
}

/// Requests.
impl Journal {
    /// Counts an answered request.
    pub(in crate::engine) fn answered(
        &self,
        outcome: &'static str,
        strategy: &'static str,
        took: Duration,
    ) {
        self.metrics.allocated(outcome, strategy, took);
    }

    /// Counts the attempts of one search and its candidate ports.
    pub(in crate::engine) fn tried(&self, attempts: &[Attempt], candidates: usize) {
        self.metrics.tried(candidates);
        for attempt in attempts {
            let interface = &attempt.address.interface;
            self.metrics.attempted(attempt.outcome.as_str(), interface);
        }
    }

    /// Reports a refused request. `text` is the refusal as readers of `uid`'s requests may see it.
    pub(in crate::engine) fn refused(
        &self,
        allocation: AllocationId,
        uid: u32,
        refusal: &Refusal,
        text: String,
    ) {
        let code = refusal.code();
        tracing::info!(%allocation, code, "refused: {refusal}");
        self.other(EventKind::Refused, Some(uid), text);
    }

    /// Reports a request that waited in vain.
    pub(in crate::engine) fn waited_in_vain(&self, uid: u32, text: String) {
        self.other(EventKind::Refused, Some(uid), text);
    }

    /// Counts an answer with an error of this code.
    pub(in crate::engine) fn rejected(&self, code: &'static str) {
        self.metrics.rejected(code);
    }
}

/// The host and the rules.
impl Journal {
    pub(in crate::engine) fn excluded(
        &self,
        protocols: Protocols,
        ports: &PortSet,
        uid: u32,
        by: &str,
    ) {
        let detail = format!("excluded by {by}");
        self.of_ports(EventKind::Excluded, protocols, ports, &detail);
        tracing::info!(%ports, %protocols, uid, "excluded by hand");
    }

    pub(in crate::engine) fn included(&self, protocols: Protocols, ports: &PortSet, uid: u32) {
        self.of_ports(EventKind::Included, protocols, ports, "included again");
        tracing::info!(%ports, %protocols, uid, "included again");
    }

    /// Notes one event a protocol for a single port, or one for several ports together.
    fn of_ports(&self, kind: EventKind, protocols: Protocols, ports: &PortSet, detail: &str) {
        if let Some(port) = ports.first().filter(|_| ports.len() == 1) {
            for protocol in protocols.each() {
                self.port(kind, *protocol, port, detail);
            }
        } else {
            let detail = format!("{}/{protocols}: {detail}", ports.in_words());
            self.other(kind, None, detail);
        }
    }

    /// Reports a mended fault. `kind` is the word under which it is counted.
    pub(in crate::engine) fn mended(&self, fault: impl std::fmt::Debug, kind: &'static str) {
        self.metrics.repaired(kind);
        tracing::warn!(
            ?fault,
            "mended a fault between books, guards, owners and record"
        );
        self.other(EventKind::Repaired, None, format!("mended: {kind}"));
    }

    /// Counts an occupancy snapshot.
    pub(in crate::engine) fn snapshot_taken(&self, took: Duration) {
        self.metrics.looked(took);
    }
}

/// The fleet.
#[cfg(feature = "fleet")]
impl Journal {
    /// Reports the relation of this host to its fleet.
    pub fn fleet(&self, host: &HostName, state: FleetState, why: &str) {
        let state = state.as_str();
        let detail = if why.is_empty() {
            tracing::info!(%host, state, "fleet: {state}");
            state.to_owned()
        } else {
            tracing::warn!(%host, state, "fleet: {state}: {why}");
            format!("{state}: {}", printable(why))
        };
        self.other(EventKind::Fleet, None, detail);
    }

    /// Reports that another host has the number of a lease now, or that it was given away.
    pub(in crate::engine) fn claim_lost(&self, lease: &Lease, by: Option<&str>) {
        let detail = match by {
            Some(host) => format!("taken by {} of the fleet", claimant(host)),
            None => "its claim is not in the fleet any more".to_owned(),
        };
        tracing::error!(
            lease = %lease.id, port = %lease.port,
            "the fleet has the number of a lease no more: {detail}; the port is shut to new programs, and a program that listens there should be stopped"
        );
        self.lease(EventKind::FleetClaimLost, lease, detail);
    }

    /// Reports what became of a number that is reserved on every host. `None`: the reservation was taken back.
    pub fn everywhere(&self, number: Number, kept: Option<&Kept>) {
        let detail = match kept {
            None => format!("everywhere: {number} was taken back"),
            Some(Kept { name, busy: None }) => format!("everywhere: {number} is kept for {name}"),
            Some(Kept {
                name,
                busy: Some(why),
            }) => format!(
                "everywhere: {number} for {name} is busy: {}",
                printable(why)
            ),
        };
        if kept.is_some_and(|kept| kept.busy.is_some()) {
            tracing::warn!(port = %number.port, "fleet: {detail}; that is tried again");
        } else {
            tracing::info!(port = %number.port, "fleet: {detail}");
        }
        self.port(EventKind::Fleet, number.protocol, number.port, &detail);
    }

    /// Reports which unique numbers the kernel shuts now.
    pub fn fence(&self, shut: &[Number]) {
        if shut.is_empty() {
            tracing::info!("fleet: the kernel has the unique numbers of this host open again");
            let detail = "fence: all unique numbers of this host are open again".to_owned();
            return self.other(EventKind::Fleet, None, detail);
        }
        let detail = format!("fence: the kernel shuts {}", listed(shut));
        tracing::error!(
            "fleet: {detail}: nothing reaches these unique numbers until the session of this host is renewed"
        );
        self.other(EventKind::Fleet, None, detail);
    }

    /// Counts a commit to the fleet, by the word of its outcome.
    pub fn fleet_committed(&self, outcome: &'static str, took: Duration) {
        self.metrics.fleet_committed(outcome, took);
    }
}
