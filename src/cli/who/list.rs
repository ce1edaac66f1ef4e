//! Many ports at once: every process that listens, and leases without a listener.

use serde_json::json;

use super::super::{note, table::table};
use super::port::hosts;
use super::{Answer, wanted};
use crate::answers::document::{
    LeaseDocument, LeaseLink, ListenerDocument, OccupantDocument, VERSION,
};
use crate::cli::Failure;
use crate::domain::port::{PortSet, Protocol};
use crate::domain::relation::Relation;
use crate::host::process::user_name;
use crate::library::backend::Backend;

const HEADING: [&str; 7] = [
    "PORT", "PROTO", "ADDRESS", "PROGRAM", "USER", "LEASE", "FOLDER",
];

pub(super) async fn every(
    backend: &Backend,
    protocol: Option<Protocol>,
) -> Result<Answer, Failure> {
    let listeners = backend.listeners(None, protocol).await?;
    answer(&listeners, &[], "nothing listens on this host")
}

/// Listeners on some ports, and the leases there without a listener.
pub(super) async fn on(
    backend: &Backend,
    ports: &PortSet,
    protocol: Option<Protocol>,
) -> Result<Answer, Failure> {
    let listeners = backend.listeners(Some(ports.clone()), protocol).await?;
    let mut leases = backend.leases(false).await?;
    let is_listed = |lease: &LeaseDocument| {
        let mut links = listeners.iter().map(|one| &one.occupant.lease);
        links.any(|link| link.as_ref().is_some_and(|link| link.id == lease.id))
    };
    leases.retain(|lease| {
        ports.contains(lease.port)
            && wanted(protocol).contains(&lease.protocol)
            && !is_listed(lease)
    });
    let nothing = format!("nothing listens on {ports}, and no lease keeps any of it");
    answer(&listeners, &leases, &nothing)
}

fn answer(
    listeners: &[ListenerDocument],
    leases: &[LeaseDocument],
    nothing: &str,
) -> Result<Answer, Failure> {
    let listening = listeners.iter().map(|one| {
        let place = (one.port, one.protocol);
        (place, listener(one))
    });
    let silent = leases
        .iter()
        .map(|one| ((one.port, one.protocol), lease(one)));
    let mut rows: Vec<_> = listening.chain(silent).collect();
    rows.sort_by_key(|(place, _)| *place);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    let text = if rows.is_empty() {
        note(nothing);
        String::new()
    } else {
        table(&HEADING, &rows)
    };
    let document = json!({ "version": VERSION, "listeners": listeners, "leases": leases });
    Answer::of(text, &document)
}

fn listener(found: &ListenerDocument) -> Vec<String> {
    let one = &found.occupant;
    let (occupant, process) = (&one.occupant, &one.process);
    let program = match (&occupant.command, occupant.pid) {
        (Some(command), Some(pid)) => format!("{command}/{pid}"),
        (None, Some(pid)) => pid.to_string(),
        _ => "-".to_owned(),
    };
    let user = process.user.clone();
    let user = user.or_else(|| occupant.uid.map(|uid| uid.to_string()));
    // The folder of the name, else the working directory of the program.
    let folder = one.lease.as_ref().and_then(|lease| lease.directory.clone());
    let folder = folder.or_else(|| process.directory.clone());
    let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
    row(
        (found.port.to_string(), found.protocol),
        hosts(&one.addresses),
        [Some(program), user, Some(relation(one)), folder],
    )
}

fn relation(one: &OccupantDocument) -> String {
    match (one.relation, &one.lease, &one.holds) {
        (Relation::Portbook, ..) => "portbook".to_owned(),
        (Relation::Owner, Some(lease), _) => label(lease),
        (_, Some(lease), _) => format!("outsider on {}", label(lease)),
        (_, None, Some(lease)) => format!("outsider, holds {} ({})", label(lease), lease.port),
        (_, None, None) => "outsider".to_owned(),
    }
}

fn label(lease: &LeaseLink) -> String {
    let name = lease.name.as_ref().map(ToString::to_string);
    name.unwrap_or_else(|| format!("lease of uid {}", lease.uid))
}

/// Row of a lease without a listener.
fn lease(lease: &LeaseDocument) -> Vec<String> {
    let name = lease.name.as_ref().map(ToString::to_string);
    let name = name.unwrap_or_else(|| format!("lease of uid {}", lease.uid));
    let program = lease.owner.as_ref();
    let program = program.map(|owner| format!("{}/{}", owner.command, owner.pid));
    let folder = lease.directory.as_ref();
    row(
        (lease.port.to_string(), lease.protocol),
        hosts(&lease.addresses),
        [
            program,
            user_name(lease.uid).or_else(|| Some(lease.uid.to_string())),
            Some(format!("{name} ({})", lease.state.as_str())),
            folder.map(|folder| folder.to_string_lossy().into_owned()),
        ],
    )
}

fn row(
    (port, protocol): (String, Protocol),
    hosts: String,
    rest: [Option<String>; 4],
) -> Vec<String> {
    let rest = rest.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
    let first = [port, protocol.to_string(), hosts];
    first.into_iter().chain(rest).collect()
}
