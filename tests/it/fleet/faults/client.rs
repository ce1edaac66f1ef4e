//! Clients of a host: they take and give back unique numbers and names at random, and keep account of it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::account::{Account, Grant};
use crate::support::ask;

/// Maximum number of unique numbers of one client.
const MOST: usize = 5;

/// Number of names that a client uses. Clients of other hosts use them too.
const NAMES: usize = 4;

/// Time between two requests in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 10..60;

/// A client.
pub struct Client {
    pub host: String,
    pub socket: PathBuf,
    pub number: usize,
    pub rng: fastrand::Rng,
    unique: Vec<Grant>,
    local: Option<Grant>,
}

impl Client {
    pub fn new(host: &str, socket: PathBuf, number: usize, rng: fastrand::Rng) -> Self {
        Self {
            host: host.to_owned(),
            socket,
            number,
            rng,
            unique: Vec::new(),
            local: None,
        }
    }

    /// Sends requests until this is over.
    pub fn serve(&mut self, account: &Mutex<Account>, is_over: &AtomicBool) {
        while !is_over.load(Ordering::SeqCst) {
            self.step(account);
            thread::sleep(Duration::from_millis(self.rng.u64(PAUSE_MS)));
        }
    }

    fn step(&mut self, account: &Mutex<Account>) {
        if self.rng.u8(..8) == 0 {
            self.toggle_local(account);
        } else if self.unique.len() < MOST && self.rng.u8(..5) > 1 {
            let mut wanted = json!({"pool": "edge", "ttl": "1h"});
            if let Some(name) = self.free_name() {
                wanted["name"] = name.into();
            }
            let granted = self.take(account, &wanted);
            self.unique.extend(granted);
        } else if !self.unique.is_empty() {
            let index = self.rng.usize(..self.unique.len());
            let grant = self.unique.swap_remove(index);
            self.give_back(account, &grant);
        }
    }

    /// A name that no lease of this client has. `None` if the next lease is to have none.
    fn free_name(&mut self) -> Option<String> {
        let name = format!("c{}-{}", self.number, self.rng.usize(..NAMES));
        let mut names = self.unique.iter().filter_map(|grant| grant.name.as_ref());
        let is_free = !names.any(|known| *known == name);
        (is_free && self.rng.bool()).then_some(name)
    }

    /// Takes a name with a number of the local pool, or gives it back.
    fn toggle_local(&mut self, account: &Mutex<Account>) {
        if let Some(grant) = self.local.take() {
            self.give_back(account, &grant);
        } else {
            let name = format!("local-{}", self.number);
            self.local = self.take(account, &json!({"name": name, "ttl": "1h"}));
        }
    }

    fn take(&self, account: &Mutex<Account>, wanted: &Value) -> Option<Grant> {
        let answer = ask(&self.socket, "POST", "/api/v1/leases", Some(wanted));
        let mut account = account.lock().unwrap();
        let Some(answer) = answer else {
            let wrong = format!("{} gave no answer to {wanted}", self.host);
            account.wrongs.push(wrong);
            return None;
        };
        let document = answer.json();
        if answer.status >= 300 {
            account.refuse(document["code"].as_str().unwrap_or("no code"));
            return None;
        }
        let grant = Grant::read(&self.host, &document["leases"][0]).expect("a lease");
        account.grant(grant.clone());
        Some(grant)
    }

    fn give_back(&self, account: &Mutex<Account>, grant: &Grant) {
        account.lock().unwrap().ask_release(&grant.lease);
        let path = format!("/api/v1/leases/{}", grant.lease);
        let answer = ask(&self.socket, "DELETE", &path, None);
        let mut account = account.lock().unwrap();
        match answer {
            Some(answer) if answer.status < 300 => account.released += 1,
            other => {
                let wrong = format!("{grant:?} was not released: {other:?}");
                account.wrongs.push(wrong);
            }
        }
    }
}
