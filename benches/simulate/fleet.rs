//! A fleet of hosts whose software likes the same numbers: the first day of new hosts, with the service's own
//! choice, without and with what other hosts know of their ports.
//!
//! An invented world. Of [`SHARED`] numbers that software of many hosts likes each host has some, and besides
//! [`OWN`] of its own. On such a number a squatter is present [`PRESENT`] of the time, in stays of half an hour
//! to six hours. Leases last two hours on average.

use std::collections::BTreeSet;

use portbook::choice::bits::PortBits;
use portbook::domain::port::{Port, PortSet};
use portbook::domain::prior::{Prior, Report};

use crate::host::Host;
use crate::policy::{Chooser, Policy};
use crate::world::{DAY, HOUR, Stay, Time, World, exponential};

/// Pool of every host.
const POOL: &str = "20000-29999";

/// Numbers that software of many hosts likes.
const SHARED: usize = 200;

/// Numbers that only one host's software likes.
const OWN: usize = 60;

/// Share of the time for which a squatter is on its number.
const PRESENT: f64 = 0.3;

/// Leases of a day.
const LEASES: u32 = 400;

/// Average time of a lease.
const LEASE: Time = 2 * HOUR;

/// Interval of snapshots.
const SNAPSHOT: Time = 60;

/// Days for which the hosts that tell others have been there.
const VETERAN_DAYS: u32 = 3;

/// Numbers of hosts that a new one may read; of more than the service reads it draws.
const FLEETS: [usize; 4] = [0, 20, 50, 200];

/// Numbers that software likes, each with the share of hosts that have the software.
struct Software {
    all: PortSet,
    liked: Vec<(Port, f64)>,
}

/// Conflicts of some first days.
#[derive(Debug, Clone, Copy, Default)]
struct Day {
    leases: u32,
    refused: u32,
    late: u32,
}

impl Day {
    fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.refused += other.refused;
        self.late += other.late;
    }

    /// Conflicts of 100 leases.
    fn percent(self) -> f64 {
        100.0 * f64::from(self.refused + self.late) / f64::from(self.leases.max(1))
    }
}

/// Prints the conflicts of the first day of new hosts.
pub fn print(seed: u64, hosts: u32) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let software = Software::new(&mut rng);
    let veterans: Vec<Report> = (0..FLEETS[FLEETS.len() - 1])
        .map(|number| veteran(&software, seed ^ (number as u64 + 1) << 32))
        .collect();
    println!("Conflicts on the first day of {hosts} new hosts of a fleet, {LEASES} leases each\n");
    println!(
        "prior of hosts  refused     late  percent of leases  hosts with fewer / more than without"
    );
    let mut without: Vec<Day> = Vec::new();
    for fleet in FLEETS {
        let days: Vec<Day> = (0..hosts)
            .map(|number| {
                let seed = seed
                    .wrapping_add(0x00f1_ee7d)
                    .wrapping_mul(u64::from(number) + 1);
                let prior = prior_of(&veterans[..fleet], seed);
                first_day(&software, seed, &prior)
            })
            .collect();
        if without.is_empty() {
            without.clone_from(&days);
        }
        line(fleet, &days, &without);
    }
    println!(
        "\n{OWN} numbers of each host's own, and the first stay on a shared one, are known to no other host."
    );
}

fn line(fleet: usize, days: &[Day], without: &[Day]) {
    let mut all = Day::default();
    for day in days {
        all.add(*day);
    }
    let pairs = || {
        days.iter()
            .map(|day| day.percent())
            .zip(without.iter().map(|day| day.percent()))
    };
    let fewer = pairs().filter(|(with, without)| with < without).count();
    let more = pairs().filter(|(with, without)| with > without).count();
    println!(
        "{fleet:>14} {:>8} {:>8} {:>18.3}  {fewer} / {more}",
        all.refused,
        all.late,
        all.percent()
    );
}

/// What a new host has read: as many documents as the service reads, drawn by lot.
fn prior_of(veterans: &[Report], seed: u64) -> Prior {
    let mut drawn: Vec<&Report> = veterans.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut drawn);
    Prior::of(drawn)
}

impl Software {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let all: PortSet = POOL.parse().unwrap_or(PortSet::EMPTY);
        let mut ports: Vec<Port> = all.iter().collect();
        rng.shuffle(&mut ports);
        ports.truncate(SHARED);
        // Some software is on every tenth host, some on most of them.
        let liked = ports.into_iter().map(|port| (port, 0.1 + 0.7 * rng.f64()));
        Self {
            all,
            liked: liked.collect(),
        }
    }

    /// A host with some of the software, and numbers of its own.
    fn host(&self, seed: u64, days: u32) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut squatted: BTreeSet<Port> = BTreeSet::new();
        for (port, share) in &self.liked {
            if rng.f64() < *share {
                squatted.insert(*port);
            }
        }
        let shared = squatted.len();
        let all: Vec<Port> = self.all.iter().collect();
        while squatted.len() < shared + OWN {
            squatted.extend(rng.choice(&all));
        }
        let mut stays = Vec::new();
        for port in squatted {
            squat(&mut rng, port, days * DAY, &mut stays);
        }
        World::with_stays(self.all.clone(), seed, days, stays)
    }
}

/// Stays of one squatter.
fn squat(rng: &mut fastrand::Rng, port: Port, end: Time, stays: &mut Vec<Stay>) {
    let stay = rng.u32(HOUR / 2..6 * HOUR);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hours in seconds"
    )]
    let away = (f64::from(stay) * (1.0 - PRESENT) / PRESENT) as Time;
    let is_there = rng.f64() < PRESENT;
    let mut time = if is_there { 0 } else { exponential(rng, away) };
    while time < end {
        let until = time + exponential(rng, stay);
        stays.push(Stay {
            port,
            from: time,
            until,
        });
        time = until + exponential(rng, away);
    }
}

/// What a host tells after some days.
fn veteran(software: &Software, seed: u64) -> Report {
    let world = software.host(seed, VETERAN_DAYS);
    let (_, chooser) = run(&world, seed, &Prior::default());
    chooser.report(VETERAN_DAYS * DAY)
}

fn first_day(software: &Software, seed: u64, prior: &Prior) -> Day {
    let world = software.host(seed, 1);
    run(&world, seed, prior).0
}

/// Runs a host for the days of its world.
fn run(world: &World, seed: u64, prior: &Prior) -> (Day, Chooser) {
    let mut chooser = Chooser::new(Policy::Learned, seed);
    chooser.set_prior(prior);
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x1ea5e);
    let mut begins: Vec<Time> = (0..LEASES * world.days)
        .map(|_| rng.u32(0..world.days * DAY))
        .collect();
    begins.sort_unstable();
    let mut lease = Lessee {
        host: Host::new(world),
        chooser,
        eligible: PortBits::from(&world.ports),
        leases: Vec::new(),
        day: Day::default(),
        snapshot_at: 0,
    };
    for begin in begins {
        lease.pass(begin);
        let end = begin + exponential(&mut rng, LEASE);
        lease.ask(begin, end);
    }
    lease.pass(world.days * DAY);
    (lease.day, lease.chooser)
}

/// A host at work.
struct Lessee<'a> {
    host: Host<'a>,
    chooser: Chooser,
    eligible: PortBits,
    /// Living leases with their ends.
    leases: Vec<(Time, Port)>,
    day: Day,
    snapshot_at: Time,
}

impl Lessee<'_> {
    /// Lets time pass: snapshots are taken, leases end, squatters come for leased ports.
    fn pass(&mut self, until: Time) {
        loop {
            let end = self.leases.iter().min().map(|(end, _)| *end);
            let next = end.map_or(self.snapshot_at, |end| end.min(self.snapshot_at));
            if next > until {
                return self.let_come(until);
            }
            self.let_come(next);
            if end == Some(next) {
                self.end(next);
            } else {
                self.chooser.snapshot(&self.host, next);
                self.snapshot_at += SNAPSHOT;
            }
        }
    }

    fn let_come(&mut self, now: Time) {
        for (time, port) in self.host.pass(now) {
            self.day.late += 1;
            self.chooser.late(port, time);
        }
    }

    fn end(&mut self, now: Time) {
        let over = self.leases.iter().filter(|(end, _)| *end <= now);
        let over: Vec<Port> = over.map(|(_, port)| *port).collect();
        self.leases.retain(|(end, _)| *end > now);
        for port in over {
            self.host.held.remove(port);
            self.eligible.insert(port);
            self.chooser.released(port, now);
        }
    }

    fn ask(&mut self, now: Time, end: Time) {
        self.day.leases += 1;
        let mut eligible = self.eligible.clone();
        let mut order = self.chooser.order();
        while let Some(port) = self.chooser.next(&mut order, &eligible, now) {
            eligible.remove(port);
            if self.host.present.contains(port) {
                self.day.refused += 1;
                self.chooser.refused(port, now);
                continue;
            }
            self.eligible.remove(port);
            self.host.held.insert(port);
            self.chooser.granted(port, now);
            self.leases.push((end, port));
            return;
        }
    }
}
