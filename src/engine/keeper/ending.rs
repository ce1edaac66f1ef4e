//! How leases end: released, expired, unclaimed, or their owner gone. A name outlives its owner
//! and its unclaimed time; only a release or its own expiry ends it.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::folder::FOLDER_GONE;
use crate::domain::lease::{BootTime, Lease, LeaseId, Owner, State};
use crate::engine::caller::Caller;
use crate::engine::giveway::GAVE_WAY;
use crate::engine::plan::check_lifetime;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Service, lock};
use crate::engine::turns::Turn;
use crate::host::process;
use crate::store::StoreError;
use crate::telemetry::span;

/// How a lease ends.
#[derive(Debug, Clone, Copy)]
struct Ending {
    state: State,
    /// The reason, for the log.
    why: &'static str,
    /// Whether its name forgets the port.
    forgets: bool,
}

/// Leases that are about to be replaced, each as it was and as it ends, and their turn.
pub(in crate::engine) struct Replacing {
    leases: Vec<(Arc<Lease>, Arc<Lease>)>,
    _turn: Turn,
}

impl Replacing {
    /// The form of each that goes on record.
    pub(in crate::engine) fn ended(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().map(|(_, ended)| &**ended)
    }

    /// They are on record as ended.
    pub(in crate::engine) async fn finish(self, service: &Service) {
        for (before, ended) in &self.leases {
            service.finish_end(before, ended, "its name moved").await;
        }
    }

    /// They are not on record as ended.
    pub(in crate::engine) fn undo(self, service: &Service) {
        for (before, _) in &self.leases {
            service.undo_end(before);
        }
    }
}

fn came_meanwhile(lease: &Lease) -> Refusal {
    match &lease.name {
        Some(name) => Refusal::NameTaken {
            name: name.clone(),
            why: format!(
                "its program came to port {} just now; ask again",
                lease.port
            ),
        },
        None => Refusal::NotFound,
    }
}

impl Service {
    /// Gives a lease back on behalf of its user.
    pub async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        let lease = self.lease_of(caller, id)?;
        let releasing = span::of_lease("release", &lease);
        let ending = Ending {
            state: State::Released,
            why: "released",
            forgets: true,
        };
        let released = self.end_as(id, ending, |_| true);
        released.instrument(releasing).await
    }

    /// Gives a lease back that its user did not ask for: its name goes on knowing its port.
    pub async fn take_back(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        self.lease_of(caller, id)?;
        self.end(id, State::Released, "taken back", |_| true).await
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
        if let Some(pool) = self.settings().pools.get(&*lease.pool) {
            check_lifetime(Some(ttl), pool)?;
        }
        let renewing = span::of_lease("renew", &lease);
        let renewed = self.put_off(id, ttl).instrument(renewing).await?;
        self.journal.renewed(&renewed, ttl);
        Ok(renewed)
    }

    async fn put_off(&self, id: LeaseId, ttl: Duration) -> Result<Arc<Lease>, Refusal> {
        let _turn = self.turn(id).await;
        let until = self.clock.boot().after(ttl);
        let renewed = self.change(id, |lease| {
            lease.expires = Some(until);
            lease.ttl = Some(ttl);
        });
        renewed.await
    }

    /// Ends a lease if `still` says so of the lease as it is in its turn; its name, if any, goes on
    /// knowing its port.
    pub(in crate::engine) async fn end(
        &self,
        id: LeaseId,
        state: State,
        why: &'static str,
        still: impl FnOnce(&Lease) -> bool + Send + 'static,
    ) -> Result<(), Refusal> {
        let ending = Ending {
            state,
            why,
            forgets: false,
        };
        self.end_as(id, ending, still).await
    }

    /// Ends a lease: on record first, then the hold is closed and the port is free in the books. A
    /// crash in between leaks nothing, since holds die with the process.
    ///
    /// On a task of its own: whoever asked may hang up halfway, but a lease does not end by halves.
    async fn end_as(
        &self,
        id: LeaseId,
        ending: Ending,
        still: impl FnOnce(&Lease) -> bool + Send + 'static,
    ) -> Result<(), Refusal> {
        let service = self.clone();
        let task = async move {
            let _turn = service.turn(id).await;
            let lease = service.living_lease(id).ok_or(Refusal::NotFound)?;
            if still(&lease) {
                service.end_in_turn(&lease, ending).await
            } else {
                Ok(())
            }
        };
        let ended = tokio::spawn(task.in_current_span()).await;
        ended.unwrap_or(Err(Refusal::Store(StoreError::Closed)))
    }

    async fn end_in_turn(&self, lease: &Lease, ending: Ending) -> Result<(), Refusal> {
        let ended = self.begin_end(lease, ending).ok_or(Refusal::NotFound)?;
        if let Err(error) = self.store.commit(self.store.batch().lease(&ended)).await {
            self.undo_end(lease);
            return Err(error.into());
        }
        self.finish_end(lease, &ended, ending.why).await;
        Ok(())
    }

    /// Marks a lease as ended in the books, and gives the form of it that goes on record. In its turn.
    fn begin_end(&self, lease: &Lease, ending: Ending) -> Option<Arc<Lease>> {
        let now = self.clock.now();
        lock(&self.books).change(lease.id, |lease| {
            lease.state = ending.state;
            lease.ended_at = Some(now);
            lease.forgotten = ending.forgets;
            lease.revision += 1;
        })
    }

    /// Not on record as ended, so not ended: the port stays where it is.
    fn undo_end(&self, before: &Lease) {
        lock(&self.books).change(before.id, |lease| {
            lease.state = before.state;
            lease.ended_at = None;
            lease.forgotten = before.forgotten;
        });
    }

    /// Closes the hold of a lease that is on record as ended, and strikes it from the books.
    async fn finish_end(&self, before: &Lease, ended: &Lease, why: &str) {
        let id = ended.id;
        self.unwatch(id);
        let hold = lock(&self.holds).remove(id);
        // An owner that was never seen to listen may have found somebody else there.
        let intruder = match &hold {
            Some(hold) if before.state == State::Handed => self.shut(before, hold).await,
            _ => None,
        };
        drop(hold);
        lock(&self.books).remove(id);
        lock(&self.listeners).remove(&id);
        self.learning.released(ended);
        self.queue.notify_freed();
        if let Some(who) = intruder {
            self.late_conflict(ended, who);
        }
        let is_early = [FOLDER_GONE, GAVE_WAY].contains(&why);
        self.journal.ended(ended, why, is_early);
    }

    /// Begins to end leases that others are about to replace, in the commit of those others. Refused
    /// where the program of one has come meanwhile.
    pub(in crate::engine) async fn begin_replacing(
        &self,
        leases: Vec<Arc<Lease>>,
    ) -> Result<Replacing, Refusal> {
        let ids = leases.iter().map(|lease| lease.id);
        let mut replacing = Replacing {
            leases: Vec::with_capacity(leases.len()),
            _turn: self.turn_of_all(ids).await,
        };
        for lease in leases {
            let Some(lease) = self.living_lease(lease.id) else {
                continue;
            };
            let owner = lease.owner.as_ref();
            if owner.is_some_and(process::is_running) {
                replacing.undo(self);
                return Err(came_meanwhile(&lease));
            }
            let ending = Ending {
                state: State::Released,
                why: "its name moved",
                forgets: false,
            };
            if let Some(ended) = self.begin_end(&lease, ending) {
                replacing.leases.push((lease, ended));
            }
        }
        Ok(replacing)
    }

    /// A deadline of the lease has passed.
    pub(super) async fn time_is_up(&self, lease: &Lease, now: BootTime) -> Result<(), Refusal> {
        let up = move |deadline: Option<BootTime>| deadline.is_some_and(|at| at <= now);
        if up(lease.expires) {
            let still = move |lease: &Lease| up(lease.expires);
            return self
                .end(lease.id, State::Expired, "its time was up", still)
                .await;
        }
        if !up(lease.claim_by) {
            return Ok(());
        }
        let still = move |lease: &Lease| up(lease.claim_by);
        let why = "nobody came to listen";
        match lease.name {
            Some(_) => self.park_lease(lease.id, why, still).await,
            None => self.end(lease.id, State::Unclaimed, why, still).await,
        }
    }

    /// The owner has gone: its unnamed lease ends, its named one is kept for its return.
    pub(super) async fn owner_gone(&self, id: LeaseId, owner: Owner) {
        let Some(lease) = self.living_lease(id) else {
            return;
        };
        let still = move |lease: &Lease| lease.owner.as_ref().is_some_and(|now| now.is(&owner));
        let gone = "its owner is gone";
        let parting = span::of_lease("owner_gone", &lease);
        let done = async {
            match lease.name {
                Some(_) => self.park_lease(id, "its owner is away", still).await,
                None => self.end(id, State::OwnerGone, gone, still).await,
            }
        };
        let done = done.instrument(parting).await;
        match done {
            // While shutting down the record closes first; the next start sees that the owner is gone.
            Ok(()) | Err(Refusal::NotFound | Refusal::Store(StoreError::Closed)) => {}
            Err(error) => {
                tracing::error!(%error, lease = %id, "an owner's end could not be recorded");
            }
        }
    }
}
