//! Faults of the engine while requests are under way: nothing that was acknowledged is lost or given twice.
//!
//! Three hosts share numbers that do not suffice. Two of them reach three members of etcd through proxies that
//! break connections, most of all after a commit is done and before its answer is passed on; the third one
//! reaches them directly. Members are killed, stopped and compacted meanwhile. Clients of all hosts take and give
//! back numbers and names, and keep account. It is compared with the engine after each fault, and entirely
//! whenever a batch of faults is over. Snapshots that are restored lose what was acknowledged; they belong to
//! the drill.
//!
//! The long form takes a number of faults and a seed: `PORTBOOK_FAULTS=200 PORTBOOK_FAULTS_SEED=1 cargo test
//! --features fleet --test it -- --ignored fleet::faults --nocapture`.

mod account;
mod client;
mod fault;
mod frame;
mod group;
mod judge;
mod links;
mod members;
mod watch;

use std::time::Duration;

use fault::{OF_LINKS, OF_MEMBERS};
use group::Group;

/// Number of faults of a long run unless another one is asked for.
const LONG: usize = 200;

/// Longest time that a fault lasts, in a short run and in a long one. Sessions end after two seconds and more.
const SHORT_TIME: Duration = Duration::from_secs(1);
const LONG_TIME: Duration = Duration::from_secs(3);

#[test]
fn acknowledged_claims_and_names_outlive_each_fault_of_the_engine() {
    let Some(mut group) = Group::start("faults of the engine", 1, SHORT_TIME) else {
        return;
    };
    let kinds = OF_MEMBERS.len() + OF_LINKS.len();
    group.run(kinds);
    group.watch.sum_up("each fault once");
    assert_eq!(group.watch.kinds(), kinds);
}

#[test]
#[ignore = "takes ten minutes: see the head of this file"]
fn acknowledged_claims_and_names_outlive_random_faults() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PORTBOOK_FAULTS_SEED").unwrap_or(1);
    let faults = number("PORTBOOK_FAULTS").map_or(LONG, |count| count.try_into().unwrap());
    let Some(mut group) = Group::start("many faults of the engine", seed, LONG_TIME) else {
        return;
    };
    group.watch.is_told = true;
    group.run(faults);
    group.watch.sum_up(&format!("seed {seed}"));
}
