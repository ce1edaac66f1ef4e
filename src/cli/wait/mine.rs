//! `wait NAME --mine`: whether the program of a name, and no other one, listens at this moment.

use super::http::{self, HttpPath};
use super::judge::label;
use super::listening::{listeners, taken};
use super::{Outcome, Report, Waiting};
use crate::answers::document::LeaseDocument;
use crate::cli::Failure;
use crate::domain::lease::State;
use crate::host::occupancy::{Entry, processes_of};
use crate::host::process::{self, Process};

/// Looks once, at leases and listeners.
pub(super) async fn serves(
    waiting: &mut Waiting<'_>,
    path: Option<&HttpPath>,
) -> Result<Report, Failure> {
    let look = waiting.look(&[]).await?;
    if !waiting.subject.is_name() {
        return Err(Failure::usage(
            "--mine asks about a name: a port by its number means any listener",
        ));
    }
    let living = look.unwrap_or_default().living;
    waiting.find_places(&living);
    let report = |outcome| Report::of(outcome, &waiting.places);
    let Some(listening) = listeners(&waiting.places, &living)? else {
        let none = || format!("{} has no listener", waiting.named_places());
        let why = waiting.no_lease(&living).unwrap_or_else(none);
        return Ok(report(Outcome::Absent).because(why));
    };
    if let Some(lease) = living.iter().find(|lease| !is_served(lease, &listening)) {
        return Ok(report(Outcome::Lost)
            .because(not_its_own(lease))
            .by(lease.clone()));
    }
    let Some(path) = path else {
        return Ok(report(Outcome::Listening));
    };
    Ok(match http::ask(&http::reachable(&listening), path).await {
        Ok(status) => Report {
            status: Some(status.as_u16()),
            ..report(Outcome::Answered)
        },
        Err(heard) => report(Outcome::Absent).because(heard),
    })
}

/// Whether each listener on the port of a lease is its program, or descends from it. Where the kernel
/// hides a listener's process, the service's word counts, and its user.
fn is_served(lease: &LeaseDocument, listening: &[Entry]) -> bool {
    let Some(owner) = &lease.owner else {
        return false;
    };
    let id = lease.id.to_string();
    let is_own = |process: &Process| {
        process::is_descendant(process.pid, owner.pid) || process::mark_of(process.pid).names(&id)
    };
    let on_port = || listening.iter().filter(|entry| entry.port == lease.port);
    let processes = processes_of(on_port());
    on_port().all(|entry| match processes.get(&entry.inode) {
        Some(with_it) => with_it.iter().any(is_own),
        None => lease.state == State::Active && entry.uid == Some(owner.uid),
    })
}

fn not_its_own(lease: &LeaseDocument) -> String {
    let other = || {
        let (port, label) = (lease.port, label(lease));
        format!("a program other than that of {label} listens on port {port}")
    };
    taken(lease).unwrap_or_else(other)
}
