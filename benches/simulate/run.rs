//! One world under one policy: services come, ask for a port, use it for a while, and go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use portbook::choice::bits::PortBits;
use portbook::domain::port::Port;

use crate::host::Host;
use crate::policy::{Chooser, Policy};
use crate::world::{DAY, HOUR, Kind, Time, World, exponential};

/// A port that was refused is left alone for so long.
const COOL_DOWN: Time = 10;

/// Interval of snapshots, give or take a tenth.
const SNAPSHOT: Time = 60;

/// Servers that run for hours, and jobs that run for minutes: (how many, up, away).
const SERVICES: [(usize, Time, Time); 2] = [(30, 4 * HOUR, 2 * HOUR), (60, 10 * 60, 20 * 60)];

/// Result of a policy.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub requests: u32,
    pub refused: u32,
    pub late: u32,
    /// Requests for a name that had a port before, and the number of those that got it again.
    pub returning: u32,
    pub kept: u32,
    /// Requests and conflicts of each day.
    pub days: Vec<(u32, u32)>,
}

impl Tally {
    /// Conflicts an allocation.
    pub fn rate(&self) -> f64 {
        f64::from(self.refused + self.late) / f64::from(self.requests.max(1))
    }

    fn note(&mut self, time: Time, requests: u32, conflicts: u32) {
        let day = (time / DAY) as usize;
        if self.days.len() <= day {
            self.days.resize(day + 1, (0, 0));
        }
        self.days[day].0 += requests;
        self.days[day].1 += conflicts;
    }
}

/// Future events in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Day(Time),
    Snapshot,
    Comes(usize),
    Goes(usize),
}

struct Service {
    up: Time,
    away: Time,
    /// Its present or last port.
    port: Option<Port>,
}

struct Run<'a> {
    world: &'a World,
    policy: Policy,
    host: Host<'a>,
    chooser: Chooser,
    /// For what services and snapshots do, so that it is the same under every policy.
    rng: fastrand::Rng,
    all: PortBits,
    /// Leased, or kept for a name: not granted to others.
    taken: PortBits,
    cooling: Vec<(Time, Port)>,
    services: Vec<Service>,
    events: BinaryHeap<Reverse<(Time, Event)>>,
    tally: Tally,
}

/// Ten days under one policy.
pub fn run(world: &World, policy: Policy) -> Tally {
    let mut run = Run {
        world,
        policy,
        host: Host::new(world),
        chooser: Chooser::new(policy, world.seed),
        rng: fastrand::Rng::with_seed(world.seed ^ 0x5eed),
        all: PortBits::from(&world.ports),
        taken: PortBits::default(),
        cooling: Vec::new(),
        services: Vec::new(),
        events: BinaryHeap::new(),
        tally: Tally::default(),
    };
    run.prepare();
    run.go();
    run.tally
}

impl Run<'_> {
    fn prepare(&mut self) {
        for (count, up, away) in SERVICES {
            for _ in 0..count {
                let comes = self.rng.u32(0..up + away);
                let event = Event::Comes(self.services.len());
                self.events.push(Reverse((comes, event)));
                self.services.push(Service {
                    up,
                    away,
                    port: None,
                });
            }
        }
        for day in 0..self.world.days {
            self.events.push(Reverse((day * DAY, Event::Day(day))));
        }
        if self.policy.takes_snapshots() {
            self.events.push(Reverse((0, Event::Snapshot)));
        }
    }

    fn go(&mut self) {
        let end = self.world.days * DAY;
        while let Some(Reverse((now, event))) = self.events.pop() {
            if now >= end {
                return;
            }
            self.let_pass(now);
            match event {
                Event::Day(day) => self.host.begin_day(day),
                Event::Snapshot => {
                    if self.world.kind != Kind::Invisible {
                        self.chooser.snapshot(&self.host, now);
                    }
                    // Not from the services' dice: other policies take none.
                    let wait = SNAPSHOT - SNAPSHOT / 10 + (now / 7) % (SNAPSHOT / 5);
                    self.events.push(Reverse((now + wait, Event::Snapshot)));
                }
                Event::Comes(who) => self.serve(who, now),
                Event::Goes(who) => self.let_go(who, now),
            }
        }
    }

    fn let_pass(&mut self, now: Time) {
        for (time, port) in self.host.pass(now) {
            self.tally.late += 1;
            self.tally.note(time, 0, 1);
            if self.world.kind != Kind::Invisible {
                self.chooser.late(port, time);
            }
        }
        self.cooling.retain(|(until, _)| *until > now);
    }

    fn serve(&mut self, who: usize, now: Time) {
        let (up, away) = (self.services[who].up, self.services[who].away);
        let (up, away) = (
            exponential(&mut self.rng, up),
            exponential(&mut self.rng, away),
        );
        let had = self.services[who].port;
        let before = self.tally.refused;
        let got = self.choose(had, now, now + up);
        self.tally.requests += 1;
        self.tally.note(now, 1, self.tally.refused - before);
        self.events
            .push(Reverse((now + up + away, Event::Comes(who))));
        let Some(port) = got else { return };
        if had.is_some() {
            self.tally.returning += 1;
            self.tally.kept += u32::from(had == got);
        }
        if had != got
            && let Some(had) = had
        {
            self.taken.remove(had);
        }
        self.services[who].port = Some(port);
        self.taken.insert(port);
        self.host.held.insert(port);
        self.host.note_granted(port);
        self.chooser.granted(port, now);
        self.events.push(Reverse((now + up, Event::Goes(who))));
    }

    /// The books keep a name's port from all other requests to portbook; nothing holds it in the
    /// kernel while its owner is away, which is the worst case.
    fn let_go(&mut self, who: usize, now: Time) {
        let Some(port) = self.services[who].port else {
            return;
        };
        self.host.held.remove(port);
        self.chooser.released(port, now);
        if self.policy != Policy::Sticky {
            self.taken.remove(port);
            self.services[who].port = None;
        }
    }

    fn choose(&mut self, had: Option<Port>, now: Time, until: Time) -> Option<Port> {
        if let Some(port) = had
            && !self.chooser.is_too_dear(port, now)
            && self.try_port(port, now)
        {
            return Some(port);
        }
        let mut eligible = self.all.clone();
        eligible.subtract(&self.taken);
        for (_, port) in &self.cooling {
            eligible.remove(*port);
        }
        if self.policy == Policy::Oracle {
            self.leave_out_the_future(&mut eligible, now, until);
        }
        let mut order = self.chooser.order();
        loop {
            let port = self.chooser.next(&mut order, &eligible, now)?;
            eligible.remove(port);
            if self.try_port(port, now) {
                return Some(port);
            }
        }
    }

    fn try_port(&mut self, port: Port, now: Time) -> bool {
        if !self.host.present.contains(port) {
            return true;
        }
        self.tally.refused += 1;
        self.chooser.refused(port, now);
        self.cooling.push((now + COOL_DOWN, port));
        false
    }

    /// Leaves out ports with a present or coming occupant, as long as others are left.
    fn leave_out_the_future(&self, eligible: &mut PortBits, now: Time, until: Time) {
        eligible.subtract(&self.host.present);
        let quiet = |port: &Port| !self.host.has_arrival(*port, now, until);
        let found = eligible.iter().find(quiet);
        if let Some(port) = found {
            let mut only = PortBits::default();
            only.insert(port);
            *eligible = only;
        }
    }
}
