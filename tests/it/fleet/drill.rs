//! The drill: three members of etcd, four hosts, each a network namespace of its own, and a prober outside.
//!
//! On each host a program answers on all numbers of a unique pool, for ever, so that only the fence decides
//! whether it is reached. Services are stopped, killed and cut off, wall clocks are moved, and the engine
//! loses its leader, its majority, a disk, or its last minutes. The prober must never see a number on two
//! hosts at once. Without the time-outs of the kernel's fence it must.
//!
//! The long form takes a time and a seed: `PORTBOOK_DRILL_SECONDS=600 PORTBOOK_DRILL_SEED=1 cargo test
//! --features fleet --test it -- --ignored fleet::drill --nocapture`.

mod client;
mod cluster;
pub(super) mod course;
mod fault;
mod machine;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use client::Account;
use cluster::Cluster;
use course::Course;
use fault::{Fault, Outage, bring, suffer, tell};
use machine::{Machine, PORTS};
use oracle::{Oracle, Prober};

use super::reaches;
use crate::host::{Host, skipped};
use crate::support::Server;
use crate::tools::eventually;

const HOSTS: usize = 4;

/// Length of the short drill.
const SHORT: Duration = Duration::from_secs(88);

/// Time for which hosts are away in it. Sessions end after 2 seconds, another host has the duty to sweep 5
/// seconds later, and 40 seconds after its mark a number is free.
const GONE: Duration = Duration::from_secs(70);

/// Length of a long drill unless another one is asked for.
const LONG: Duration = Duration::from_mins(10);

/// A drill that is ready to begin.
struct Drill {
    cluster: Cluster,
    machines: Vec<Machine>,
    servers: Vec<Server>,
}

/// What came of a drill.
struct Outcome {
    oracle: Oracle,
    accounts: Vec<Account>,
}

impl Drill {
    /// `None`, reported on stderr, if this machine cannot have one.
    fn prepare(test: &str, is_fenced: bool) -> Option<Self> {
        let hub = Host::plain(test)?;
        for (tool, option) in [
            ("etcd", "--version"),
            ("etcdctl", "version"),
            ("/usr/sbin/nft", "--version"),
            ("openssl", "version"),
        ] {
            if Command::new(tool).arg(option).output().is_err() {
                skipped(test, &format!("{tool} is not installed"));
                return None;
            }
        }
        let names: Vec<String> = (1..=HOSTS).map(|number| format!("h{number}")).collect();
        let cluster = Cluster::start(hub, &names);
        let machines: Vec<Machine> = (1..=HOSTS)
            .map(|number| Machine::new(&cluster, number, is_fenced))
            .collect();
        let servers: Vec<Server> = machines.iter().map(Machine::serve).collect();
        for server in &servers {
            let status = reaches(server, "joined");
            assert_eq!(status["fence"], "kernel", "{status}");
        }
        Some(Self {
            cluster,
            machines,
            servers,
        })
    }

    /// Runs clients and the prober until the end, beside these faults of the hosts and of the engine.
    fn run(
        &mut self,
        seed: u64,
        course: Course,
        faults: impl Fn(usize, &Machine, Server) -> Server + Sync,
        outages: impl FnOnce(&mut Cluster) + Send,
    ) -> Outcome {
        let addresses: Vec<String> = self
            .machines
            .iter()
            .map(|one| one.address.clone())
            .collect();
        let ports: Vec<u16> = PORTS.collect();
        let mut prober = Prober::start(&self.cluster.hub, &addresses, &ports);
        let rounds = prober.rounds();
        let (machines, servers) = (&self.machines, std::mem::take(&mut self.servers));
        let cluster = &mut self.cluster;
        thread::scope(|scope| {
            let watching = scope.spawn(move || {
                let mut oracle = Oracle::default();
                rounds.for_each(|round| oracle.see(round));
                oracle
            });
            let clients: Vec<_> = (machines.iter().zip(seed..))
                .map(|(machine, seed)| {
                    let rng = fastrand::Rng::with_seed(seed);
                    scope.spawn(move || client::serve(machine, rng, course))
                })
                .collect();
            let faults = &faults;
            let hosts: Vec<_> = (machines.iter().zip(servers).enumerate())
                .map(|(number, (machine, server))| {
                    scope.spawn(move || faults(number, machine, server))
                })
                .collect();
            outages(cluster);
            self.servers = hosts.into_iter().map(|host| host.join().unwrap()).collect();
            let accounts = clients.into_iter().map(|one| one.join().unwrap()).collect();
            prober.stop();
            let oracle = watching.join().unwrap();
            Outcome { oracle, accounts }
        })
    }

    /// Checks that no grant was forgotten, and that each number has one owner.
    fn settle(&self, accounts: &[Account]) {
        for server in &self.servers {
            reaches(server, "joined");
        }
        let claims = eventually("the claims can be read", || {
            let told = self.machines[0].ask(&["fleet", "claims"])?;
            told["claims"].as_array().cloned()
        });
        let owner: BTreeMap<u64, &str> = claims
            .iter()
            .map(|claim| {
                (
                    claim["port"].as_u64().unwrap(),
                    claim["host"].as_str().unwrap(),
                )
            })
            .collect();
        for (machine, account) in self.machines.iter().zip(accounts) {
            let leases = eventually("the leases can be read", || client::leases(machine));
            let known: BTreeMap<&str, &str> = leases
                .iter()
                .map(|lease| {
                    (
                        lease["id"].as_str().unwrap(),
                        lease["state"].as_str().unwrap(),
                    )
                })
                .collect();
            for (id, port) in &account.kept {
                let state = known.get(id.as_str());
                assert!(
                    state.is_some(),
                    "{} forgot the lease of {port}",
                    machine.name
                );
                let is_owner = owner.get(port) == Some(&machine.name.as_str());
                assert!(
                    is_owner || state == Some(&"lost"),
                    "{} has {port}, the fleet says {:?}",
                    machine.name,
                    owner.get(port)
                );
            }
        }
        let tokens: Vec<_> = accounts
            .iter()
            .flat_map(|account| &account.tokens)
            .collect();
        let different: BTreeSet<_> = tokens.iter().collect();
        assert_eq!(tokens.len(), different.len(), "a number was granted twice");
    }

    /// What the sweeps of all services told in their logs.
    fn swept(&self, what: &str) -> usize {
        let logs = self.servers.iter().map(Server::log);
        let sign = format!("{what}=");
        logs.map(|log| {
            let lines = log.lines().filter(|line| line.contains("swept claims"));
            let words = lines.flat_map(str::split_whitespace);
            let numbers = words.filter_map(|word| word.strip_prefix(&sign)?.parse::<usize>().ok());
            numbers.sum::<usize>()
        })
        .sum()
    }

    fn tell(&self, title: &str, outcome: &Outcome) {
        let Oracle {
            probes,
            moves,
            overlaps,
            first,
            ..
        } = &outcome.oracle;
        let granted: usize = outcome.accounts.iter().map(|one| one.granted).sum();
        let lost: usize = outcome.accounts.iter().map(|one| one.lost).sum();
        let (marked, freed) = (self.swept("marked"), self.swept("freed"));
        let _ = writeln!(
            std::io::stderr(),
            "{title}: {overlaps} overlaps in {probes} probes, first {first:?}; {granted} grants, {moves} moves, {marked} claims marked, {freed} freed, {lost} told lost"
        );
    }
}

/// Away for long enough to lose all numbers: one is killed, one stopped, one cut off. The clock of the
/// fourth is moved, and the engine loses its leader.
fn one_of_each(drill: &mut Drill) -> Outcome {
    let course = Course::begin(SHORT);
    let faults = |number: usize, machine: &Machine, server: Server| {
        thread::sleep(Duration::from_secs(10));
        let fault = [
            Fault::Killed,
            Fault::Stopped,
            Fault::CutOff,
            Fault::Clock(2),
        ][number];
        suffer(machine, server, fault, GONE)
    };
    drill.run(1, course, faults, |cluster| {
        thread::sleep(Duration::from_secs(2));
        bring(cluster, Outage::LeaderKilled, Duration::from_secs(2));
    })
}

#[test]
fn numbers_have_one_owner_whatever_becomes_of_hosts_and_engine() {
    let Some(mut drill) = Drill::prepare("the drill of unique numbers", true) else {
        return;
    };
    let outcome = one_of_each(&mut drill);
    drill.tell("with the fence", &outcome);
    assert_eq!(outcome.oracle.overlaps, 0, "{:?}", outcome.oracle.first);
    assert!(drill.swept("freed") > 0 && outcome.oracle.moves > 0);
    drill.settle(&outcome.accounts);
}

#[test]
fn service_alone_lets_two_hosts_serve_a_number() {
    let Some(mut drill) = Drill::prepare("the drill without a fence that ends", false) else {
        return;
    };
    let outcome = one_of_each(&mut drill);
    drill.tell("without the kernel's time-outs", &outcome);
    assert!(outcome.oracle.overlaps > 0);
}

#[test]
#[ignore = "takes ten minutes: see the head of this file"]
fn random_faults_give_no_number_two_owners() {
    let Some(mut drill) = Drill::prepare("the long drill of unique numbers", true) else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PORTBOOK_DRILL_SEED").unwrap_or(1);
    let time = number("PORTBOOK_DRILL_SECONDS").map_or(LONG, Duration::from_secs);
    let course = Course::begin(time);
    let rng = |number: u64| fastrand::Rng::with_seed(seed * 100 + number);
    let faults = |number: usize, machine: &Machine, server: Server| {
        fault::many(machine, server, rng(number.try_into().unwrap()), course)
    };
    let outages = |cluster: &mut Cluster| fault::outages(cluster, rng(9), course);
    let outcome = drill.run(seed, course, faults, outages);
    tell(course, "all faults are over");
    drill.tell(&format!("seed {seed}, {time:?}"), &outcome);
    assert_eq!(outcome.oracle.overlaps, 0, "{:?}", outcome.oracle.first);
    drill.settle(&outcome.accounts);
}
