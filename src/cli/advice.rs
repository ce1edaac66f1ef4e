//! Notes on leases for people: outsiders on their ports, and hints on their programs.

use std::io::{IsTerminal, stderr};

use super::note;
use crate::answers::document::LeaseDocument;
use crate::domain::hint::HintKind;

/// Prints what speaks against the use of these leases, on stderr. Programs with the same advice share a
/// line.
pub(super) fn tell_all(leases: &[LeaseDocument]) {
    for told in leases.iter().filter_map(outsiders) {
        note(&told);
    }
    let mut advised: Vec<(&str, Vec<String>)> = Vec::new();
    for (lease, hint) in leases
        .iter()
        .filter_map(|lease| Some((lease, lease.hint.as_ref()?)))
    {
        match advised.iter_mut().find(|(says, _)| *says == hint.says) {
            Some((_, whose)) => whose.push(called(lease)),
            None => advised.push((&hint.says, vec![called(lease)])),
        }
    }
    for (says, whose) in advised {
        note(&format!("{}: {says}", whose.join(", ")));
    }
}

/// Prints a hint on the last program of a name that starts again. That a program ended early is no
/// fault of many, so in a script it counts from the second time in a row.
pub(super) fn tell_before_start(lease: &LeaseDocument) {
    let is_due = lease.hint.as_ref().is_some_and(|hint| match hint.kind {
        HintKind::NeverListened => hint.times > 1 || stderr().is_terminal(),
        HintKind::Elsewhere
        | HintKind::Neighbours
        | HintKind::SocketsIgnored
        | HintKind::ShutByFence
        | HintKind::ClaimLost => true,
    });
    if let Some(told) = hint(lease).filter(|_| is_due) {
        note(&format!("last time: {told}"));
    }
}

/// Tells of the outsiders on the port of a lease. `None` if there are none.
fn outsiders(lease: &LeaseDocument) -> Option<String> {
    let outsiders = lease.outsiders.iter();
    let outsiders: Vec<String> = outsiders.map(ToString::to_string).collect();
    let who = outsiders.join(", ");
    (!who.is_empty()).then(|| format!("{} has an outsider too: {who}", called(lease)))
}

fn hint(lease: &LeaseDocument) -> Option<String> {
    let hint = lease.hint.as_ref()?;
    Some(format!("{}: {}", called(lease), hint.says))
}

/// "web (24117)", or the port alone.
fn called(lease: &LeaseDocument) -> String {
    let port = lease.port;
    let name = lease.name.as_ref();
    name.map_or_else(|| port.to_string(), |name| format!("{name} ({port})"))
}
