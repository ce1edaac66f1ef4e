//! A host of the crowd: the session loop over a thin ground.
//!
//! The loop is shorter than that of [`crate::fleet::member`], which needs a service, and has its steps and times:
//! it joins, renews, publishes, claims and looks at its claims, and comes back after an outage.

mod holding;

pub use holding::{NUMBERS, number};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::ground::Books;
use super::tally::{Tally, mark};
use crate::domain::claim::Number;
use crate::domain::fleet::Publish;
use crate::domain::lease::tests_support::lease;
use crate::domain::lease::{BootTime, Lease, LeaseId};
use crate::fleet::claim::Claimant;
use crate::fleet::counter::Standing;
use crate::fleet::engine::{Outcome, Renewed};
use crate::fleet::epoch::Seat;
use crate::fleet::etcd::Etcd;
use crate::fleet::keeping::{Wait, pause_after};
use crate::fleet::member::{GATHER, interval};
use crate::fleet::names::{Published, wanted};
use crate::fleet::publishing::{BETWEEN, send};
use crate::fleet::session::{Identity, JoinError, Session};
use crate::host::clock::Clock;

/// Published names of a host.
pub const NAMES: u16 = 20;

/// Something that a host is to do.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Change the lease of this index, whose name then has another label.
    Change(u16),
    /// Claim this number, and give it back.
    Churn(Number),
}

/// A host.
pub struct Host {
    pub index: u16,
    pub session: Session<Etcd>,
    pub claimant: Claimant<Etcd, Books>,
    pub identity: Identity,
    pub ttl: Duration,
    pub tally: Arc<Tally>,
    pub standing: watch::Sender<Standing>,
    pub published: Published,
    /// Number of changes of each lease so far.
    pub versions: Vec<u32>,
    pub clock: Clock,
    pub rng: fastrand::Rng,
    pub state: State,
}

/// State of the loop.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct State {
    renew_at: BootTime,
    publish_at: Option<BootTime>,
    wait: Wait,
    look_at: BootTime,
    failures: u32,
    is_alone: bool,
    is_restored: bool,
    /// Return of the engine up to which this host is back.
    returned: usize,
    is_present: bool,
    is_settled: bool,
    is_claimed: bool,
}

impl Default for State {
    fn default() -> Self {
        let start = BootTime(Duration::ZERO);
        Self {
            renew_at: start,
            publish_at: None,
            wait: Wait::default(),
            look_at: start,
            failures: 0,
            is_alone: false,
            is_restored: false,
            returned: 0,
            is_present: false,
            is_settled: false,
            is_claimed: false,
        }
    }
}

impl Host {
    /// Lives until there are no orders any more.
    pub async fn live(mut self, mut orders: mpsc::Receiver<Order>) {
        self.keep().await;
        loop {
            let wait = self.next_due().since(self.clock.boot());
            tokio::select! {
                () = tokio::time::sleep(wait) => self.act().await,
                order = orders.recv() => match order {
                    Some(Order::Change(index)) => self.change(index),
                    Some(Order::Churn(number)) => self.churn(number).await,
                    None => return,
                },
            }
        }
    }

    fn next_due(&self) -> BootTime {
        let State {
            renew_at,
            publish_at,
            look_at,
            is_alone,
            ..
        } = self.state;
        let others = [publish_at, Some(look_at)].into_iter().flatten().min();
        match others {
            Some(at) if !is_alone => at.min(renew_at),
            _ => renew_at,
        }
    }

    async fn act(&mut self) {
        let now = self.clock.boot();
        if self.state.renew_at <= now {
            self.keep().await;
        } else if self.state.look_at <= now {
            self.look(now).await;
        } else if self.state.publish_at.is_some_and(|at| at <= now) {
            self.publish(now).await;
        }
    }

    /// Renews the session, or joins.
    async fn keep(&mut self) {
        let sent = self.clock.boot();
        let kept = if self.state.is_present {
            self.renew().await
        } else {
            self.join().await
        };
        if let Err(error) = kept {
            return self.fail(&error);
        }
        self.state.failures = 0;
        self.state.renew_at = sent.after(interval(self.ttl, &mut self.rng));
        if std::mem::take(&mut self.state.is_alone) {
            let now = self.clock.boot();
            let end = self.state.wait.end(now, self.ttl, &mut self.rng);
            self.state.publish_at = Some(end);
        }
        self.stand();
        let returns = self.tally.returns();
        if std::mem::replace(&mut self.state.returned, returns) != returns {
            self.tally.change(|counts| counts.back += 1);
        }
    }

    async fn renew(&mut self) -> Result<(), JoinError> {
        match self.session.renew().await? {
            Renewed::Alive { revision } => {
                if self.session.has_lost(revision).await? {
                    self.state.is_restored = true;
                    self.join().await?;
                }
                Ok(())
            }
            Renewed::Gone => {
                self.note_present(false);
                self.session.forget();
                self.join().await
            }
        }
    }

    async fn join(&mut self) -> Result<(), JoinError> {
        let now_ms = self.clock.now().as_millisecond();
        if self.session.has_gone_back().await? {
            self.state.is_restored = true;
        }
        let mut epoch = None;
        if !self.session.resume(now_ms).await? {
            let id = Uuid::from_u128(self.rng.u128(..)).to_string();
            self.session.open(id).await?;
            epoch = self.session.enter(now_ms).await?;
        }
        self.note_present(true);
        self.note_settled(false);
        self.published.doubt_all(epoch);
        let now = self.clock.boot();
        self.state.publish_at = Some(now);
        self.state.look_at = now;
        Ok(())
    }

    fn fail(&mut self, error: &JoinError) {
        assert!(!matches!(error, JoinError::Twin { .. }), "{error}");
        let longest = interval(self.ttl, &mut self.rng);
        let pause = pause_after(self.state.failures, longest);
        self.state.failures += 1;
        self.state.renew_at = self.clock.boot().after(pause);
        self.state.is_alone = true;
        self.tally.change(|counts| counts.failures += 1);
        self.stand();
    }

    /// Tells the tasks beside the loop where this host stands.
    fn stand(&self) {
        let standing = match self.session.open_session() {
            Some(open) if self.state.is_present && !self.state.is_alone => Standing::In(open),
            _ => Standing::Out,
        };
        self.standing.send_if_modified(|known| {
            let has_changed = *known != standing;
            *known = standing;
            has_changed
        });
    }

    fn change(&mut self, index: u16) {
        self.versions[usize::from(index)] += 1;
        self.note_settled(false);
        let soon = self.clock.boot().after(GATHER);
        self.state.publish_at.get_or_insert(soon);
    }

    /// Sends the next commit of names.
    async fn publish(&mut self, now: BootTime) {
        self.state.publish_at = None;
        let Some(session) = self.session.id() else {
            return;
        };
        let leases: Vec<Arc<Lease>> = (0..NAMES).map(|index| self.lease(index)).collect();
        let keys = self.claimant.keys.clone();
        let all = wanted(&leases, Publish::Named, &keys, &self.identity, session);
        let steps = self.published.next_steps(&all);
        if steps.is_empty() {
            return self.note_settled(true);
        }
        let Some(open) = self.session.open_session() else {
            return;
        };
        let seat = Seat::of(keys.session(&self.identity.host, session), &open);
        let engine = &self.claimant.engine;
        match send(engine, &seat, &mut self.published, &steps).await {
            Ok(Outcome::Done { .. }) => {
                let is_last = self.published.pending(&all) == 0;
                self.note_settled(is_last);
                self.state.publish_at = Some(now.after(BETWEEN));
            }
            Ok(Outcome::Refused { .. }) => {
                self.note_present(false);
                self.state.renew_at = now;
            }
            Err(_) => {
                self.tally.change(|counts| counts.failures += 1);
                self.state.renew_at = now;
                self.state.publish_at = Some(now.after(self.ttl / 3));
            }
        }
    }

    fn lease(&self, index: u16) -> Arc<Lease> {
        let mut lease = lease(20_000 + index);
        let host = u128::from(self.index);
        lease.id = LeaseId(Uuid::from_u128((host << 64) | u128::from(index) | 1 << 100));
        let name = format!("service-{index}-of-{}", self.identity.host);
        lease.name = Some(name.parse().unwrap());
        let version = self.versions[usize::from(index)].to_string();
        lease.labels.insert("version".to_owned(), version);
        Arc::new(lease)
    }

    fn note_present(&mut self, is_so: bool) {
        let known = &mut self.state.is_present;
        self.tally
            .change(|counts| mark(known, is_so, &mut counts.present));
    }

    fn note_settled(&mut self, is_so: bool) {
        let known = &mut self.state.is_settled;
        self.tally
            .change(|counts| mark(known, is_so, &mut counts.settled));
    }
}
