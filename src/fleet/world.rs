//! A fleet for tests: its engine, its hosts, and the chance that moves them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::claim::DOUBT;
use super::key::Keys;
use super::memory::Memory;
use super::shaky::{Shaky, lock, poll_once};
use super::sim_kernel::{Kernels, SimFence, has_fence};
use super::simulation::{Oracle, PREFIX, SimGround, SimHost};
use super::value;
use crate::domain::claim::Number;
use crate::domain::port::{Port, Protocol};
use crate::engine::claims::ClaimBook;
use crate::host::clock::Clock;

/// Number of ports that all hosts fight for.
const PORTS: u16 = 6;

pub fn number(index: u16) -> Number {
    Number {
        protocol: Protocol::Tcp,
        port: Port::new(9100 + index).unwrap(),
    }
}

pub struct World {
    pub engine: Shaky,
    pub hosts: Vec<SimHost>,
    pub oracle: Arc<Mutex<Oracle>>,
    rng: fastrand::Rng,
}

impl World {
    /// Hosts with clocks of different speed, whose engine is shaky.
    pub fn new(seed: u64, count: usize) -> Self {
        let clock = Clock::manual();
        let engine = Shaky {
            memory: Memory::new(clock.clone()),
            clock,
            rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            late: Arc::new(Mutex::new(VecDeque::new())),
            has_faults: Arc::new(Mutex::new(true)),
        };
        let mut rng = fastrand::Rng::with_seed(seed ^ 1);
        let oracle = Arc::new(Mutex::new(Oracle::default()));
        let ids = Arc::new(Mutex::new(0));
        let clocks = (0..count).map(|_| (Clock::manual(), BTreeMap::new()));
        let kernels: Kernels = Arc::new(Mutex::new(clocks.collect()));
        let clock = |index: usize| lock(&kernels)[index].0.clone();
        let host = |index| SimHost {
            ground: SimGround {
                index,
                clock: clock(index),
                permits: SimGround::permits(index, &kernels, &clock(index)),
                kernels: Arc::clone(&kernels),
                book: Arc::new(ClaimBook::default()),
                disk: Arc::default(),
                oracle: Arc::clone(&oracle),
            },
            engine: engine.clone(),
            boot: 0,
            is_paused: false,
            is_down: false,
            is_gone: false,
            doing: Vec::new(),
            is_keeping: Arc::default(),
            session: Arc::default(),
            ids: Arc::clone(&ids),
            rate: 0.7 + 0.6 * rng.f64(),
        };
        let hosts = (0..count).map(host).collect();
        Self {
            engine,
            hosts,
            oracle,
            rng,
        }
    }

    pub fn advance(&self, by: Duration) {
        self.engine.clock.advance(by);
        for host in &self.hosts {
            host.ground.clock.advance(by.mul_f64(host.rate));
        }
    }

    /// Goes on with one thing that a host is doing.
    fn poll(&mut self, host: usize) {
        let busy = |host: &SimHost| !host.is_paused && !host.doing.is_empty();
        let after = (host..self.hosts.len()).chain(0..host);
        let found = after.into_iter().find(|index| busy(&self.hosts[*index]));
        let Some(host) = found else { return };
        let host = &mut self.hosts[host];
        let index = self.rng.usize(0..host.doing.len());
        if poll_once(&mut host.doing[index]).is_some() {
            drop(host.doing.swap_remove(index));
        }
    }

    /// Does one thing, as chance has it.
    pub fn step(&mut self) {
        let index = self.rng.usize(0..self.hosts.len());
        let choice = self.rng.u16(0..1000);
        let host = &mut self.hosts[index];
        match choice {
            0..50 if !host.is_down => {
                let first = self.rng.u16(0..PORTS);
                let count = self.rng.u16(1..=2);
                let numbers = (first..(first + count).min(PORTS)).map(number).collect();
                host.ask(numbers);
            }
            50..80 if !host.is_down => host.release(self.rng.usize(0..4)),
            80..120 if !host.is_down => host.keep(),
            120..140 => {
                let by = self.rng.u64(0..4_000);
                self.advance(Duration::from_millis(by));
            }
            140..142 => {
                let by = self.rng.u64(20..120);
                self.advance(Duration::from_secs(by));
            }
            142..146 => host.is_paused = true,
            146..160 => host.is_paused = host.is_gone,
            160..164 => host.crash(),
            164..190 if host.is_down && !host.is_gone => host.start(self.rng.bool()),
            190..210 => self.engine.deliver(),
            210..213 => self.engine.memory.end_one(self.rng.u64(0..100)),
            213..219 if !host.is_down => host.sweep(),
            222..225 if !host.is_down => host.look_for_strays(),
            219 => {
                host.is_gone = true;
                host.is_paused = true;
                if self.rng.bool() {
                    host.crash();
                }
            }
            220 => host.is_gone = false,
            // Each gives the measured times of the gone a new beginning.
            221 if self.rng.u8(0..20) == 0 => self.engine.memory.fail_over(),
            _ => self.poll(index),
        }
    }

    /// All faults end, and enough time passes for everything to be settled.
    pub fn calm(&mut self) {
        for _ in 0..50 {
            self.engine.deliver();
        }
        *lock(&self.engine.has_faults) = false;
        for host in &mut self.hosts {
            host.is_paused = false;
            host.is_gone = false;
            if host.is_down {
                host.start(false);
            }
        }
        for round in 0..30 {
            for host in &mut self.hosts {
                host.keep();
                host.look_for_strays();
                host.finish();
            }
            let pause = if round % 10 == 5 {
                DOUBT * 2
            } else {
                Duration::from_secs(8)
            };
            self.advance(pause);
        }
    }

    /// The engine has exactly the claims of the living leases, and no host has another one on record.
    pub fn check(&self) {
        let lost = lock(&self.oracle).lost.clone();
        let unfenced = lost.iter().filter(|(host, ..)| !has_fence(*host));
        assert_eq!(
            unfenced.count(),
            0,
            "no clock takes a number without a fence"
        );
        let nonces = self.check_disks();
        self.check_engine(&nonces);
    }

    /// Returns the nonces of the living leases.
    fn check_disks(&self) -> BTreeSet<String> {
        let mut nonces = BTreeSet::new();
        let mut living: BTreeMap<Number, usize> = BTreeMap::new();
        for host in &self.hosts {
            let disk = lock(&host.ground.disk);
            for number in disk.leases.values() {
                living.insert(*number, host.ground.index);
            }
            for claim in disk.claims.values() {
                let number = claim.number;
                assert!(
                    disk.leases.contains_key(&claim.lease),
                    "{number} leaks on record: {claim:?}"
                );
                nonces.insert(claim.nonce.clone());
            }
        }
        assert_eq!(living, lock(&self.oracle).holders);
        let kernels = lock(&self.hosts[0].ground.kernels);
        for (number, host) in living {
            let is_open = SimFence::is_open(&kernels[host], number);
            let has_fence = self.hosts[host].ground.permits.is_some();
            assert_eq!(is_open, has_fence, "{number} on host {host}");
        }
        nonces
    }

    fn check_engine(&self, nonces: &BTreeSet<String>) {
        let keys = Keys::new(PREFIX);
        let entries = self.engine.memory.entries();
        let claims = entries
            .iter()
            .filter(|(key, _)| key.starts_with(&keys.claims()));
        let mut found = BTreeSet::new();
        for (key, text) in claims {
            let value: value::ClaimValue = serde_json::from_str(text).unwrap();
            assert!(
                nonces.contains(&value.nonce),
                "{key} leaks in the engine: {text}"
            );
            found.insert(value.nonce);
        }
        assert_eq!(&found, nonces, "each claim on record is in the engine");
    }
}
