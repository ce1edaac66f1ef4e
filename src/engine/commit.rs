//! What was found becomes leases: on record first, then in the books, with their gates open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::allocator::Found;
use super::books::Ticket;
use super::caller::Mode;
use super::grant::{Allocated, Outcome, RequestContext, conflicts};
use super::plan::check_lifetime;
use super::refusal::{Refusal, in_the_way};
use super::service::{Service, lock};
use crate::domain::attempt::Attempt;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, Name, State};
use crate::domain::port::{Port, Protocol};
use crate::domain::precedence::Moved;
use crate::host::hold::Hold;
use crate::store::Batch;
use crate::telemetry::span;

/// What is about to become a lease.
struct Fresh {
    lease: Lease,
    hold: Hold,
    /// What keeps its port in the books until then.
    ticket: Ticket,
}

/// A move as it goes on record, which everybody reads who may see this user's leases.
pub(super) fn on_record(asked: &RequestContext<'_>, moved: &Moved) -> Moved {
    let mut moved = moved.clone();
    moved.veil(|uid| uid == asked.caller.uid);
    moved
}

/// Leases that a name keeps, with the reason why they are not on the preferred port.
struct Kept {
    leases: Vec<Arc<Lease>>,
    moved: Option<Moved>,
}

/// One line for all that was in the way of a grant: there may be thousands. At debug each has its own.
fn tell(asked: &RequestContext<'_>, conflicts: &[Attempt]) {
    if !conflicts.is_empty() {
        let (allocation, count) = (asked.id, conflicts.len());
        tracing::info!(%allocation, conflicts = count, "in the way: {}", in_the_way(conflicts));
    }
}

impl Service {
    /// Grants what was found. The leases that it replaces end in the same commit.
    pub(super) async fn grant(
        &self,
        asked: &RequestContext<'_>,
        outcome: Outcome,
    ) -> Result<Allocated, Refusal> {
        let Outcome {
            slots,
            attempts,
            explanation,
        } = outcome;
        let (mut fresh, mut replaced, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        let mut kept: Vec<Option<Kept>> = Vec::with_capacity(slots.len());
        for (index, slot) in slots.into_iter().enumerate() {
            let way = slot.moved(asked, &explanation);
            moves.extend(way.clone());
            let leases = slot.known.map_or_else(Vec::new, |known| known.leases);
            let Some(found) = slot.found else {
                kept.push(Some(Kept { leases, moved: way }));
                continue;
            };
            kept.push(None);
            let name = asked.request.names.get(index);
            let before = leases.first().map(|lease| &**lease);
            fresh.extend(self.fresh(asked, name, found, way.as_ref(), before));
            replaced.extend(leases);
        }
        let created = !fresh.is_empty();
        let record = self.record(asked, explanation.clone());
        let batch = self.store.batch().allocation(&record);
        let batch = batch.attempts(&record, &attempts);
        let granted = self.commit_fresh(asked, batch, fresh, replaced).await?;
        let leases = self.in_order(asked, kept, granted).await?;
        let conflicts = conflicts(asked, &attempts);
        tell(asked, &conflicts);
        Ok(Allocated {
            id: asked.id,
            created,
            dry: false,
            attempt_count: record.explanation.tried.len(),
            leases,
            moves,
            explanation,
            conflicts,
            trace: asked.trace.clone(),
        })
    }

    /// What was found, as one lease a protocol. What was said of the lease that its name had `before`
    /// and is not said anew goes on.
    fn fresh(
        &self,
        asked: &RequestContext<'_>,
        name: Option<&Name>,
        found: Found,
        moved: Option<&Moved>,
        before: Option<&Lease>,
    ) -> Vec<Fresh> {
        let (port, ticket) = (found.port, found.ticket);
        let fresh = |hold: Hold| {
            let mut lease = self.new_lease(asked, name, port, hold.protocol());
            lease.moved = moved.map(|moved| on_record(asked, moved));
            if let Some(before) = before {
                self.carry_over(asked, before, &mut lease);
            }
            Fresh {
                lease,
                hold,
                ticket,
            }
        };
        found.holds.into_iter().map(fresh).collect()
    }

    /// Gives a name's next lease what its last one was told and the request leaves open, as for a lease
    /// that stays.
    fn carry_over(&self, asked: &RequestContext<'_>, before: &Lease, lease: &mut Lease) {
        lease.by_hand |= before.by_hand;
        if asked.request.labels.is_empty() {
            lease.labels.clone_from(&before.labels);
        }
        let ttl = before.ttl.filter(|_| asked.request.ttl.is_none());
        let allowed = |ttl: &Duration| check_lifetime(Some(*ttl), &asked.plan.pool).is_ok();
        if let Some(ttl) = ttl.filter(allowed) {
            lease.ttl = Some(ttl);
            lease.expires = Some(self.clock.boot().after(ttl));
        }
    }

    /// Fresh leases and those that were kept, in the order of the names; the kept ones are handed out
    /// once more.
    async fn in_order(
        &self,
        asked: &RequestContext<'_>,
        kept: Vec<Option<Kept>>,
        fresh: Vec<Arc<Lease>>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        let each = asked.plan.protocols.each().len();
        let mut fresh = fresh.into_iter();
        let mut leases = Vec::new();
        for kept in kept {
            let Some(Kept {
                leases: known,
                moved,
            }) = kept
            else {
                leases.extend(fresh.by_ref().take(each));
                continue;
            };
            for lease in known {
                leases.push(self.hand(asked, &lease, moved.as_ref()).await?);
            }
        }
        Ok(leases)
    }

    /// Commits, opens gates and enters the books, on a task of its own: whoever asked may hang up
    /// meanwhile. If so, what has neither name nor key is given back at once: nobody knows of it.
    async fn commit_fresh(
        &self,
        asked: &RequestContext<'_>,
        batch: Batch,
        fresh: Vec<Fresh>,
        replaced: Vec<Arc<Lease>>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let service = self.clone();
        // Kept until the books know the names, whether or not the asker waits for that.
        let turn = Arc::clone(&asked.turn);
        let asked_again = asked.request.repeated_by().is_some();
        let committing = span::commit();
        let task = async move {
            let result = service.commit_and_enter(batch, fresh, replaced).await;
            drop(turn);
            if let Err(Ok(unheard)) = answer.send(result)
                && !asked_again
            {
                service.give_back(unheard).await;
            }
        };
        tokio::spawn(tracing::Instrument::instrument(task, committing));
        answered
            .await
            .unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)))
    }

    async fn commit_and_enter(
        &self,
        batch: Batch,
        fresh: Vec<Fresh>,
        replaced: Vec<Arc<Lease>>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        let replacing = match self.begin_replacing(replaced).await {
            Ok(replacing) => replacing,
            Err(refusal) => {
                self.forget(fresh);
                return Err(refusal);
            }
        };
        let leases = fresh.iter().map(|fresh| &fresh.lease);
        let leases = leases.chain(replacing.ended());
        let batch = leases.fold(batch, Batch::lease);
        match self.store.commit(batch).await {
            Ok(done) => {
                let span = tracing::Span::current();
                span::committed(&span, done.batch_size, done.queue_wait);
                let granted = self.enter(fresh);
                replacing.finish(self).await;
                Ok(granted)
            }
            Err(error) => {
                span::failed(&tracing::Span::current(), "store_unavailable");
                replacing.undo(self);
                self.forget(fresh);
                Err(Refusal::from(error))
            }
        }
    }

    fn enter(&self, fresh: Vec<Fresh>) -> Vec<Arc<Lease>> {
        let mut granted = Vec::with_capacity(fresh.len());
        for Fresh { lease, hold, .. } in fresh {
            let lease = Arc::new(lease);
            self.let_in(&lease, hold);
            if lock(&self.books).enter(Arc::clone(&lease)) {
                self.deadlines_moved.notify_one();
            }
            self.watch(&lease);
            if lease.scope.folder().is_some() {
                self.folder_news.notify_one();
            }
            self.journal.granted(&lease);
            granted.push(lease);
        }
        granted
    }

    /// Lets the owner in, now that the lease is on record: the gate opens, or the hold closes. Where
    /// sockets are given away the hold stays shut.
    fn let_in(&self, lease: &Lease, hold: Hold) {
        match lease.handover {
            // Nobody comes yet.
            _ if lease.state == State::Reserved => {}
            Handover::Release => return drop(hold),
            Handover::Gate => {
                if let Err(error) = hold.open_gate() {
                    tracing::error!(%error, port = %lease.port, "a gate could not be opened");
                }
            }
            Handover::Fd => {}
        }
        lock(&self.holds).insert(lease.id, Arc::new(hold));
    }

    fn forget(&self, fresh: Vec<Fresh>) {
        for Fresh {
            lease,
            hold,
            ticket,
        } in fresh
        {
            drop(hold);
            lock(&self.books).cancel_everywhere(ticket, lease.port);
        }
    }

    /// Ends what nobody knows of: what has no name, by which it could be asked for again.
    async fn give_back(&self, leases: Vec<Arc<Lease>>) {
        for lease in leases.iter().filter(|lease| lease.name.is_none()) {
            let why = "the answer could not be delivered";
            let ended = self.end(lease.id, State::Released, why, |_| true).await;
            if let Err(error) = ended {
                tracing::warn!(%error, lease = %lease.id, "an unheard lease waits to be claimed");
            }
        }
    }

    pub(super) fn new_lease(
        &self,
        asked: &RequestContext<'_>,
        name: Option<&Name>,
        port: Port,
        protocol: Protocol,
    ) -> Lease {
        let now = self.clock.boot();
        let handover = asked.plan.handover.for_protocol(protocol);
        Lease {
            id: LeaseId(self.new_id()),
            allocation: asked.id,
            name: name.cloned(),
            scope: asked.request.scope.clone(),
            pool: Arc::clone(&asked.plan.pool.name),
            protocol,
            port,
            addresses: asked.plan.group.clone(),
            uid: asked.caller.uid,
            claim_by: (asked.owner.is_none() && !asked.request.reserve)
                .then(|| now.after(asked.plan.claim_within)),
            owner: asked.owner.clone(),
            handover,
            guard: self.first_guard(asked, handover),
            state: if asked.request.reserve {
                State::Reserved
            } else {
                State::Handed
            },
            granted_at: self.clock.now(),
            ended_at: None,
            expires: asked.plan.ttl.map(|ttl| now.after(ttl)),
            ttl: asked.plan.ttl,
            labels: asked.request.labels.clone(),
            moved: None,
            forgotten: false,
            trace_id: asked.trace_id().map(str::to_owned),
            span_id: asked.span_id().map(str::to_owned),
            revision: 0,
            idle_since: asked.request.reserve.then(|| self.clock.now()),
            by_hand: asked.request.reserve,
            scope_device: None,
        }
    }

    /// A command that exits can hold nothing afterwards, unless its program inherits the hold.
    fn first_guard(&self, asked: &RequestContext<'_>, handover: Handover) -> Guard {
        let outlives = self.mode == Mode::Serving || asked.owner.is_some();
        match handover {
            _ if asked.request.reserve && self.mode == Mode::Serving => Guard::Hold,
            Handover::Gate | Handover::Fd if outlives => Guard::Hold,
            _ => Guard::None,
        }
    }
}
