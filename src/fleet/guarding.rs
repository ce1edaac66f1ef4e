//! Keeping the fence: its table, the permits of this host, and what is told of them.

use std::time::Duration;

use super::engine::Engine;
use super::fencing::Fencing;
use super::ground::{Ground, Tended, is_held};
use super::member::Member;
use super::permit::Permits;
use crate::domain::claim::Claim;
use crate::domain::fleet::{FleetState, FleetStatus};
use crate::domain::lease::BootTime;

/// Part of the time of reclaim that a number must be open for: with less it is told.
const NEAR: u32 = 4;

const NEAR_SAID: &str =
    "the session was not renewed for long: the kernel shuts unique numbers of this host soon";

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
                tracing::error!(%error, "the table portbook of the packet filter is gone or cannot be read: unique numbers may be open without a fence, and permits are not prolonged");
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
        if !permits.has_late() {
            return;
        }
        if let Err(error) = permits.shut_late().await {
            tracing::warn!(%error, "could not shut unique numbers whose time is over; the kernel does so by itself");
        }
    }

    /// Tells once if numbers are shut soon, are shut, or are open again.
    pub(super) fn watch_fence(&mut self) {
        let is_near = self.is_near();
        if is_near && !self.is_fence_near {
            let why = NEAR_SAID;
            tracing::warn!("{why}");
            self.service
                .journal()
                .fleet(&self.identity.host, self.state, why);
        }
        self.is_fence_near = is_near;
        // The first renewal of a start opens them again, or fails.
        let permits = self.permits().filter(|_| self.state != FleetState::Joining);
        let shut = permits.map(Permits::shut_now).unwrap_or_default();
        if shut != self.shut {
            self.service.journal().fence(&shut);
            self.shut = shut;
        }
    }

    /// The part of the status that tells of the fence.
    pub(super) fn fence_status(&self) -> FleetStatus {
        let fencing = &self.claims.claimant.ground.fencing;
        let near = self.is_fence_near && self.shut.is_empty();
        fencing.status(near.then(|| NEAR_SAID.to_owned()))
    }

    /// Time at which the kernel shuts the next number, to tell of it.
    pub(super) fn fence_due(&self) -> Option<BootTime> {
        self.permits()?.first_end()
    }

    /// Deletes the table once this host has left, without a claim.
    pub(super) async fn leave_fence(&mut self) {
        if self.permits().is_some() {
            self.claims.claimant.ground.fencing = Fencing::unload(&self.service).await;
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
        if !ground.fencing.is_on() {
            return Vec::new();
        }
        let all = ground.tended(|one| is_held(one) && one.claim.reclaim_s > 0);
        all.iter().map(Tended::claim).collect()
    }
}
