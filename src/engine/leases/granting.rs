//! Granting: the record, then the hold, then the books.

use std::sync::Arc;

use super::{Assist, Ended, Leases, Reservation};
use crate::domain::lease::{Handover, Lease, State};
use crate::engine::claims::ClaimTicket;
use crate::engine::refusal::Refusal;
use crate::host::hold::Hold;
use crate::store::Batch;
use crate::telemetry::span;

/// A port that is about to become a lease. Fields drop in this order: the socket closes before the
/// books free the port.
#[derive(Debug)]
pub(in crate::engine) struct Fresh {
    pub(in crate::engine) lease: Lease,
    pub(in crate::engine) hold: Hold,
    /// Guard that lets its owner in, if it is handed over by `bind`.
    pub(in crate::engine) assist: Option<Assist>,
    /// Keeps the port in the books until the lease does. Shared by the leases of both protocols.
    pub(in crate::engine) reservation: Arc<Reservation>,
    /// Claim on the number in the fleet. `None` if it need not be unique there.
    pub(in crate::engine) claim: Option<ClaimTicket>,
}

impl Leases {
    /// Grants fresh leases with everything else in the batch, in one commit. The leases that they
    /// replace end in the same commit. If it fails, nothing has changed.
    pub(in crate::engine) async fn grant(
        &self,
        batch: Batch,
        fresh: Vec<Fresh>,
        replaced: Vec<Arc<Lease>>,
    ) -> Result<(Vec<Arc<Lease>>, Vec<Ended>), Refusal> {
        let set_aside = self.set_aside(replaced).await?;
        let leases = fresh.iter().map(|fresh| &fresh.lease);
        let leases = leases.chain(set_aside.ended());
        let batch = leases.fold(batch, Batch::lease);
        let claims = fresh.iter().filter_map(|fresh| fresh.claim.as_ref());
        let claims = claims.map(ClaimTicket::claim);
        let batch = claims.fold(batch, Batch::claim);
        match self.store.commit(batch).await {
            Ok(done) => {
                let span = tracing::Span::current();
                span::committed(&span, done.batch_size, done.queue_wait);
                let granted = fresh.into_iter().map(|fresh| self.enter(fresh)).collect();
                Ok((granted, set_aside.finish(self).await))
            }
            Err(error) => {
                span::failed(&tracing::Span::current(), "store_unavailable");
                set_aside.undo(self);
                Err(error.into())
            }
        }
    }

    fn enter(&self, fresh: Fresh) -> Arc<Lease> {
        let Fresh {
            lease,
            hold,
            assist,
            reservation,
            claim,
        } = fresh;
        let lease = Arc::new(lease);
        if let Some(assist) = assist {
            assist.keep();
        }
        self.let_in(&lease, hold);
        let is_next = self
            .state
            .with(|state| state.books.enter(Arc::clone(&lease)));
        drop(reservation);
        // From now on the lease alone says whether the claim stays.
        drop(claim);
        if is_next {
            self.deadlines_moved.notify_one();
        }
        if lease.scope.folder().is_some() {
            self.folder_granted.notify_one();
        }
        lease
    }

    /// Lets the owner in, now that the lease is on record: the gate opens, or the hold closes. If the
    /// owner is given sockets, the hold stays shut.
    fn let_in(&self, lease: &Lease, hold: Hold) {
        match lease.handover {
            // No owner comes yet.
            _ if lease.state == State::Reserved => {}
            Handover::Release => return drop(hold),
            // The guard of `bind` is in force already.
            Handover::Gate | Handover::Bind => {
                if let Err(error) = hold.open_gate() {
                    let (lease, port) = (lease.id, lease.port);
                    tracing::error!(%error, %lease, %port, "could not open the gate of a new lease");
                }
            }
            Handover::Fd => {}
        }
        self.put_hold(lease.id, Arc::new(hold));
    }
}
