//! The session loop: it renews the session, publishes names, and serves the desk.
//!
//! It wakes for a reason: a renewal is due, a lease changed, a question came, an answer came. Only while
//! the engine is away does it try again by the clock, since no event tells of its return: first after a
//! second, then after twice as long, up to the interval of renewals.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::claim::LATE;
use super::claiming::{Change, Claims};
use super::connect::{ConnectError, connect};
use super::engine::{Engine, EngineError};
use super::fencing::Fencing;
use super::keeping::Wait;
use super::key::Keys;
use super::names::Published;
use super::questions::Questions;
use super::refused::Refusing;
use super::session::{Identity, Session};
use super::tending::LOOK;
use super::{addresses, host_name};
use crate::config::Fleet;
use crate::domain::claim::Number;
use crate::domain::event::{Event, EventKind};
use crate::domain::fleet::{Commits, FleetState};
use crate::domain::lease::BootTime;
use crate::engine::fleet::{FleetCounters, FleetRequest, FleetSilence};
use crate::engine::service::Service;
use crate::store::{FleetRecord, StoreError};

/// Time for which changes of leases are gathered into one commit.
pub(super) const GATHER: Duration = Duration::from_secs(1);

/// A reason for this host not to take part until the next start.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the machine's name is no name of a host: set fleet.host")]
    NoName,
}

/// This host in its fleet.
pub(super) struct Member<E: Engine> {
    pub(super) service: Service,
    pub(super) settings: Fleet,
    pub(super) engine: E,
    pub(super) keys: Keys,
    pub(super) identity: Identity,
    pub(super) session: Session<E>,
    pub(super) published: Published,
    pub(super) commits: Commits,
    /// Number of keys that were to be changed when that was last looked at.
    pub(super) pending: usize,
    pub(super) state: FleetState,
    /// Reason for the state. Empty while all is well.
    pub(super) why: String,
    pub(super) since: BootTime,
    /// Whether the engine has the session, as far as it is known.
    pub(super) is_in: bool,
    pub(super) has_left: bool,
    pub(super) renewed: Option<BootTime>,
    /// Time of the next look at the rights of this host without a refusal.
    pub(super) rights_at: BootTime,
    pub(super) failures: u32,
    pub(super) renew_at: BootTime,
    /// Time of the next commit of names. `None` if nothing has changed.
    pub(super) publish_at: Option<BootTime>,
    /// Wait after an outage.
    pub(super) wait: Wait,
    pub(super) claims: Claims<E>,
    /// Whether a number is shut soon, and that was told.
    pub(super) is_fence_near: bool,
    /// Numbers that the kernel shuts, as they were told last.
    pub(super) shut: Vec<Number>,
    pub(super) rng: fastrand::Rng,
}

/// Runs the loop until the desk is dropped.
pub(super) async fn run(
    service: &Service,
    settings: &Fleet,
    counters: FleetCounters,
    fencing: Fencing,
) -> Result<(), MemberError> {
    let engine = Refusing::new(
        connect(settings).await?,
        Keys::new(&settings.prefix),
        host_name(settings.host.as_ref()).ok_or(MemberError::NoName)?,
        Arc::clone(service.fleet().troubles()),
    );
    run_with(service, settings, engine, fencing, counters).await
}

/// Runs the loop on an engine, with what the kernel guards.
pub(super) async fn run_with<E: Engine>(
    service: &Service,
    settings: &Fleet,
    engine: E,
    fencing: Fencing,
    counters: FleetCounters,
) -> Result<(), MemberError> {
    let FleetCounters {
        own,
        requests,
        claims,
    } = counters;
    let mut member = Member::new(service, settings, engine, fencing).await?;
    member.count_pending();
    member.tell();
    let claiming = Box::pin(member.claims.counter().serve(claims));
    let sweeping = Box::pin(member.claims.sweeping());
    let everywhere = Box::pin(member.claims.everywhere());
    let sharing = Box::pin(member.claims.sharing(settings.prior));
    tokio::select! {
        () = Box::pin(member.serve(own, requests)) => {}
        // They end with the desk as well.
        () = claiming => {}
        () = sweeping => {}
        () = everywhere => {}
        () = sharing => {}
    }
    Ok(())
}

/// A third of a session, and a tenth more or less, so that hosts do not beat in step.
pub(super) fn interval(session: Duration, rng: &mut fastrand::Rng) -> Duration {
    session.mul_f64((0.9 + 0.2 * rng.f64()) / 3.0)
}

/// This host as the settings and its interfaces have it.
fn identity(
    service: &Service,
    settings: &Fleet,
    fencing: &Fencing,
) -> Result<Identity, MemberError> {
    let own = settings.address.map(|address| vec![address]);
    Ok(Identity {
        host: host_name(settings.host.as_ref()).ok_or(MemberError::NoName)?,
        boot: service.store().boot_id().to_owned(),
        addresses: own.unwrap_or_else(|| addresses(service.interfaces())),
        is_fenced: fencing.permits().is_some(),
    })
}

impl<E: Engine> Member<E> {
    async fn new(
        service: &Service,
        settings: &Fleet,
        engine: E,
        fencing: Fencing,
    ) -> Result<Self, MemberError> {
        let store = service.store();
        let keys = Keys::new(&settings.prefix);
        let identity = identity(service, settings, &fencing)?;
        let record = store.fleet_session().await?;
        let record = record.unwrap_or_else(|| FleetRecord {
            instance: service.fleet_id(),
            session: None,
            engine_session: None,
            boot: identity.boot.clone(),
            revision: 0,
        });
        let now = service.clock().boot();
        let mut claims = Claims::new(service, settings, &engine, &keys, &identity.host, fencing);
        // A request that was killed may have left a claim. Hosts that start together do not look together.
        let wait = LATE + LOOK.mul_f64(fastrand::f64());
        claims.strays_at = claims.may_have_any().then(|| now.after(wait));
        Ok(Self {
            published: Published::on_record(store.fleet_names().await?),
            session: Session::on_record(
                engine.clone(),
                keys.clone(),
                identity.clone(),
                settings.session,
                record,
            ),
            service: service.clone(),
            settings: settings.clone(),
            engine,
            keys,
            identity,
            commits: Commits::default(),
            pending: 0,
            state: FleetState::Joining,
            why: String::new(),
            since: now,
            is_in: false,
            has_left: false,
            renewed: None,
            rights_at: now,
            failures: 0,
            renew_at: now,
            publish_at: None,
            wait: Wait::default(),
            claims,
            is_fence_near: false,
            shut: Vec::new(),
            rng: fastrand::Rng::new(),
        })
    }

    async fn serve(
        &mut self,
        own: mpsc::Sender<FleetRequest>,
        mut requests: mpsc::Receiver<FleetRequest>,
    ) {
        let mut events = self.service.journal().since(u64::MAX).live;
        let mut questions = Questions::new(
            self.engine.clone(),
            self.keys.clone(),
            self.identity.host.clone(),
            self.service.clock().clone(),
            own,
        );
        loop {
            let wait = self.next_due().since(self.now());
            tokio::select! {
                () = tokio::time::sleep(wait) => self.act().await,
                // With each grant come some of them: what they bring is told when it is done.
                event = events.recv() => if !self.hear(event) {
                    continue;
                },
                request = requests.recv() => match request {
                    Some(FleetRequest::Leave { reply }) => {
                        // That the asker has gone changes nothing.
                        let _ = reply.send(self.leave().await);
                    }
                    Some(FleetRequest::Evict { host, reply }) => {
                        let _ = reply.send(self.evict(&host).await);
                    }
                    Some(FleetRequest::EvictUnreadable { ports, reply }) => {
                        let _ = reply.send(self.evict_unreadable(ports.as_ref()).await);
                    }
                    Some(request @ (FleetRequest::Reserve { .. } | FleetRequest::Release { .. })) => {
                        self.operate(request);
                    }
                    Some(request) => {
                        let silence = self.silence();
                        if silence.is_some() {
                            questions.set_own_names(self.own_names());
                        }
                        questions.take(request, silence);
                    }
                    None => return,
                },
                change = self.claims.changed() => {
                    self.claims.note(change);
                    if change == Change::Failed {
                        self.renew_at = self.now();
                    }
                    continue;
                }
                done = questions.read() => {
                    if done.1.is_err() {
                        questions.set_own_names(self.own_names());
                    }
                    if questions.answer(done, &self.why) {
                        self.renew_at = self.now();
                    }
                }
            }
            self.tell();
        }
    }

    pub(super) fn now(&self) -> BootTime {
        self.service.clock().boot()
    }

    fn next_due(&self) -> BootTime {
        if self.has_left {
            return BootTime(Duration::MAX);
        }
        let others = [self.publish_at, self.claims_due(), self.fence_due()];
        let next = others.into_iter().flatten().min();
        next.map_or(self.renew_at, |at| at.min(self.renew_at))
    }

    /// Whether the engine has the session and answers, as far as it is known.
    pub(super) fn may_commit(&self) -> bool {
        self.is_in && self.state != FleetState::Alone
    }

    /// Reason for which questions are answered from memory. `None` while the engine is worth asking.
    pub(super) fn silence(&self) -> Option<FleetSilence> {
        match self.state {
            FleetState::Off => Some(FleetSilence::Off),
            FleetState::Alone => Some(FleetSilence::Away(self.why.clone())),
            _ => None,
        }
    }

    async fn act(&mut self) {
        self.shut_late().await;
        let now = self.now();
        if self.renew_at <= now {
            self.keep_session().await;
        } else if self.claims_due().is_some_and(|at| at <= now) {
            self.tend().await;
        } else if self.publish_at.is_some_and(|at| at <= now) {
            self.publish().await;
        }
    }

    /// Time until the next renewal.
    pub(super) fn interval(&mut self) -> Duration {
        interval(self.settings.session, &mut self.rng)
    }

    /// Gathers changes of leases, and of this host's addresses. Returns whether its state has changed.
    fn hear(&mut self, event: Result<Event, RecvError>) -> bool {
        match event {
            Ok(event) if event.kind == EventKind::Interfaces => return self.look_at_addresses(),
            Ok(event) if event.lease.is_none() => {}
            // Missed events are changes too.
            Ok(_) | Err(RecvError::Lagged(_)) => {
                self.claims
                    .hear(event.as_ref().ok().and_then(|event| event.lease));
                let soon = self.now().after(GATHER);
                self.publish_at.get_or_insert(soon);
            }
            // The journal lives as long as the service.
            Err(RecvError::Closed) => {}
        }
        false
    }

    fn look_at_addresses(&mut self) -> bool {
        let now = addresses(self.service.interfaces());
        let has_changed = self.settings.address.is_none() && self.identity.addresses != now;
        if has_changed {
            self.identity.addresses.clone_from(&now);
            self.session.set_addresses(now);
            // The session's key is written again, and the names after it.
            self.is_in = false;
            self.renew_at = self.now();
        }
        has_changed
    }

    async fn leave(&mut self) -> Result<(), FleetSilence> {
        let away = |error: EngineError| FleetSilence::Away(error.to_string());
        self.check_may_leave()?;
        self.withdraw().await.map_err(away)?;
        self.session.leave().await.map_err(away)?;
        if let Err(error) = self.forget_stands().await {
            tracing::warn!(%error, "could not delete what this host said of numbers that are reserved on every host; others list it as away");
        }
        if let Err(error) = self.forget_told_prior().await {
            tracing::warn!(%error, "could not delete what this host told others of its ports; they may read it on");
        }
        self.put_on_record().await.map_err(away)?;
        self.leave_fence().await;
        self.is_in = false;
        self.has_left = true;
        self.be(FleetState::Off, "this host has left the fleet; it joins again at the next start if fleet.engine is still set");
        Ok(())
    }
}
