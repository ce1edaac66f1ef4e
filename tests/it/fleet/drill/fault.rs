//! Faults of a host and of the engine.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::cluster::{Cluster, MEMBERS};
use super::course::Course;
use super::machine::Machine;
use crate::support::Server;

/// A fault of one host, which lasts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Stopped,
    Killed,
    CutOff,
    /// The wall clock is moved by this number of hours.
    Clock(i8),
}

/// A fault of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    LeaderKilled,
    MajorityStopped,
    Restored,
    Replaced,
}

/// Maximum number of hosts that are gone for long at once, so that others take their numbers.
const MOST_GONE: usize = 2;

/// Number of hosts that are gone for long.
static GONE: AtomicUsize = AtomicUsize::new(0);

/// Tells what happens, if that is asked for.
pub fn tell(course: Course, what: &str) {
    if std::env::var_os("PORTBOOK_DRILL_SEED").is_some() {
        let seconds = course.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stderr(), "{seconds:7.1} s  {what}");
    }
}

/// Does a fault, and ends it. Returns the service that runs then.
pub fn suffer(machine: &Machine, server: Server, fault: Fault, time: Duration) -> Server {
    match fault {
        Fault::Stopped => {
            server.signal(Signal::STOP);
            thread::sleep(time);
            server.signal(Signal::CONT);
        }
        Fault::Killed => {
            server.kill();
            thread::sleep(time);
            return machine.serve();
        }
        Fault::CutOff => {
            machine.cut();
            thread::sleep(time);
            machine.mend();
        }
        Fault::Clock(hours) => {
            machine.set_clock(&format!("{hours:+}h"));
            thread::sleep(time);
            machine.set_clock("+0");
        }
    }
    server
}

/// Faults at random until the end: half of them short, half of them long enough to lose all numbers.
pub fn many(
    machine: &Machine,
    mut server: Server,
    mut rng: fastrand::Rng,
    course: Course,
) -> Server {
    let seconds = |rng: &mut fastrand::Rng, from, to| Duration::from_secs(rng.u64(from..to));
    loop {
        let pause = seconds(&mut rng, 4, 15);
        if course.left() <= pause + Duration::from_secs(10) {
            return server;
        }
        thread::sleep(pause);
        let hours = *rng.choice(&[2, -3]).unwrap();
        let faults = [
            Fault::Stopped,
            Fault::Killed,
            Fault::CutOff,
            Fault::Clock(hours),
        ];
        let fault = *rng.choice(&faults).unwrap();
        let is_long = rng.bool() && is_turn();
        let time = if is_long {
            seconds(&mut rng, 50, 80)
        } else {
            seconds(&mut rng, 1, 9)
        };
        let time = time.min(course.left());
        tell(course, &format!("{} {fault:?} for {time:?}", machine.name));
        server = suffer(machine, server, fault, time);
        if is_long {
            GONE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn is_turn() -> bool {
    let add = |gone| (gone < MOST_GONE).then_some(gone + 1);
    GONE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add)
        .is_ok()
}

/// Outages at random until the end. They are rare: each change of the leader gives all times of the engine
/// anew, and none would ever run out.
pub fn outages(cluster: &mut Cluster, mut rng: fastrand::Rng, course: Course) {
    loop {
        let pause = Duration::from_secs(rng.u64(50..90));
        if course.left() <= pause + Duration::from_secs(20) {
            return;
        }
        thread::sleep(pause);
        let outages = [
            Outage::LeaderKilled,
            Outage::MajorityStopped,
            Outage::Restored,
            Outage::Replaced,
        ];
        let outage = *rng.choice(&outages).unwrap();
        let time = Duration::from_secs(rng.u64(2..12));
        tell(course, &format!("etcd {outage:?} for {time:?}"));
        bring(cluster, outage, time);
        tell(course, "etcd answers");
    }
}

/// Does an outage, and ends it.
pub fn bring(cluster: &mut Cluster, outage: Outage, time: Duration) {
    let leader = cluster.leader().unwrap_or(0);
    match outage {
        Outage::LeaderKilled => {
            cluster.kill(leader);
            thread::sleep(time);
            cluster.resume(leader);
        }
        Outage::MajorityStopped => {
            let others = || (0..MEMBERS).filter(|member| *member != leader);
            for member in others() {
                cluster.signal(member, Signal::STOP);
            }
            thread::sleep(time);
            for member in others() {
                cluster.signal(member, Signal::CONT);
            }
        }
        Outage::Restored => {
            cluster.save();
            thread::sleep(time);
            cluster.restore();
        }
        Outage::Replaced => cluster.replace((leader + 1) % MEMBERS),
    }
    cluster.wait();
}
