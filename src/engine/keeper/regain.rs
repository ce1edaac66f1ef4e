//! Taking holds again once whoever is in the way has closed its socket.
//!
//! After a crash of the service an owner's listener is the guard of its lease, and while it
//! listens nobody can hold the port beside it. The kernel tells when sockets close; portbook
//! listens to that only while a lease waits for it, because it is told of every connection.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::EventKind;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::domain::port::{Port, Protocol};
use crate::engine::service::{Service, lock};
use crate::host::closing::{Closed, ClosingSockets};
use crate::host::process;
use crate::host::readiness::Readiness;

/// How often leases without a hold are looked at even if nothing is heard: an address may have
/// come back, or a connection of a stranger's have ended.
const ROUND: Duration = Duration::from_secs(10);

impl Service {
    /// Takes holds again wherever that becomes possible, for as long as it is polled.
    pub async fn regain_holds(&self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if !self.without_hold().is_empty() {
                self.listen_for_closings().await;
            }
        }
    }

    /// Listens to the kernel until every lease has its hold.
    async fn listen_for_closings(&self) {
        let news = ClosingSockets::open().and_then(|news| {
            let readiness = Readiness::of(news.descriptor()?)?;
            Ok((news, readiness))
        });
        let (news, readiness) = match news {
            Ok(news) => news,
            Err(error) => {
                tracing::debug!(%error, "no news of closing sockets: looking from time to time");
                self.regain(&Closed::Many).await;
                return;
            }
        };
        // What closed before the socket was there is seen by looking once.
        self.regain(&Closed::Many).await;
        while !self.without_hold().is_empty() {
            let heard = tokio::time::timeout(ROUND, readiness.readable()).await;
            let closed = match heard {
                Ok(_) => news.drain(),
                Err(_) => Closed::Many,
            };
            self.regain(&closed).await;
        }
    }

    /// Living leases that a hold should guard, and none does.
    fn without_hold(&self) -> Vec<Arc<Lease>> {
        let me = std::process::id();
        let books = lock(&self.books);
        let holds = lock(&self.holds);
        books
            .leases()
            .filter(|lease| !lease.state.is_ended() && holds.get(lease.id).is_none())
            .filter(|lease| lease.protocol == Protocol::Tcp && wants_hold(lease))
            .filter(|lease| lease.owner.as_ref().is_none_or(|owner| owner.pid != me))
            .cloned()
            .collect()
    }

    async fn regain(&self, closed: &Closed) {
        for lease in self.without_hold() {
            if closed_on(closed, lease.port) {
                self.regain_one(lease.id).await;
            }
        }
    }

    async fn regain_one(&self, id: LeaseId) {
        let _turn = self.turn(id).await;
        let Some(lease) = self.living_lease(id).filter(|_| self.hold_of(id).is_none()) else {
            return;
        };
        let Some(hold) = self.hold_again(&lease) else {
            return;
        };
        let owner_lives = lease.owner.as_ref().is_some_and(process::is_running);
        let in_hand = owner_lives || lease.claim_by.is_some();
        self.set_right(&lease, &hold).await;
        let state = match lease.state {
            State::Lost if in_hand => State::Handed,
            State::Lost => State::Reserved,
            other => other,
        };
        let changed = self.change(lease.id, |lease| {
            lease.state = state;
            lease.guard = Guard::Hold;
        });
        match changed.await {
            Ok(guarded) => self
                .journal
                .lease(EventKind::Repaired, &guarded, "its hold is back"),
            Err(error) => tracing::warn!(%error, lease = %lease.id, "held again, not recorded"),
        }
    }
}

/// A released hold is not taken again while the owner may bind: it would be in its way.
fn wants_hold(lease: &Lease) -> bool {
    lease.handover != Handover::Release || matches!(lease.state, State::Reserved | State::Lost)
}

fn closed_on(closed: &Closed, port: Port) -> bool {
    match closed {
        Closed::Ports(ports) => ports.contains(&port),
        Closed::Many => true,
    }
}
