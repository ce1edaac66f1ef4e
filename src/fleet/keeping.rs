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

/// Wait of a host before it publishes to an engine that has come back: up to the length of a session. One that does not
/// reach it for a moment within that time, as where all hosts come back at once, does not begin to wait anew.
#[derive(Debug, Default)]
pub(super) struct Wait(Option<BootTime>);

impl Wait {
    /// Returns the end of the wait of a host that is back now.
    pub(super) fn end(
        &mut self,
        now: BootTime,
        session: Duration,
        rng: &mut fastrand::Rng,
    ) -> BootTime {
        let drawn = now.after(session.mul_f64(rng.f64()));
        let end = self.0.filter(|end| *end > now).unwrap_or(drawn);
        self.0 = Some(end);
        end
    }
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
        let mut epoch = None;
        if !self.session.resume(now_ms).await? {
            let id = self.service.fleet_id();
            self.session.open(id).await?;
            self.put_on_record().await?;
            // No commit of names was made for the key of a session that is new.
            epoch = self.session.enter(now_ms).await?;
        }
        self.put_on_record().await?;
        self.is_in = true;
        self.claims.tend_at(self.now());
        self.published.doubt_all(epoch);
        self.count_pending();
        self.publish_at = Some(self.now());
        Ok(())
    }

    /// Puts everything of this host again, after etcd has lost changes.
    async fn quarantine(&mut self) -> Result<(), JoinError> {
        self.be(
            FleetState::Quarantined,
            "etcd has lost changes, as after a restore; this host writes its own entries again",
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
                let wait = self.wait.end(now, self.settings.session, &mut self.rng);
                self.publish_at = Some(wait);
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
        // No commit counts them while the engine is away.
        self.count_pending();
        self.be(FleetState::Alone, &error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_that_is_away_again_while_it_waits_waits_no_longer() {
        let session = Duration::from_secs(30);
        let (mut wait, mut rng) = (Wait::default(), fastrand::Rng::with_seed(7));
        let start = BootTime(Duration::from_secs(100));
        let mut end = |now| wait.end(now, session, &mut rng);
        let first = end(start);
        assert!(first > start && first <= start.after(session));
        let within = start.after(first.since(start) / 2);
        assert_eq!(end(within), first);
        assert!(end(first) > first, "another outage has a wait of its own");
    }
}
