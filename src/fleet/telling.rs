//! Telling: the state of this host in its fleet, for the desk, the journal and the counter for claims; and each commit,
//! for traces and metrics.

use std::time::Duration;

use tracing::{Instrument, Span};

use super::counter::Standing;
use super::engine::{Answer, Engine, Outcome, word};
use super::fencing::Fencing;
use super::host_name;
use super::member::{Member, MemberError};
use crate::config::Fleet;
use crate::domain::fleet::{FleetState, FleetStatus};
use crate::domain::lease::BootTime;
use crate::engine::service::Service;
use crate::telemetry::{Stopwatch, span};

/// Sends a commit of so many steps within a span of its own below each of these. Returns its outcome in a word and
/// the time that it took as well.
pub(super) async fn measured(
    steps: usize,
    below: &[Span],
    sending: impl Future<Output = Answer<Outcome>>,
) -> (Answer<Outcome>, &'static str, Duration) {
    let one_below = |span: &Span| span.in_scope(|| span::fleet_commit(steps));
    let spans: Vec<Span> = below.iter().map(one_below).collect();
    let begun = Stopwatch::start();
    let within = spans.first().cloned().unwrap_or_else(Span::none);
    let sent = sending.instrument(within).await;
    let outcome = word(&sent);
    for span in &spans {
        span::fleet_committed(span, outcome, sent.is_ok());
    }
    (sent, outcome, begun.elapsed())
}

/// Tells the desk why there is no loop.
pub(super) fn tell_failure(
    service: &Service,
    settings: &Fleet,
    error: &MemberError,
    fencing: &Fencing,
) {
    service.fleet().set(FleetStatus {
        state: FleetState::Alone,
        why: error.to_string(),
        host: host_name(settings.host.as_ref()),
        engine: settings.engine.clone(),
        since_boot_ms: ms(service.clock().boot()),
        ..fencing.status(None)
    });
}

fn ms(time: BootTime) -> u64 {
    u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX)
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
    pub(super) fn tell(&mut self) {
        self.watch_fence();
        // Claims are answered in this session, or not at all.
        let standing = match (self.state, self.session.open_session()) {
            (FleetState::Joining, _) => Standing::Joining,
            (FleetState::Joined, Some(open)) if self.is_in => Standing::In(open),
            _ => Standing::Out,
        };
        self.claims.set_standing(standing);
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
            ..self.fence_status()
        });
    }
}
