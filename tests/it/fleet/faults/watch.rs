//! The watch over a run: the account of its clients, its faults, and looks at the engine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::super::drill::course::Course;
use super::account::{Account, Grant};
use super::fault::Fault;
use super::judge;
use super::members::Console;
use crate::support::Server;

/// Lines of the logs that tell of a host without its engine.
const ENDED: &str = "the session of this host in the fleet has ended";
const ALONE: &str = "fleet: alone";

/// The watch.
pub struct Watch {
    pub console: Console,
    pub account: Mutex<Account>,
    /// Whether each fault is told on stderr.
    pub is_told: bool,
    done: Mutex<BTreeMap<Fault, usize>>,
    logs: Vec<PathBuf>,
    course: Course,
}

impl Watch {
    pub fn new(console: &Console, servers: &[Server]) -> Self {
        let log = |server: &Server| server.socket().with_file_name("../data.log");
        Self {
            console: console.clone(),
            account: Mutex::default(),
            is_told: false,
            done: Mutex::default(),
            logs: servers.iter().map(log).collect(),
            course: Course::begin(Duration::MAX),
        }
    }

    /// Counts a fault, and looks whether the engine has what was held before and after the look.
    pub fn look(&self, fault: Fault) {
        let before = self.held();
        let keys = self.console.keys();
        let after = self.held();
        let both: Vec<Grant> = before
            .into_iter()
            .filter(|one| after.contains(one))
            .collect();
        self.lose(judge::missing(&both, &keys));
        let mut done = self.done.lock().unwrap();
        *done.entry(fault).or_default() += 1;
        self.tell(&format!("{} {fault:?}", done.values().sum::<usize>()));
    }

    /// Grants for which no release was asked.
    pub fn held(&self) -> Vec<Grant> {
        self.account.lock().unwrap().held()
    }

    pub fn lose(&self, missing: Vec<String>) {
        self.account.lock().unwrap().lose(missing);
    }

    pub fn is_right(&self) -> bool {
        self.account.lock().unwrap().wrongs.is_empty()
    }

    /// Number of kinds of faults that were done.
    pub fn kinds(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Fails, with all logs, if anything went wrong.
    pub fn check(&self) {
        let account = self.account.lock().unwrap();
        if !account.wrongs.is_empty() {
            write(&self.logs().join("\n\n"));
            panic!("{:#?}", account.wrongs);
        }
    }

    pub fn tell(&self, what: &str) {
        if self.is_told {
            let seconds = self.course.elapsed().as_secs_f64();
            write(&format!("{seconds:7.1} s  {what}"));
        }
    }

    /// Tells what came of the run.
    pub fn sum_up(&self, title: &str) {
        let (account, done) = (self.account.lock().unwrap(), self.done.lock().unwrap());
        let Account {
            granted,
            released,
            named,
            refused,
            doubled,
            lost,
            ..
        } = &*account;
        let total: usize = done.values().sum();
        let logs = self.logs();
        let count = |text| {
            logs.iter()
                .map(|log| log.matches(text).count())
                .sum::<usize>()
        };
        let (ended, alone) = (count(ENDED), count(ALONE));
        write(&format!(
            "{title}: {total} faults {done:?} in {:.0?}; {granted} unique numbers and {named} names granted, {released} leases released, refused {refused:?}; {ended} sessions ended, hosts alone {alone} times; {lost} lost, {doubled} doubled",
            self.course.elapsed()
        ));
    }

    fn logs(&self) -> Vec<String> {
        let read = |log| std::fs::read_to_string(log).unwrap_or_default();
        self.logs.iter().map(read).collect()
    }
}

fn write(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
