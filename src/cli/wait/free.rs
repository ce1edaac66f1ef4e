//! Waiting for a free port.

use std::time::Duration;

use super::judge::label;
use super::{Outcome, Place, Report, Waiting};
use crate::answers::document::{LeaseDocument, PortDocument};
use crate::cli::Failure;
use crate::domain::attempt::{Occupant, printable};
use crate::domain::lease::{LeaseId, State};
use crate::domain::port::Protocol;
use crate::host::closing::ClosingSockets;
use crate::host::occupancy::{self, Occupancy};
use crate::host::readiness::Readiness;

/// Pause between two looks at UDP sockets, whose ends the kernel does not report.
const ROUND: Duration = Duration::from_millis(100);

/// Pause between two looks at TCP sockets: the kernel reports most ends, but not that of TIME_WAIT.
const SECOND_LOOK: Duration = Duration::from_secs(1);

pub(super) async fn until_free(waiting: &mut Waiting<'_>) -> Result<Report, Failure> {
    let failed = |error: std::io::Error| {
        Failure::other(format!("cannot watch for closing sockets: {error}"))
    };
    // Subscribed before looking, so that no end is missed in between. The kernel reports TCP alone.
    let news = ClosingSockets::open().map_err(failed)?;
    let closing = Readiness::of(news.descriptor().map_err(failed)?).map_err(failed)?;
    waiting.read_number().await?;
    waiting.find_places(&[]);
    let mut known: Vec<LeaseId> = Vec::new();
    let mut is_stale = true;
    loop {
        if !waiting.places.is_empty() && all_free(&waiting.places)? {
            return Ok(Report::of(Outcome::Free, &waiting.places));
        }
        if is_stale && let Some(look) = waiting.look(&known).await? {
            if waiting.subject.is_name() && look.living.is_empty() {
                return no_lease(waiting);
            }
            known = look.living.iter().map(|lease| lease.id).collect();
            waiting.find_places(&look.living);
            if let Some(kept) = kept(&look.living, &waiting.places) {
                return Ok(kept);
            }
            if all_free(&waiting.places)? {
                continue;
            }
        }
        is_stale = tokio::select! {
            heard = closing.readable() => {
                heard.map_err(failed)?;
                news.drain();
                false
            }
            () = tokio::time::sleep(round(&waiting.places)) => false,
            () = waiting.follow.changed(&waiting.subject, &known) => true,
        };
    }
}

fn round(places: &[Place]) -> Duration {
    let is_udp = |place: &Place| place.protocol == Protocol::Udp;
    if places.iter().any(is_udp) {
        ROUND
    } else {
        SECOND_LOOK
    }
}

/// Reports that the lease of a name has ended, or that there was none.
fn no_lease(waiting: &Waiting<'_>) -> Result<Report, Failure> {
    let name = waiting.named_places();
    if waiting.places.is_empty() {
        return Err(Failure::other(format!(
            "there is no {name} here; `portbook list` shows all leases"
        )));
    }
    Ok(Report::of(Outcome::Free, &waiting.places))
}

fn all_free(places: &[Place]) -> Result<bool, Failure> {
    for place in places {
        let entries = Occupancy::on_port(place.protocol, place.port);
        let entries = entries
            .map_err(|error| Failure::other(format!("cannot read the socket tables: {error}")))?;
        if !entries.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reports a name whose program is away: it keeps the port until it is released, so that waiting
/// never ends.
fn kept(living: &[LeaseDocument], places: &[Place]) -> Option<Report> {
    let is_meant = |lease: &&LeaseDocument| {
        let place = Place {
            port: lease.port,
            protocol: lease.protocol,
        };
        lease.state == State::Reserved && places.contains(&place)
    };
    let lease = living.iter().find(is_meant)?;
    let (port, protocol) = (lease.port, lease.protocol);
    let whose = match &lease.name {
        Some(_) => label(lease),
        None => format!("a name of uid {}", lease.uid),
    };
    let way_out = match &lease.name {
        Some(name) => format!("`portbook release {name}` gives it back"),
        None => "its user can release it".to_owned(),
    };
    let detail = format!(
        "port {port}/{protocol} is kept for {whose}, whose program is away, and does not become free \
         by itself: {way_out}"
    );
    let report = Report::of(Outcome::Kept, places).because(detail);
    Some(report.by(lease.clone()))
}

/// Names the occupants of the ports, as `who` does.
pub(super) async fn who_is_there(waiting: &Waiting<'_>) -> String {
    let mut told = Vec::new();
    if let Some(backend) = waiting.follow.backend().await {
        for place in &waiting.places {
            let found = backend.port(place.protocol, place.port).await;
            told.extend(found.ok().and_then(|found| words(&found)));
        }
        backend.close().await;
    } else {
        told.extend(waiting.places.iter().copied().filter_map(by_the_kernel));
    }
    let still = format!("{} is still in use", waiting.named_places());
    if told.is_empty() {
        return still;
    }
    format!("{still}: {}", told.join(", "))
}

fn words(found: &PortDocument) -> Option<String> {
    let lease = found.leases.first().map(|lease| {
        let owner = lease.owner.as_ref();
        let owner =
            owner.map(|owner| format!(", {} (pid {})", printable(&owner.command), owner.pid));
        format!("kept for {}{}", label(lease), owner.unwrap_or_default())
    });
    let occupant = found.occupants.first();
    lease.or_else(|| occupant.map(|found| by(&found.occupant)))
}

fn by_the_kernel(place: Place) -> Option<String> {
    let entries = Occupancy::on_port(place.protocol, place.port).ok()?;
    let (_, occupant) = occupancy::behind(entries).into_iter().next()?;
    Some(by(&occupant))
}

fn by(occupant: &Occupant) -> String {
    format!("{} by {occupant}", occupant.state.as_str())
}
