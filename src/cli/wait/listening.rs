//! Waiting for a listener, or for its first answer.

use std::pin::pin;
use std::time::Duration;

use super::http::{self, HttpPath};
use super::judge::{Followed, LISTENED};
use super::{Outcome, Place, Report, Subject, Waiting};
use crate::answers::document::LeaseDocument;
use crate::cli::Failure;
use crate::domain::attempt::{SocketState, printable};
use crate::domain::lease::State;
use crate::domain::port::Protocol;
use crate::host::occupancy::{self, Entry, Occupancy};
use crate::host::process;

/// Pause between two looks: the kernel has no event for a socket that begins to listen.
const ROUND: Duration = Duration::from_millis(100);

/// A wait for listeners, and what it has seen so far.
struct Vigil<'w, 'a> {
    waiting: &'w mut Waiting<'a>,
    path: Option<&'w HttpPath>,
    followed: Followed,
    living: Vec<LeaseDocument>,
    /// Whether leases may have changed since the last look.
    is_stale: bool,
}

pub(super) async fn until_listening(
    waiting: &mut Waiting<'_>,
    path: Option<&HttpPath>,
) -> Result<Report, Failure> {
    let mut vigil = Vigil::begin(waiting, path).await?;
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if vigil.is_stale
            && let Some(vain) = vigil.look().await?
        {
            return Ok(vain);
        }
        if let Some(done) = vigil.check().await? {
            let waiting = &mut *vigil.waiting;
            let follow = &waiting.follow;
            follow.have_seen(&waiting.subject, &vigil.living).await;
            return Ok(done);
        }
        tokio::select! {
            _ = rounds.tick() => vigil.followed.rename(),
            () = vigil.changed() => vigil.is_stale = true,
        }
    }
}

impl<'w, 'a> Vigil<'w, 'a> {
    async fn begin(
        waiting: &'w mut Waiting<'a>,
        path: Option<&'w HttpPath>,
    ) -> Result<Self, Failure> {
        waiting.find_places(&[]);
        // A port with a listener needs no look at the leases, unless it is the name of one. UDP holds
        // of portbook look like listeners.
        let is_udp = |place: &Place| place.protocol == Protocol::Udp;
        let mut is_stale =
            waiting.places.iter().any(is_udp) || listeners(&waiting.places, &[])?.is_none();
        if !is_stale {
            waiting.read_number().await?;
            is_stale = waiting.subject.is_name();
        }
        let goal = if path.is_some() { "answered" } else { LISTENED };
        Ok(Self {
            waiting,
            path,
            followed: Followed::until(goal),
            living: Vec::new(),
            is_stale,
        })
    }

    /// Looks at the leases. Returns the report if waiting is in vain.
    async fn look(&mut self) -> Result<Option<Report>, Failure> {
        self.is_stale = false;
        let Some(look) = self.waiting.look(&self.followed.ids()).await? else {
            return Ok(None);
        };
        let (subject, follow) = (&self.waiting.subject, &self.waiting.follow);
        let ending = self
            .followed
            .take(subject, &look, |lease| follow.was_parked(lease));
        self.waiting.find_places(&look.living);
        let waiting = &mut *self.waiting;
        waiting.follow.tell_of_none(&waiting.subject, &look.living);
        waiting.follow.tell_of_shut(&look.living);
        self.living = look.living;
        // A child of its program may listen.
        let ending = match ending {
            Some(ending) if ending.outcome == Outcome::Lost => ending,
            Some(ending) if self.listeners()?.is_none() => ending,
            _ => return Ok(None),
        };
        let report = Report::of(ending.outcome, &self.waiting.places);
        let taken = (ending.outcome == Outcome::Lost).then(|| taken(&ending.lease));
        let reason = taken.flatten().unwrap_or(ending.reason);
        Ok(Some(report.because(reason).by(ending.lease)))
    }

    fn listeners(&self) -> Result<Option<Vec<Entry>>, Failure> {
        listeners(&self.waiting.places, &self.living)
    }

    /// Looks at the ports. Returns the report if the wait is over.
    async fn check(&mut self) -> Result<Option<Report>, Failure> {
        let Some(listeners) = self.listeners()? else {
            self.waiting.last = self.still();
            return Ok(None);
        };
        if let Some(lease) = self.living.iter().find(|lease| is_taken(lease, &listeners)) {
            let report = Report::of(Outcome::Lost, &self.waiting.places);
            let reason = taken(lease).unwrap_or_default();
            return Ok(Some(report.because(reason).by(lease.clone())));
        }
        let Some(path) = self.path else {
            return Ok(Some(Report::of(Outcome::Listening, &self.waiting.places)));
        };
        if self.waiting.last.is_empty() {
            self.waiting.last = format!("GET {path} has no answer yet");
        }
        let addresses = http::reachable(&listeners);
        let mut answer = pin!(http::ask(&addresses, path));
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                () = self.changed() => {
                    if let Some(vain) = self.look().await? {
                        return Ok(Some(vain));
                    }
                }
            }
        };
        Ok(match answer {
            Ok(status) => {
                let mut report = Report::of(Outcome::Answered, &self.waiting.places);
                report.status = Some(status.as_u16());
                Some(report)
            }
            Err(heard) => {
                self.waiting.last = heard;
                None
            }
        })
    }

    async fn changed(&mut self) {
        let known = self.followed.ids();
        let waiting = &mut *self.waiting;
        waiting.follow.changed(&waiting.subject, &known).await;
    }

    /// Describes the missing listener and the state of the lease, or that there is no lease.
    fn still(&self) -> String {
        if let Some(none) = self.waiting.no_lease(&self.living) {
            return none;
        }
        let still = format!(
            "{} is still without a listener",
            self.waiting.named_places()
        );
        let Some(lease) = self.living.first() else {
            return still;
        };
        let (label, state) = (super::judge::label(lease), lease.state.describe());
        format!("{still} ({label}: {state})")
    }
}

/// Listeners, if there is one on each of the ports.
pub(super) fn listeners(
    places: &[Place],
    living: &[LeaseDocument],
) -> Result<Option<Vec<Entry>>, Failure> {
    let mut all = Vec::new();
    for place in places {
        let mut entries = listening_on(*place)?;
        if entries.is_empty() || is_held(*place, living) {
            return Ok(None);
        }
        all.append(&mut entries);
    }
    Ok((!all.is_empty()).then_some(all))
}

/// Whether an apparent listener is a hold of portbook: for UDP the kernel does not tell them apart.
fn is_held(place: Place, living: &[LeaseDocument]) -> bool {
    place.protocol == Protocol::Udp
        && living.iter().any(|lease| {
            (lease.port, lease.protocol) == (place.port, place.protocol)
                && lease.state == State::Reserved
        })
}

fn listening_on(place: Place) -> Result<Vec<Entry>, Failure> {
    let entries = match place.protocol {
        Protocol::Tcp => Occupancy::listeners_on(place.port),
        Protocol::Udp => Occupancy::on_port(Protocol::Udp, place.port),
    };
    let mut entries = entries
        .map_err(|error| Failure::other(format!("cannot read the socket tables: {error}")))?;
    entries.retain(|entry| entry.state == SocketState::Listening);
    Ok(entries)
}

/// Whether the listeners on the port of a lease that waits for its program are programs of another
/// folder.
fn is_taken(lease: &LeaseDocument, listeners: &[Entry]) -> bool {
    let Some(folder) = lease.directory.as_ref().filter(|_| lease.owner.is_none()) else {
        return false;
    };
    let on_port = listeners.iter().filter(|entry| entry.port == lease.port);
    let processes = occupancy::processes_of(on_port);
    let id = lease.id.to_string();
    let is_of_another = |pid| process::is_of_another_folder(pid, folder, &id);
    let mut processes = processes.values().flatten().peekable();
    processes.peek().is_some() && processes.all(|process| is_of_another(process.pid))
}

/// Names the program that has the port of a lease, with the folder that it works in. `None` if it
/// is hidden or gone.
pub(super) fn taken(lease: &LeaseDocument) -> Option<String> {
    let place = Place {
        port: lease.port,
        protocol: lease.protocol,
    };
    let listeners = occupancy::behind(listening_on(place).ok()?);
    let (_, occupant) = listeners.into_iter().find(|(_, it)| it.pid.is_some())?;
    let details = process::details(occupant.pid?, occupant.command.as_deref());
    let folder = details
        .directory
        .as_deref()
        .map(|folder| format!(", which works in {},", printable(&folder.to_string_lossy())));
    let (port, label) = (lease.port, super::judge::label(lease));
    let folder = folder.unwrap_or_default();
    Some(format!("{occupant}{folder} has port {port} of {label}"))
}

impl Subject {
    pub(super) const fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }
}
