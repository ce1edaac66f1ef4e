//! The claims of this host beside its session loop: when they are to be tended, and in which session
//! numbers are claimed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::claim::Claimant;
use super::counter::{Counter, Standing};
use super::engine::{Engine, SessionId};
use super::everywhere::Everywhere;
use super::fencing::Fencing;
use super::ground::Ground;
use super::host_ground::HostGround;
use super::key::Keys;
use super::lessor::HostLessor;
use super::sharing::{Place, Sharing};
use super::sweep::Sweeper;
use super::sweeping::Sweeping;
use crate::config::Fleet;
use crate::domain::fleet::HostName;
use crate::domain::lease::{BootTime, LeaseId};
use crate::domain::prior::PriorSharing;
use crate::engine::service::Service;

/// Time for which ended leases are gathered into one commit.
const GATHER: Duration = Duration::from_millis(20);

/// Time after which it is looked whether a claim that was let go of has a lease.
const SOON: Duration = Duration::from_secs(1);

/// A reason to look at the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A request has one in hand no more.
    LetGo,
    /// Another host has a number.
    Refused,
    /// The engine gave no answer.
    Failed,
    /// A claim under the name of this host, of which it knows nothing, is in its way.
    Stray,
}

/// The open session of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) session: String,
    /// The engine's own number of it.
    pub(super) id: SessionId,
}

/// The claims of this host, as the session loop has them.
pub(super) struct Claims<E> {
    pub(super) claimant: Claimant<E, HostGround>,
    session_time: Duration,
    session: watch::Sender<Standing>,
    /// Told by a refused claim: this host looks at its own.
    refused: Arc<Notify>,
    /// Told by a claim without an answer: the session loop finds out whether the engine is away.
    failed: Arc<Notify>,
    /// Told by a claim that one under the name of this host is in the way of.
    strayed: Arc<Notify>,
    /// Time of the next look for claims that this host knows nothing of. `None` if none is known of.
    pub(super) strays_at: Option<BootTime>,
    /// Time of the next tending. `None` if all is settled.
    pub(super) tend_at: Option<BootTime>,
    /// Time of the next look at what the engine has.
    pub(super) look_at: BootTime,
    /// Whether the engine has lost changes, and this host's claims are to be made again.
    pub(super) is_restored: bool,
}

impl<E: Engine> Claims<E> {
    pub(super) fn new(
        service: &Service,
        settings: &Fleet,
        engine: &E,
        keys: &Keys,
        host: &HostName,
        fencing: Fencing,
    ) -> Self {
        Self {
            claimant: Claimant {
                engine: engine.clone(),
                keys: keys.clone(),
                host: host.clone(),
                ground: HostGround {
                    service: service.clone(),
                    publish: settings.publish,
                    fencing,
                },
            },
            session_time: settings.session,
            session: watch::channel(Standing::Joining).0,
            refused: Arc::default(),
            failed: Arc::default(),
            strayed: Arc::default(),
            strays_at: None,
            tend_at: None,
            look_at: service.clock().boot(),
            is_restored: false,
        }
    }

    /// Returns the counter, which answers requests for as long as it is polled.
    pub(super) fn counter(&self) -> Counter<E> {
        Counter {
            claimant: self.claimant.clone(),
            session: self.session.subscribe(),
            refused: Arc::clone(&self.refused),
            failed: Arc::clone(&self.failed),
            strayed: Arc::clone(&self.strayed),
        }
    }

    /// Sweeps what hosts that are gone had, as long as the future is polled.
    pub(super) fn sweeping(&self) -> impl Future<Output = ()> + use<E> {
        let clock = self.claimant.ground.service.clock().clone();
        let session = self.session_time;
        let troubles = Arc::clone(self.claimant.ground.service.fleet().troubles());
        let sweeping = Sweeping::new(self.sweeper(), clock, session).telling(troubles);
        sweeping.serve(self.session.subscribe())
    }

    /// Keeps the numbers that are reserved on every host, as long as the future is polled.
    pub(super) fn everywhere(&self) -> impl Future<Output = ()> + use<E> {
        let Claimant {
            engine, keys, host, ..
        } = &self.claimant;
        let service = self.claimant.ground.service.clone();
        let events = service.journal().since(u64::MAX).live;
        let lessor = HostLessor(service);
        let everywhere = Everywhere::new(engine.clone(), keys.clone(), host.clone(), lessor);
        everywhere.serve(self.session.subscribe(), events)
    }

    /// Tells others of busy ports, and reads what they tell, as long as the future is polled.
    pub(super) fn sharing(&self, what: PriorSharing) -> impl Future<Output = ()> + use<E> {
        let Claimant {
            engine, keys, host, ..
        } = &self.claimant;
        let service = self.claimant.ground.service.clone();
        let store = service.store().clone();
        let clock = service.clock().clone();
        let place = Place {
            engine: engine.clone(),
            keys: keys.clone(),
            host: host.clone(),
            learner: service,
            store,
            clock,
        };
        Sharing::new(place, what).serve(self.session.subscribe())
    }

    /// Returns the sweep of this host.
    pub(super) fn sweeper(&self) -> Sweeper<E> {
        let Claimant {
            engine, keys, host, ..
        } = &self.claimant;
        Sweeper {
            engine: engine.clone(),
            keys: keys.clone(),
            host: host.clone(),
        }
    }

    /// Sets where this host stands.
    pub(super) fn set_standing(&self, standing: Standing) {
        self.session.send_if_modified(|known| {
            let has_changed = *known != standing;
            *known = standing;
            has_changed
        });
    }

    /// Has the claims tended at this time, or before.
    pub(super) fn tend_at(&mut self, at: BootTime) {
        let due = self.tend_at.get_or_insert(at);
        *due = at.min(*due);
    }

    /// Whether this host has unique numbers, or may get some.
    pub(super) fn may_have_any(&self) -> bool {
        let service = &self.claimant.ground.service;
        let pools = &service.settings().pools;
        pools.values().any(|pool| pool.is_unique()) || !service.fleet().claims().is_empty()
    }

    /// Notes that the engine has lost changes.
    pub(super) fn note_restored(&mut self) {
        self.is_restored = true;
        self.strays_at = Some(self.claimant.ground.now());
    }

    /// Notes an event of a lease, or that events were missed: a claim may be to be withdrawn.
    pub(super) fn hear(&mut self, lease: Option<LeaseId>) {
        let ground = &self.claimant.ground;
        let claims = ground.service.fleet().claims();
        let concerns = lease.is_none_or(|id| claims.of_lease(id).is_some());
        if concerns && !claims.is_empty() {
            // Of a lease that lives, nothing is to be done as a rule.
            let lives = lease.is_some_and(|id| ground.lives(id));
            let wait = if lives { SOON } else { GATHER };
            self.tend_at(ground.now().after(wait));
        }
    }

    /// Waits for a reason to tend.
    pub(super) async fn changed(&self) -> Change {
        let book = self.claimant.ground.service.fleet().claims();
        tokio::select! {
            () = book.changed() => Change::LetGo,
            () = self.refused.notified() => Change::Refused,
            () = self.failed.notified() => Change::Failed,
            () = self.strayed.notified() => Change::Stray,
        }
    }

    /// Notes that a claim is in no hand any more, or was refused or failed.
    pub(super) fn note(&mut self, change: Change) {
        let now = self.claimant.ground.now();
        match change {
            // Mostly its lease lives, and nothing is to be done.
            Change::LetGo | Change::Failed => self.tend_at(now.after(SOON)),
            Change::Refused => {
                self.look_at = now;
                self.tend_at(now);
            }
            Change::Stray => {
                // The request that it is in the way of has a hold on the port for a moment.
                self.strays_at = Some(now.after(SOON));
            }
        }
    }
}
