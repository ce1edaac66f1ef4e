//! Who is in the way of one search. The tables and processes are read at its first refused bind
//! and then kept, so that sixteen busy candidates cost one walk of `/proc` and not sixteen.

use std::collections::{HashMap, HashSet};

use crate::domain::attempt::{Attempt, Occupant, SocketState};
use crate::host::occupancy::{Entry, Occupancy, holders};
use crate::host::process::Process;

/// What is known of others' sockets during one search.
#[derive(Debug, Default)]
pub struct Occupants {
    tables: Option<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    entries: Vec<Entry>,
    processes: HashMap<u64, Vec<Process>>,
}

impl Tables {
    fn read(attempt: &Attempt) -> Self {
        let tables = Occupancy::snapshot(&[attempt.protocol]).unwrap_or_default();
        // Whoever listens, and whoever is on this very port: not portbook's own thousands of holds,
        // which are bound and do not listen.
        let inodes: HashSet<u64> = tables
            .entries
            .iter()
            .filter(|entry| entry.state == SocketState::Listening || entry.port == attempt.port)
            .map(|entry| entry.inode)
            .collect();
        Self {
            processes: holders(&inodes),
            entries: tables.entries,
        }
    }
}

impl Occupants {
    /// Who was in the way of a refused attempt, as far as the kernel tells.
    pub fn of(&mut self, attempt: &Attempt) -> Option<Occupant> {
        if self
            .tables
            .as_ref()
            .is_none_or(|tables| !tables.covers(attempt))
        {
            self.tables = Some(Tables::read(attempt));
        }
        let tables = self.tables.as_ref()?;
        let in_the_way = tables
            .entries
            .iter()
            .filter(|entry| entry.port == attempt.port && entry.overlaps(&attempt.address))
            .min_by_key(|entry| entry.state.rank())?;
        let process = tables
            .processes
            .get(&in_the_way.inode)
            .and_then(|all| all.first());
        Some(Occupant {
            pid: process.map(|process| process.pid),
            uid: in_the_way.uid,
            command: process.and_then(|process| process.command.clone()),
            state: in_the_way.state,
        })
    }
}

impl Tables {
    fn covers(&self, attempt: &Attempt) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.protocol == attempt.protocol)
    }
}
