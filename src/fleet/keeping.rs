//! Keeping the session: joining, renewing, and the way from one state to the next.

use std::time::Duration;

use super::engine::{Engine, EngineError, Renewed};
use super::member::Member;
use super::session::JoinError;
use crate::domain::fleet::FleetState;
use crate::domain::lease::BootTime;

/// Pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Interval of looks at the rights of a host that is refused nothing: one commit that changes nothing.
const RIGHTS: Duration = Duration::from_mins(15);

/// Pause after a failure that comes behind a number of others.
pub(super) fn pause_after(failures: u32, longest: Duration) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.min(8))
        .min(longest)
}

/// Wait of a host before it publishes to an engine that has come back.
pub(super) fn jitter(session: Duration, rng: &mut fastrand::Rng) -> Duration {
    session.mul_f64(rng.f64())
}

impl<E: Engine> Member<E> {
    /// Renews the session, or joins.
    pub(super) async fn keep_session(&mut self) {
        self.keep_fence().await;
        let sent = self.now();
        let kept = if self.is_in {
            self.renew().await
        } else {
            self.join().await
        };
        match kept {
            Ok(()) => {
                self.renewed = Some(sent);
                self.note_renewal(sent).await;
                self.renew_at = sent.after(self.interval());
                self.back_again();
                self.look_at_rights(sent).await;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Looks at the rights of this host if that is due, or if something was refused.
    async fn look_at_rights(&mut self, now: BootTime) {
        let is_due = self.rights_at <= now;
        if is_due {
            self.rights_at = now.after(RIGHTS);
        }
        self.engine.look_at_rights(is_due).await;
    }

    async fn renew(&mut self) -> Result<(), JoinError> {
        match self.session.renew().await? {
            Renewed::Alive { revision } => {
                if self.session.has_lost(revision).await? {
                    self.quarantine().await?;
                }
                Ok(())
            }
            Renewed::Gone => {
                tracing::warn!(host = %self.identity.host, "the session of this host in the fleet has ended; a new one begins");
                self.is_in = false;
                self.session.forget();
                self.join().await
            }
        }
    }

    /// Resumes the session on record, or opens one, and has all names put again under it.
    async fn join(&mut self) -> Result<(), JoinError> {
        let now_ms = self.service.clock().now().as_millisecond();
        if self.session.has_gone_back().await? {
            self.claims.note_restored();
        }
        if !self.session.resume(now_ms).await? {
            let id = self.service.fleet_id();
            self.session.open(id).await?;
            self.put_on_record().await?;
            self.session.enter(now_ms).await?;
        }
        self.put_on_record().await?;
        self.is_in = true;
        self.claims.tend_at(self.now());
        self.published.doubt_all();
        self.publish_at = Some(self.now());
        Ok(())
    }

    /// Puts everything of this host again, after the engine has lost changes.
    async fn quarantine(&mut self) -> Result<(), JoinError> {
        self.be(
            FleetState::Quarantined,
            "the engine has lost changes, as after a restore; this host writes its own entries again",
        );
        self.claims.note_restored();
        self.join().await
    }

    pub(super) async fn put_on_record(&self) -> Result<(), EngineError> {
        let record = self.session.record().clone();
        let noted = self.service.store().set_fleet_session(record).await;
        // Without it the next start would leave this session behind, and be refused by it.
        noted
            .map_err(|error| EngineError::Fault(format!("the session cannot be recorded: {error}")))
    }

    /// Notes that the engine answers.
    fn back_again(&mut self) {
        self.failures = 0;
        let now = self.now();
        match self.state {
            FleetState::Joined | FleetState::Quarantined => {
                if self.has_changes() {
                    self.publish_at.get_or_insert(now);
                }
            }
            FleetState::Alone => {
                // All hosts come back at once: each waits a while of its own.
                let jitter = jitter(self.settings.session, &mut self.rng);
                self.publish_at = Some(now.after(jitter));
                self.be(FleetState::Joined, "");
            }
            FleetState::Joining | FleetState::Off => self.be(FleetState::Joined, ""),
        }
    }

    fn fail(&mut self, error: &JoinError) {
        if matches!(error, JoinError::Twin { .. } | JoinError::Unreadable { .. }) {
            self.is_in = false;
        }
        let longest = self.interval();
        let pause = pause_after(self.failures, longest);
        self.failures = self.failures.saturating_add(1);
        self.renew_at = self.now().after(pause);
        self.be(FleetState::Alone, &error.to_string());
    }
}
