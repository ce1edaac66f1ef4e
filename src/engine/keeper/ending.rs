//! How leases end: released, expired, unclaimed, or their owner gone. A name outlives its owner
//! and its unclaimed time; only a release or its own expiry ends it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::EventKind;
use crate::domain::lease::{BootTime, Lease, LeaseId, Owner, State};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Service, lock};

impl Service {
    /// Gives a lease back on behalf of its user.
    pub async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        self.lease_of(caller, id)?;
        self.end(id, State::Released, "released").await
    }

    /// Makes a lease last its lifetime again from now on, or `ttl` if that is given.
    pub async fn renew(
        &self,
        caller: &Caller,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<Arc<Lease>, Refusal> {
        let lease = self.lease_of(caller, id)?;
        let Some(ttl) = ttl.or(lease.ttl) else {
            return Err(Refusal::InvalidRequest(
                "this lease has no end to put off: give a ttl to set one".to_owned(),
            ));
        };
        let until = self.clock.boot().after(ttl);
        let renewed = self.change(id, |lease| {
            lease.expires = Some(until);
            lease.ttl = Some(ttl);
        });
        let renewed = renewed.await?;
        self.journal
            .lease(EventKind::Renewed, &renewed, format!("{ttl:?}"));
        Ok(renewed)
    }

    /// Ends a lease: on record first, then the hold is closed and the port is free in the books.
    /// A crash in between leaks nothing, since holds die with the process.
    pub(in crate::engine) async fn end(
        &self,
        id: LeaseId,
        state: State,
        why: &str,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        let mut before = None;
        let ended = lock(&self.books).change(id, |lease| {
            if lease.state.is_ended() {
                return;
            }
            before = Some(lease.state);
            lease.state = state;
            lease.ended_at = Some(now);
            lease.revision += 1;
        });
        let (Some(ended), Some(before)) = (ended, before) else {
            return Err(Refusal::NotFound);
        };
        if let Err(error) = self.store.commit(self.store.batch().lease(&ended)).await {
            // Not on record as ended, so not ended: the port stays where it is.
            lock(&self.books).change(id, |lease| {
                lease.state = before;
                lease.ended_at = None;
            });
            return Err(error.into());
        }
        self.unwatch(id);
        let hold = lock(&self.holds).remove(id);
        drop(hold);
        lock(&self.books).strike(id);
        self.queue.tell_freed();
        self.journal.lease(EventKind::Ended, &ended, state.as_str());
        tracing::debug!(lease = %id, port = %ended.port, state = state.as_str(), "ended: {why}");
        Ok(())
    }

    /// A deadline of the lease has passed.
    pub(super) async fn time_is_up(&self, lease: &Lease, now: BootTime) -> Result<(), Refusal> {
        let up = |deadline: Option<BootTime>| deadline.is_some_and(|at| at <= now);
        if up(lease.expires) {
            return self.end(lease.id, State::Expired, "its time was up").await;
        }
        if !up(lease.claim_by) {
            return Ok(());
        }
        match lease.name {
            Some(_) => self.put_away(lease, "nobody came to listen").await,
            None => {
                self.end(lease.id, State::Unclaimed, "nobody came to listen")
                    .await
            }
        }
    }

    /// The owner has gone: its unnamed lease ends, its named one is kept for its return.
    pub(super) async fn owner_gone(&self, id: LeaseId, owner: &Owner) {
        let lease = self.lease(id).filter(|lease| !lease.state.is_ended());
        let Some(lease) = lease.filter(|lease| lease.owner.as_ref().is_some_and(|o| o.is(owner)))
        else {
            return;
        };
        let done = match lease.name {
            Some(_) => self.put_away(&lease, "its owner is gone").await,
            None => self.end(id, State::OwnerGone, "its owner is gone").await,
        };
        if let Err(error) = done {
            tracing::error!(%error, lease = %id, "the end of an owner could not be recorded");
        }
    }
}
