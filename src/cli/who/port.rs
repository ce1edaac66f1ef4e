//! One port in words: its leases, its occupants, attempts on it, and earlier occupants.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::super::folder;
use super::super::stats::by;
use super::Local;
use crate::answers::document::{
    LeaseDocument, LeaseLink, OccupantDocument, PortDocument, PortRecord, ProcessDocument,
    SightingDocument,
};
use crate::domain::attempt::{SocketState, printable};
use crate::domain::relation::Relation;

/// Maximum number of attempts to print.
const ATTEMPTS: usize = 5;

/// Maximum number of sightings to print.
const SIGHTINGS: usize = 5;

/// Describes a port for one protocol or both; those in use come first.
pub(super) fn text(found: &[&PortDocument], local: &Local) -> String {
    let (free, taken): (Vec<&PortDocument>, Vec<&PortDocument>) =
        found.iter().partition(|one| is_free(one));
    let mut text: String = taken.iter().map(|one| on_it(one)).collect();
    let _ = match &free[..] {
        [] => Ok(()),
        [only] => writeln!(text, "{} is free", place(only)),
        [first, ..] => writeln!(text, "{} is free, for TCP and UDP", first.port),
    };
    for one in taken.into_iter().chain(free) {
        text += &past(one, local);
    }
    text
}

const fn is_free(found: &PortDocument) -> bool {
    found.leases.is_empty()
        && found.occupants.is_empty()
        && found.exclusion.is_none()
        && found.redirected.is_none()
}

fn place(found: &PortDocument) -> String {
    format!("{}/{}", found.port, found.protocol)
}

fn on_it(found: &PortDocument) -> String {
    let mut text = String::new();
    let at = place(found);
    if let Some(exclusion) = &found.exclusion {
        let _ = writeln!(text, "{at} is excluded by {exclusion}");
    }
    if let Some(ip) = found.redirected {
        let _ = writeln!(
            text,
            "{at} is redirected on {ip}: a packet filter sends connections elsewhere, such as to a container"
        );
    }
    for lease in &found.leases {
        let _ = writeln!(text, "{at} is leased{}", leased(lease));
        text.extend(lease.owner.as_ref().map(|owner| more(&owner.process)));
        let hint = lease.hint.as_ref();
        text.extend(hint.map(|hint| format!("  hint: {}\n", printable(&hint.says))));
    }
    for occupant in &found.occupants {
        let _ = writeln!(text, "{at} is {}", occupied(occupant));
        text.push_str(&more(&occupant.process));
    }
    text
}

fn leased(lease: &LeaseDocument) -> String {
    let name = lease.name.as_ref();
    let name = name.map_or_else(String::new, |_| {
        format!(" to {}", printable(&folder::title(lease)))
    });
    let owner = lease.owner.as_ref().map_or_else(String::new, |owner| {
        let command = printable(&owner.command);
        let asks = lease.mapped_from;
        let asks = asks.map_or_else(String::new, |from| format!(", which asks for {from}"));
        format!(", owned by {command} (pid {}){asks}", owner.pid)
    });
    let owner = if lease.spare {
        format!("{owner}, as a spare of --map all")
    } else {
        owner
    };
    let on = hosts(&lease.addresses);
    let (state, uid) = (lease.state.as_str(), lease.uid);
    format!("{name}: {state}, uid {uid}{owner}, for {on}")
}

fn occupied(found: &OccupantDocument) -> String {
    let (state, occupant) = (found.occupant.state.as_str(), &found.occupant);
    let on = hosts(&found.addresses);
    let on = if on.is_empty() {
        on
    } else {
        format!(" on {on}{}", reach(&found.addresses))
    };
    match found.relation {
        Relation::Owner => format!("served{on}: {state} by {occupant}, the lease's own"),
        Relation::Portbook => format!("served{on}: {state} by portbook itself"),
        // A connection that is over has no process: it may well be the owner's.
        Relation::Stranger if found.occupant.state == SocketState::Lingering => {
            format!("not in use{on}, where a closing connection lingers")
        }
        Relation::Stranger => {
            let holds = found.holds.as_ref().map(holds).unwrap_or_default();
            format!("occupied{on}: {state} by {occupant}, an outsider{holds}")
        }
    }
}

/// Hint on a program that does not listen on the port of its lease.
fn holds(lease: &LeaseLink) -> String {
    let name = lease.name.as_ref();
    let name = name.map_or_else(|| "a lease".to_owned(), |name| format!("lease {name}"));
    format!(
        " here: its program holds {name} (port {}) and listens on this one instead; pass it {{port}}",
        lease.port
    )
}

/// `0.0.0.0 [::]`: addresses without their port.
pub(super) fn hosts(addresses: &[String]) -> String {
    let host = |address: &String| {
        let host = address
            .rsplit_once(':')
            .map_or(&**address, |(host, _)| host);
        host.to_owned()
    };
    let hosts: Vec<String> = addresses.iter().map(host).collect();
    hosts.join(" ")
}

/// Reach of sockets on these addresses, if it is plain.
fn reach(addresses: &[String]) -> &'static str {
    let ips = addresses.iter().map(|address| {
        let address = address.parse::<SocketAddr>().ok()?;
        Some(address.ip())
    });
    let ips: Option<Vec<IpAddr>> = ips.collect();
    let ips = ips.unwrap_or_default();
    match &ips[..] {
        [] => "",
        ips if ips.iter().any(IpAddr::is_unspecified) => " (every interface)",
        ips if ips.iter().all(IpAddr::is_loopback) => " (this host alone)",
        _ => "",
    }
}

/// Further facts on a process, on a line of its own.
fn more(process: &ProcessDocument) -> String {
    let path = |path: &std::path::PathBuf| path.display().to_string();
    let parts = [
        ("program", process.executable.as_ref().map(path)),
        ("folder", process.directory.as_ref().map(path)),
        ("user", process.user.clone()),
        ("container", process.container_name.clone()),
        ("container", process.container.clone()),
        ("unit", process.unit.clone()),
    ];
    let told = parts.into_iter().filter_map(|(what, value)| {
        let value = value?;
        Some(format!("{what} {}", printable(&value)))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        return String::new();
    }
    format!("  {}\n", told.join(", "))
}

/// Attempts on a port, and sightings of other programs.
fn past(found: &PortDocument, local: &Local) -> String {
    let mut text = String::new();
    text.extend(found.record.as_ref().map(|one| record(one, local)));
    for attempt in found.attempts.iter().take(ATTEMPTS) {
        let occupant = attempt.occupant.as_ref();
        let by = occupant.map_or_else(String::new, |occupant| format!(" by {occupant}"));
        let (outcome, address) = (&attempt.outcome, &attempt.address);
        let at = local.second(attempt.at);
        let _ = writeln!(text, "  {at}  {outcome} on {address}{by}");
    }
    text + &seen(&found.sightings, local)
}

/// One line for each program that was seen; a program on several addresses is one.
fn seen(sightings: &[SightingDocument], local: &Local) -> String {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for sighting in sightings {
        let when = local.span(sighting.from, sighting.until);
        let line = format!("  seen {when}: {sighting}");
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, addresses)) => addresses.push(&sighting.address),
            None => lines.push((line, vec![&sighting.address])),
        }
    }
    let mut text = String::new();
    for (line, addresses) in lines.into_iter().take(SIGHTINGS) {
        let _ = writeln!(text, "{line} on {}", addresses.join(" "));
    }
    text
}

fn record(record: &PortRecord, local: &Local) -> String {
    let outcomes = &record.outcomes;
    let rate = outcomes.success_rate.unwrap_or_default() * 100.0;
    let mut text = format!(
        "  on record: {} attempts, {rate:.1} % got it",
        outcomes.attempts
    );
    if let Some(at) = record.last_at {
        let _ = write!(text, ", last at {}", local.moment(at));
    }
    if !record.occupants.is_empty() {
        let by = printable(&by(&record.occupants));
        let _ = write!(text, "; in the way: {by}");
    }
    text.push('\n');
    text
}
