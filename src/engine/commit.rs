//! What was found becomes leases: on record first, then in the books, with their gates open.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::allocator::Found;
use super::books::Ticket;
use super::grant::{Allocated, Asked, conflicts};
use super::refusal::{Refusal, in_the_way};
use super::service::{Mode, Service, lock};
use crate::domain::attempt::Attempt;
use crate::domain::event::EventKind;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, Name, State};
use crate::domain::port::{Port, Protocol};
use crate::host::hold::Hold;
use crate::telemetry::span;

/// What is about to become a lease.
struct Fresh {
    lease: Lease,
    hold: Hold,
    /// What keeps its port in the books until then.
    ticket: Ticket,
}

/// One line for all that was in the way of a grant: there may be thousands. At debug each has its own.
fn tell(asked: &Asked<'_>, conflicts: &[Attempt]) {
    if !conflicts.is_empty() {
        let (allocation, count) = (asked.id, conflicts.len());
        tracing::info!(%allocation, conflicts = count, "in the way: {}", in_the_way(conflicts));
    }
}

impl Service {
    pub(super) async fn grant(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        found: Vec<Found>,
        attempts: Vec<Attempt>,
        explanation: Explanation,
    ) -> Result<Allocated, Refusal> {
        let mut fresh = Vec::with_capacity(found.len());
        let mut names = asked.request.names.iter().zip(&living);
        for found in found {
            let name = names.by_ref().find(|(_, lives)| lives.is_none());
            for hold in found.holds {
                let name = name.map(|(name, _)| name);
                let lease = self.new_lease(asked, name, found.port, hold.protocol());
                fresh.push(Fresh {
                    lease,
                    hold,
                    ticket: found.ticket,
                });
            }
        }
        let record = self.record(asked, explanation);
        let mut batch = self
            .store
            .batch()
            .allocation(&record)
            .attempts(&record, &attempts);
        for Fresh { lease, .. } in &fresh {
            batch = batch.lease(lease);
        }
        let granted = self.commit_fresh(asked, batch, fresh).await?;
        let leases = self.in_order(asked, living, granted).await?;
        let conflicts = conflicts(asked, &attempts);
        tell(asked, &conflicts);
        Ok(Allocated {
            id: asked.id,
            created: true,
            dry: false,
            attempt_count: record.explanation.tried.len(),
            leases,
            explanation: record.explanation,
            conflicts,
            trace: asked.trace.clone(),
        })
    }

    /// Commits, opens gates and enters the books, on a task of its own: whoever asked may hang up
    /// meanwhile. If so, what has neither name nor key is given back at once: nobody knows of it.
    async fn commit_fresh(
        &self,
        asked: &Asked<'_>,
        batch: crate::store::Batch,
        fresh: Vec<Fresh>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let service = self.clone();
        // Kept until the books know the names, whether or not the asker waits for that.
        let turn = Arc::clone(&asked.turn);
        let asked_again = asked.request.repeated_by().is_some();
        let committing = span::commit();
        let task = async move {
            let committed = service.store.commit(batch).await;
            match &committed {
                Ok(done) => {
                    let span = tracing::Span::current();
                    span::committed(&span, done.batch_size, done.queue_wait);
                }
                Err(_) => span::commit_failed(&tracing::Span::current(), "store_unavailable"),
            }
            let result = match committed {
                Ok(_) => Ok(service.enter(fresh)),
                Err(error) => {
                    service.forget(fresh);
                    Err(Refusal::from(error))
                }
            };
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

    fn enter(&self, fresh: Vec<Fresh>) -> Vec<Arc<Lease>> {
        let mut granted = Vec::with_capacity(fresh.len());
        for Fresh { lease, hold, .. } in fresh {
            let lease = Arc::new(lease);
            self.let_in(&lease, hold);
            if lock(&self.books).enter(Arc::clone(&lease)) {
                self.deadlines_moved.notify_one();
            }
            self.watch(&lease);
            let folder = lease.scope.folder();
            if folder.is_some() {
                self.folder_news.notify_one();
            }
            tracing::info!(
                lease = %lease.id,
                allocation = %lease.allocation,
                name = lease.name.as_ref().map(tracing::field::display),
                folder = folder.map(tracing::field::debug),
                port = %lease.port,
                pool = %lease.pool,
                uid = lease.uid,
                "granted"
            );
            self.journal
                .lease(EventKind::Granted, &lease, lease.pool.to_string());
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
        asked: &Asked<'_>,
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
            trace_id: asked.trace_id().map(str::to_owned),
            span_id: asked.span_id().map(str::to_owned),
            revision: 0,
            idle_since: asked.request.reserve.then(|| self.clock.now()),
            by_hand: asked.request.reserve,
            scope_device: None,
        }
    }

    /// A command that exits can hold nothing afterwards, unless its program inherits the hold.
    fn first_guard(&self, asked: &Asked<'_>, handover: Handover) -> Guard {
        let outlives = self.mode == Mode::Serving || asked.owner.is_some();
        match handover {
            _ if asked.request.reserve && self.mode == Mode::Serving => Guard::Hold,
            Handover::Gate | Handover::Fd if outlives => Guard::Hold,
            _ => Guard::None,
        }
    }
}
