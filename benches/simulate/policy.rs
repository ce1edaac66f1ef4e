//! The policies under comparison. The learned ones are the service's own: the same history, costs
//! and order.

use portbook::choice::bits::PortBits;
use portbook::choice::history::{HALF_LIFE, History};
use portbook::choice::policy::Penalties;
use portbook::choice::strategy::{Order, TOO_DEAR};
use portbook::choice::weigh::Weigher;
use portbook::domain::address::{AddressGroup, BindAddress, Family};
use portbook::domain::pool::Strategy;
use portbook::domain::port::{Port, PortSet, Protocol};
use portbook::domain::prior::{Prior, Report};
use portbook::domain::sighting::Sighting;

use crate::host::Host;
use crate::world::Time;

/// Way to choose a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The lowest that is not leased.
    Sequential,
    /// Upwards from the last one granted.
    NextFit,
    /// Any.
    Random,
    /// Learned from attempts alone.
    Blind,
    /// Learned from attempts and snapshots.
    Learned,
    /// The learned cost, with names that return to their last port.
    Sticky,
    /// Knows who is there and who will come.
    Oracle,
}

impl Policy {
    pub const ALL: [Self; 7] = [
        Self::Sequential,
        Self::NextFit,
        Self::Random,
        Self::Blind,
        Self::Learned,
        Self::Sticky,
        Self::Oracle,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::NextFit => "next-fit",
            Self::Random => "random",
            Self::Blind => "no snapshots",
            Self::Learned => "learned",
            Self::Sticky => "with names",
            Self::Oracle => "oracle",
        }
    }

    pub const fn takes_snapshots(self) -> bool {
        matches!(self, Self::Learned | Self::Sticky)
    }

    pub const fn is_learned(self) -> bool {
        matches!(self, Self::Blind | Self::Learned | Self::Sticky)
    }
}

/// A policy at work.
pub struct Chooser {
    policy: Policy,
    rng: fastrand::Rng,
    history: History,
    group: AddressGroup,
    last: Option<Port>,
}

fn ms(time: Time) -> i64 {
    i64::from(time) * 1000
}

impl Chooser {
    pub fn new(policy: Policy, seed: u64) -> Self {
        let group = AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]);
        let mut history = History::new(HALF_LIFE);
        history.open(&group, Protocol::Tcp, 0);
        Self {
            policy,
            rng: fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9)),
            history,
            group,
            last: None,
        }
    }

    /// What it tells other hosts of a fleet.
    pub fn report(&self, now: Time) -> Report {
        Report {
            groups: self.history.report(ms(now)),
            commands: Vec::new(),
        }
    }

    /// Takes what other hosts of a fleet have told.
    pub fn set_prior(&mut self, prior: &Prior) {
        self.history.set_prior(prior);
    }

    /// The order of one request's candidates.
    pub fn order(&self) -> Order {
        let strategy = match self.policy {
            Policy::Sequential | Policy::NextFit => Strategy::Ordered,
            Policy::Random | Policy::Oracle => Strategy::Random,
            Policy::Blind | Policy::Learned | Policy::Sticky => Strategy::Learned,
        };
        let after = self.last.and_then(|last| last.get().checked_add(1));
        let after = after.filter(|_| self.policy == Policy::NextFit);
        Order::new(strategy, after.and_then(Port::new))
    }

    pub fn next(&mut self, order: &mut Order, eligible: &PortBits, now: Time) -> Option<Port> {
        let mut rng = self.rng.fork();
        let next = self.weighing(now, |weigher| order.next(eligible, weigher, &mut rng));
        next.map(|next| next.port)
    }

    /// Whether a name would rather have another port than the one it had.
    pub fn is_too_dear(&self, port: Port, now: Time) -> bool {
        self.weighing(now, |weigher| weigher.weigh_returning(port).cost) > TOO_DEAR
    }

    fn weighing<T>(&self, now: Time, act: impl FnOnce(&Weigher<'_>) -> T) -> T {
        let penalties = Penalties {
            ephemeral: &PortSet::EMPTY,
            rests_ms: 60_000,
        };
        let protocols = [Protocol::Tcp];
        let history = &self.history;
        act(&Weigher::new(
            history,
            &self.group,
            &protocols,
            penalties,
            ms(now),
        ))
    }

    pub fn refused(&mut self, port: Port, now: Time) {
        if self.policy.is_learned() {
            let address = BindAddress::wildcard(Family::Ipv4);
            self.history
                .refused(&address, Protocol::Tcp, port, None, ms(now));
        }
    }

    pub fn granted(&mut self, port: Port, now: Time) {
        self.last = Some(port);
        if self.policy.is_learned() {
            let group = self.group.clone();
            self.history.bound(&group, Protocol::Tcp, port, ms(now));
        }
    }

    pub fn released(&mut self, port: Port, now: Time) {
        if self.policy.is_learned() {
            let group = self.group.clone();
            self.history.released(&group, Protocol::Tcp, port, ms(now));
        }
    }

    pub fn late(&mut self, port: Port, now: Time) {
        if self.policy.is_learned() {
            let group = self.group.clone();
            self.history.late(&group, Protocol::Tcp, port, ms(now));
        }
    }

    pub fn snapshot(&mut self, host: &Host<'_>, now: Time) {
        let sighting = |port| Sighting {
            protocol: Protocol::Tcp,
            port,
            local: Family::Ipv4.wildcard(),
            scope: 0,
            dual: false,
        };
        let seen: Vec<Sighting> = host.present.iter().map(sighting).collect();
        self.history.snapshot(&seen, ms(now));
    }
}
