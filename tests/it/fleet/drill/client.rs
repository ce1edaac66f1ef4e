//! A client on a host: it takes numbers and gives them back, and keeps account of both.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::course::Course;
use super::machine::Machine;
use super::oracle::SHORTEST;

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(400);

/// Number of requests after which lost leases are given back.
const LOOK: usize = 8;

/// What a client was told.
#[derive(Debug, Default)]
pub struct Account {
    /// Ports by the leases that were granted and for which no release was asked.
    pub kept: BTreeMap<String, u64>,
    /// Number of leases that were granted.
    pub granted: usize,
    /// Fencing tokens of all grants, by port.
    pub tokens: Vec<(u64, u64)>,
    /// Number of leases that were told to be lost.
    pub lost: usize,
}

/// Asks for numbers until the end.
pub fn serve(machine: &Machine, mut rng: fastrand::Rng, course: Course) -> Account {
    let mut account = Account::default();
    let mut since: BTreeMap<String, Duration> = BTreeMap::new();
    for round in 0.. {
        if course.left().is_zero() {
            break;
        }
        let now = course.elapsed();
        let ripe = since.iter().filter(|(_, at)| now > **at + SHORTEST);
        let ripe: Vec<String> = ripe.map(|(id, _)| id.clone()).collect();
        match rng.choice(&ripe) {
            Some(id) if rng.u8(..3) == 0 => {
                since.remove(id);
                account.kept.remove(id);
                machine.ask(&["release", id, "--force"]);
            }
            _ => {
                if let Some(id) = account.take(machine) {
                    since.insert(id, course.elapsed());
                }
            }
        }
        if round % LOOK == 0 {
            account.give_back_lost(machine);
            since.retain(|id, _| account.kept.contains_key(id));
        }
        thread::sleep(PAUSE);
    }
    account
}

impl Account {
    /// Takes a number. Returns its lease.
    fn take(&mut self, machine: &Machine) -> Option<String> {
        let granted = machine.ask(&["alloc", "--pool", "edge", "--ttl", "1h"])?;
        let lease = &granted["leases"][0];
        let (id, port) = (lease["id"].as_str()?.to_owned(), lease["port"].as_u64()?);
        self.granted += 1;
        self.tokens.push((port, lease["fence_token"].as_u64()?));
        self.kept.insert(id.clone(), port);
        Some(id)
    }

    fn give_back_lost(&mut self, machine: &Machine) {
        for lease in leases(machine).unwrap_or_default() {
            let id = lease["id"].as_str().unwrap();
            if lease["state"] == "lost" {
                self.lost += usize::from(self.kept.remove(id).is_some());
                machine.ask(&["release", id, "--force"]);
            }
        }
    }
}

/// Living leases of the unique pool. `None` if the service does not answer.
pub fn leases(machine: &Machine) -> Option<Vec<Value>> {
    let listed = machine.ask(&["list", "--pool", "edge"])?;
    listed["leases"].as_array().cloned()
}
