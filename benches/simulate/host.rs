//! The simulated host: who is on which port now, and what portbook has leased or holds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use portbook::choice::bits::PortBits;
use portbook::domain::port::Port;

use crate::world::{DAY, HOUR, Kind, Stay, Time, World};

/// State of the host at one moment.
pub struct Host<'a> {
    world: &'a World,
    rng: fastrand::Rng,
    next: usize,
    departures: BinaryHeap<Reverse<(Time, Port)>>,
    /// Stays that were drawn on the way, in the adversarial world.
    followers: BinaryHeap<Reverse<(Time, Port, Time)>>,
    /// Future arrivals, for the oracle alone.
    arrivals: HashMap<Port, Vec<Time>>,
    /// Occupied by others.
    pub present: PortBits,
    /// Held by portbook, so that no other process gets it.
    pub held: PortBits,
    /// Number of grants of each port today.
    granted: HashMap<Port, u32>,
}

impl<'a> Host<'a> {
    pub fn new(world: &'a World) -> Self {
        let mut arrivals: HashMap<Port, Vec<Time>> = HashMap::new();
        for stay in &world.stays {
            arrivals.entry(stay.port).or_default().push(stay.from);
        }
        Self {
            world,
            rng: fastrand::Rng::with_seed(!world.seed),
            next: 0,
            departures: BinaryHeap::new(),
            followers: BinaryHeap::new(),
            arrivals,
            present: PortBits::default(),
            held: PortBits::default(),
            granted: HashMap::new(),
        }
    }

    /// Lets time pass until `now`; returns the leased ports that an outsider took.
    pub fn pass(&mut self, now: Time) -> Vec<(Time, Port)> {
        let mut late = Vec::new();
        loop {
            let comes = self.next_stay().map(|stay| stay.from);
            let goes = self.departures.peek().map(|Reverse((time, _))| *time);
            let first = comes.into_iter().chain(goes).min();
            let Some(time) = first.filter(|time| *time <= now) else {
                return late;
            };
            if goes == Some(time) {
                if let Some(Reverse((_, port))) = self.departures.pop() {
                    self.present.remove(port);
                }
            } else if let Some(stay) = self.take_stay() {
                if self.held.contains(stay.port) {
                    // It gives up for this time.
                    late.push((stay.from, stay.port));
                } else if self.present.insert(stay.port) {
                    self.departures.push(Reverse((stay.until, stay.port)));
                }
            }
        }
    }

    fn next_stay(&self) -> Option<Stay> {
        let drawn = self.world.stays.get(self.next).copied();
        let follower = self
            .followers
            .peek()
            .map(|Reverse((from, port, until))| Stay {
                port: *port,
                from: *from,
                until: *until,
            });
        drawn
            .into_iter()
            .chain(follower)
            .min_by_key(|stay| stay.from)
    }

    fn take_stay(&mut self) -> Option<Stay> {
        let stay = self.next_stay();
        if let Some(Reverse((from, port, until))) = self.followers.peek().copied()
            && stay.is_some_and(|stay| (stay.from, stay.port) == (from, port))
        {
            self.followers.pop();
            return Some(Stay { port, from, until });
        }
        self.next += 1;
        stay
    }

    /// Notes that a port was granted, for later occupants.
    pub fn note_granted(&mut self, port: Port) {
        *self.granted.entry(port).or_default() += 1;
    }

    /// A new day: in the adversarial world as many occupants as a tenth of the ports come for what
    /// was granted most, each at some time of the day for two hours.
    pub fn begin_day(&mut self, day: Time) {
        let mut winners: Vec<(u32, Port)> = self.granted.drain().map(|(p, n)| (n, p)).collect();
        if self.world.kind != Kind::Adversarial {
            return;
        }
        // By the count, and by lot where it is the same: not by the number.
        winners.sort_unstable();
        self.rng.shuffle(&mut winners);
        winners.sort_by_key(|(count, _)| Reverse(*count));
        winners.truncate(self.world.ports.len() / 10);
        for (_, port) in winners {
            let from = day * DAY + self.rng.u32(0..DAY);
            self.followers.push(Reverse((from, port, from + 2 * HOUR)));
            self.arrivals.entry(port).or_default().push(from);
        }
    }

    /// Whether an occupant will come for a port within a time.
    pub fn has_arrival(&self, port: Port, from: Time, until: Time) -> bool {
        let arrivals = self.arrivals.get(&port);
        arrivals.is_some_and(|times| times.iter().any(|time| (from..=until).contains(time)))
    }
}
