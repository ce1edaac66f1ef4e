//! Telling: the state of this host in its fleet, for the desk, the journal and the counter for claims.

use super::engine::Engine;
use super::host_name;
use super::member::{Member, MemberError};
use crate::config::Fleet;
use crate::domain::fleet::{FleetState, FleetStatus};
use crate::domain::lease::BootTime;
use crate::engine::service::Service;

/// Tells the desk why there is no loop.
pub(super) fn tell_failure(service: &Service, settings: &Fleet, error: &MemberError) {
    service.fleet().set(FleetStatus {
        state: FleetState::Alone,
        why: error.to_string(),
        host: host_name(settings.host.as_ref()),
        engine: settings.engine.clone(),
        ..FleetStatus::default()
    });
}

impl<E: Engine> Member<E> {
    /// Changes the state, and reports that.
    pub(super) fn be(&mut self, state: FleetState, why: &str) {
        let has_changed = self.state != state;
        if self.why != why {
            why.clone_into(&mut self.why);
        }
        if !has_changed {
            return;
        }
        self.state = state;
        self.since = self.now();
        self.service
            .journal()
            .fleet(&self.identity.host, state, why);
    }

    /// Tells the state as it is now.
    pub(super) fn tell(&self) {
        // Claims are answered in this session, or not at all.
        let session = self
            .session
            .id()
            .filter(|_| self.state == FleetState::Joined && self.is_in);
        self.claims.set_session(session);
        let ms = |time: BootTime| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX);
        self.service.fleet().set(FleetStatus {
            state: self.state,
            why: self.why.clone(),
            host: Some(self.identity.host.clone()),
            engine: self.settings.engine.clone(),
            session: self.session.id().map(str::to_owned),
            addresses: self.identity.addresses.clone(),
            since_boot_ms: ms(self.since),
            renewed_boot_ms: self.renewed.map(ms),
            published: self.published.count(),
            pending: self.pending,
            commits: self.commits,
        });
    }
}
