//! Losses: who won instead, and whether the service reported them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use portbook::domain::port::{Port, Protocol};
use portbook::internals::Occupancy;
use serde::{Deserialize, Serialize};

use crate::common::api::Api;
use crate::rivals::Kind;

/// A port that a client was given and could not bind.
#[derive(Debug, Serialize, Deserialize)]
pub struct Loss {
    /// The lease, where portbook gave it.
    pub lease: Option<String>,
    /// Rival that had the port instead.
    pub winner: String,
    /// Whether the loser kept its lease for a while.
    pub patient: bool,
}

/// Occupant of a port, by the uid in the kernel's table.
pub fn winner(port: u16) -> String {
    let port = Port::new(port);
    // All but those who connect listen; the whole table of connections takes long to read.
    let listeners = port.and_then(|port| Occupancy::listeners_on(port).ok());
    let mut found = listeners.unwrap_or_default();
    if let Some(port) = port.filter(|_| found.is_empty()) {
        found = Occupancy::on_port(Protocol::Tcp, port).unwrap_or_default();
    }
    found.sort_by_key(|entry| entry.state.rank());
    match found.first().and_then(|entry| entry.uid) {
        Some(uid) => Kind::of_uid(uid).map_or_else(|| "another client".to_owned(), Kind::word),
        None => "gone again".to_owned(),
    }
}

/// Number of wins of each rival.
pub fn by_winner(losses: &[Loss]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for loss in losses {
        *counts.entry(loss.winner.as_str()).or_default() += 1;
    }
    counts
}

/// Reports of the running service.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    /// The leases of which it reported a late conflict.
    conflicts: BTreeSet<String>,
    /// Number of notices about dropped events.
    gaps: u64,
}

impl Reports {
    /// Listens to a service's events from now on.
    pub fn of(socket: &Path) -> Result<Self> {
        let (reports, api) = (Self::default(), Api::connect(socket)?);
        let reported = Arc::clone(&reports.0);
        std::thread::spawn(move || {
            // Ends, with an error or without, when the service does.
            let _ = api.listen(|kind, event| {
                let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
                match (kind, event["lease"].as_str()) {
                    ("late_conflict", Some(lease)) => {
                        reported.conflicts.insert(lease.to_owned());
                    }
                    ("resync", _) => reported.gaps += 1,
                    _ => {}
                }
            });
        });
        Ok(reports)
    }

    /// Number of these losses that were reported, and number of reports without a loss.
    pub fn compare(&self, losses: &[Loss]) -> Compared {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_reported = |loss: &&Loss| {
            let lease = loss.lease.as_ref();
            lease.is_some_and(|lease| reported.conflicts.contains(lease))
        };
        let of = |patient: bool| {
            let these = || losses.iter().filter(move |loss| loss.patient == patient);
            (these().filter(is_reported).count(), these().count())
        };
        let (kept, given_up) = (of(true), of(false));
        Compared {
            kept,
            given_up,
            others: reported.conflicts.len() - kept.0 - given_up.0,
            gaps: reported.gaps,
        }
    }
}

/// Losses beside reports.
pub struct Compared {
    /// Of losers that kept their lease: how many were reported, of how many.
    pub kept: (usize, usize),
    /// Of losers that gave their lease back at once.
    pub given_up: (usize, usize),
    /// Reports of leases that no client lost.
    pub others: usize,
    /// Number of the service's notices about dropped events.
    pub gaps: u64,
}
