//! The drill: servers of `--handover bind` and `run --map` are visited all the time, and rivals want their ports, while
//! the service is killed or upgraded, and cgroups and descriptors of ended programs are left over or gone.
//!
//! One half is without a supervisor, in the other one keeps the service's descriptors. The long form takes a number and
//! a seed: `PORTBOOK_DRILL_TURNS=200 PORTBOOK_DRILL_SEED=1 cargo test --test it -- --ignored bpf::drill --nocapture`.

mod left;
mod visits;

use std::io::Write as _;
use std::thread;

use serde_json::Value;

use self::left::Left;
use self::visits::{CARE, Copy, Visits};
use super::life::{cgroups, links, stored};
use super::map::{asked_for, mapped};
use super::{Tidy, hand_over, rival, run};
use crate::succession::{Spoken, supervised};
use crate::support::{Place, Server, ask};
use crate::tools::eventually;

/// Number of turns of the long form, in both halves together.
const LONG: usize = 200;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The service is killed and started again.
    Killed,
    /// A successor takes over.
    Upgraded,
    /// A program is moved out of its cgroup, which is removed, and ends.
    FolderRemoved,
    /// A program ends in the moment in which the service is killed.
    LeftOver,
}

/// A service, and what starts it again.
enum Service {
    Alone(Option<Server>),
    Kept(Spoken),
}

impl Service {
    fn faults(&self) -> Vec<Fault> {
        let own = match self {
            Self::Alone(_) => Fault::Upgraded,
            Self::Kept(_) => Fault::LeftOver,
        };
        vec![Fault::Killed, Fault::FolderRemoved, own]
    }

    /// Whether the kernel's programs stay in force through a fault.
    fn stays_in_force(&self, fault: Fault) -> bool {
        matches!(self, Self::Kept(_)) || fault != Fault::Killed
    }

    fn killed(&mut self, place: &Place) {
        match self {
            Self::Alone(server) => {
                server.take().unwrap().kill();
                *server = Some(place.serve());
            }
            Self::Kept(supervisor) => {
                supervisor.say("kill");
                assert!(supervisor.hear().starts_with("ready"));
            }
        }
    }

    fn upgraded(&mut self, place: &Place) {
        let Self::Alone(server) = self else { return };
        let second = place.serve_with(&["--takeover"]);
        let mut first = server.replace(second).unwrap();
        assert!(first.child.wait().unwrap().success());
    }
}

fn get(place: &Place, path: &str) -> Value {
    let socket = place.data_dir().join("portbook.sock");
    ask(&socket, "GET", path, None).unwrap().json()
}

/// A program that comes and goes.
fn passing(place: &Place) -> Copy {
    let (_, asked) = asked_for(place);
    let map = format!("{asked}=passing");
    let program = ["python3", "-c", CARE, &asked];
    Copy::start(mapped(place, "passing", &map, &program))
}

fn until_parked(place: &Place) {
    eventually("the program's lease", || {
        let list = get(place, "/api/v1/leases?name=passing");
        (list["leases"][0]["state"] == "reserved").then_some(())
    });
}

/// Moves a program up, and removes its cgroup.
fn remove_folder(place: &Place, copy: &Copy) {
    let holds = |cgroup: &std::path::PathBuf| {
        let inside = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        inside.lines().any(|pid| pid == copy.pid)
    };
    let cgroup = cgroups(place).into_iter().find(holds).unwrap();
    let above = cgroup.parent().unwrap().join("cgroup.procs");
    std::fs::write(above, &copy.pid).unwrap();
    std::fs::remove_dir(cgroup).unwrap();
}

fn suffer(place: &Place, service: &mut Service, fault: Fault) {
    match fault {
        Fault::Killed => service.killed(place),
        Fault::Upgraded => service.upgraded(place),
        Fault::FolderRemoved => {
            let copy = passing(place);
            remove_folder(place, &copy);
            drop(copy);
            until_parked(place);
        }
        Fault::LeftOver => {
            drop(passing(place));
            service.killed(place);
            until_parked(place);
        }
    }
}

/// The servers that run through it all: one that asks for the port of its lease, and two for the same other one.
fn servers(place: &Place) -> Vec<Copy> {
    let (_, asked) = asked_for(place);
    let web = Copy::start(run(place, "web", &["python3", "-c", CARE, "{port}"]));
    let others = ["one", "two"].map(|folder| {
        let program = ["python3", "-c", CARE, &asked];
        Copy::start(mapped(place, folder, &asked, &program))
    });
    [web].into_iter().chain(others).collect()
}

fn release_all(place: &Place) {
    let socket = place.data_dir().join("portbook.sock");
    let list = get(place, "/api/v1/leases?limit=1000&pool=default");
    for lease in list["leases"].as_array().unwrap() {
        let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
        assert_eq!(ask(&socket, "DELETE", &path, None).unwrap().status, 204);
    }
}

/// `turns` faults in random order. All that the kernel had for the service must be gone after the release.
fn drill(place: &Place, mut service: Service, turns: usize, seed: u64) {
    let (mut rng, mut left) = (fastrand::Rng::with_seed(seed), Left::default());
    let mut copies = servers(place);
    let passing_port = passing(place).port;
    until_parked(place);
    let mut ports: Vec<u16> = copies.iter().map(|copy| copy.port).collect();
    if matches!(service, Service::Kept(_)) {
        // Without a supervisor none holds a port while there is no service.
        ports.push(passing_port);
    }
    let mut rival = rival(&ports);
    let (visits, checks) = thread::scope(|scope| {
        let visits = Visits::begin(scope, &copies);
        let (mut faults, mut checks) = (service.faults(), 0);
        for turn in 0..turns {
            if turn % faults.len() == 0 {
                rng.shuffle(&mut faults);
            }
            let fault = faults[turn % faults.len()];
            suffer(place, &mut service, fault);
            for copy in &mut copies {
                checks += copy.assert_reaches_itself(service.stays_in_force(fault), fault);
            }
            left.note(place);
        }
        (visits.end(), checks)
    });
    drop(rival.0.stdin.take());
    let counts = rival.line();
    let _ = writeln!(
        std::io::stderr(),
        "{turns} faults, seed {seed}: {visits} visits, {checks} own checks; rivals got in (of tries): {counts}"
    );
    assert!(counts.starts_with("0 "), "{counts}");
    release_all(place);
    assert!(cgroups(place).is_empty());
    let pid = get(place, "/api/v1/status")["pid"].as_u64().unwrap();
    assert_eq!(links(pid.try_into().unwrap()), 0);
    if let Service::Kept(supervisor) = &mut service {
        stored(supervisor, 0);
    }
    left.assert_gone();
}

fn alone(turns: usize, seed: u64) {
    let place = Tidy(Place::with_ports(5));
    let service = Service::Alone(Some(place.serve()));
    begin(&place, service, turns, seed);
}

fn kept(turns: usize, seed: u64) {
    let place = Tidy(Place::with_ports(5));
    let service = Service::Kept(supervised(&place));
    begin(&place, service, turns, seed);
}

fn begin(place: &Place, service: Service, turns: usize, seed: u64) {
    if hand_over(&get(place, "/api/v1/status")).contains("falls back") {
        return crate::host::skipped("the drill of servers", "no hand-over by bind here");
    }
    drill(place, service, turns, seed);
}

#[test]
fn servers_do_not_notice_what_becomes_of_the_service() {
    alone(3, 1);
}

#[test]
fn servers_do_not_notice_what_becomes_of_a_supervised_service() {
    kept(3, 1);
}

#[test]
#[ignore = "takes minutes: see the head of this file"]
fn servers_do_not_notice_hundreds_of_faults() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PORTBOOK_DRILL_SEED").unwrap_or(1);
    let turns = number("PORTBOOK_DRILL_TURNS").and_then(|turns| turns.try_into().ok());
    let turns = turns.unwrap_or(LONG);
    alone(turns / 2, seed);
    kept(turns - turns / 2, seed);
}
