//! Giving leases back: a question first where programs listen on them, and afterwards what is true.

use actix_web::HttpResponse;
use askama::Template;

use super::errors::PageError;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::lease::folder;
use crate::access::Viewer;
use crate::api::document::{LeaseDocument, listener_of};
use crate::api::problem::Problem;
use crate::api::{AppState, leases, ports};
use crate::domain::attempt::Occupant;
use crate::domain::lease::{LeaseId, State};
use crate::domain::words::counted;
use crate::engine::refusal::Refusal;

/// How many ports are looked up in the kernel's tables for one page.
const LOOKS: usize = 16;

/// How many leases one answer tells of.
const TOLD: usize = 100;

/// The question.
#[derive(Debug, Template)]
#[template(path = "release.html")]
pub(super) struct ReleasePage {
    frame: Frame,
    /// Where the form goes.
    action: String,
    /// Where the reader came from.
    from: String,
    /// The query of the list, for afterwards.
    back: String,
    ids: Vec<String>,
    listening: Vec<Listening>,
    /// Those of the chosen that can go without a question.
    others: Option<String>,
}

/// A lease on which a program listens.
#[derive(Debug)]
struct Listening {
    port: u16,
    protocol: &'static str,
    name: Option<String>,
    folder: Option<String>,
    who: String,
}

/// What a form asks for.
pub(super) struct Wish<'a> {
    pub(super) chosen: Vec<LeaseId>,
    /// The answer to the question was yes.
    pub(super) forced: bool,
    /// Where the form goes.
    pub(super) action: &'a str,
    /// Where the reader came from.
    pub(super) from: String,
    /// The query of the list.
    pub(super) back: &'a Params,
}

/// Gives leases back, and leads to `after`; or asks, where a program listens on one of them. One
/// that has ended meanwhile is no failure.
pub(super) async fn release(
    face: &AppState,
    viewer: &Viewer,
    frame: Frame,
    wish: Wish<'_>,
    after: &str,
) -> Result<HttpResponse, PageError> {
    let caller = viewer.caller()?;
    if !wish.forced {
        let living = wish.chosen.iter().filter_map(|id| face.service.lease(*id));
        let clock = face.service.clock();
        let living: Vec<LeaseDocument> = living
            .filter(|lease| caller.may_act_for(lease.uid))
            .map(|lease| LeaseDocument::of(&lease, clock))
            .collect();
        let listening = listening(face, viewer, &living).await;
        if !listening.is_empty() {
            return Ok(Page(question(frame, wish, listening)).answer());
        }
    }
    for id in wish.chosen {
        match face.service.release(caller, id).await {
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(Problem::from(refusal).into()),
        }
    }
    Ok(see(after))
}

fn question(frame: Frame, wish: Wish<'_>, listening: Vec<Listening>) -> ReleasePage {
    let others = wish.chosen.len().saturating_sub(listening.len());
    ReleasePage {
        frame,
        action: wish.action.to_owned(),
        from: wish.from,
        back: wish.back.query(),
        others: (others > 0).then(|| counted(others, "other lease")),
        ids: wish.chosen.iter().map(ToString::to_string).collect(),
        listening,
    }
}

/// Of these leases those on which a program listens.
async fn listening(face: &AppState, viewer: &Viewer, living: &[LeaseDocument]) -> Vec<Listening> {
    let mut found = Vec::new();
    let mut looks = 0;
    for lease in living.iter().filter(|lease| lease.may_be_listened_on()) {
        let mut who = None;
        if looks < LOOKS {
            looks += 1;
            who = listener(face, viewer, lease).await.map(|it| it.to_string());
        } else if lease.is_listened_on() {
            let owner = lease.owner.as_ref();
            who = Some(owner.map_or_else(String::new, |owner| {
                format!("{} (pid {})", owner.command, owner.pid)
            }));
        }
        found.extend(who.map(|who| Listening {
            port: lease.port.get(),
            protocol: lease.protocol.as_str(),
            name: lease.name.as_ref().map(ToString::to_string),
            folder: folder(lease),
            who: crate::domain::attempt::printable(&who),
        }));
    }
    found
}

/// The program that listens on the port of a lease, as the kernel tells now.
async fn listener(face: &AppState, viewer: &Viewer, lease: &LeaseDocument) -> Option<Occupant> {
    let sockets = ports::sockets(&face.service, lease.protocol, lease.port).await;
    let me = std::process::id();
    let occupants = sockets.iter().filter_map(|socket| socket.seen_by(viewer));
    let occupants: Vec<Occupant> = occupants.filter(|found| found.pid != Some(me)).collect();
    let on_port = face.service.leases_on(lease.protocol, lease.port);
    let is_alone = on_port.iter().all(|other| other.id == lease.id);
    listener_of(lease, is_alone, occupants.iter()).cloned()
}

/// What a page says of leases that were just released: which they are stands in its address, and
/// what became of them on record and in the kernel, so that no link can make it say anything else.
pub(super) async fn told(face: &AppState, viewer: &Viewer, ids: &str) -> Option<String> {
    viewer.caller().ok()?;
    let ids = ids.split(',').take(TOLD);
    let mut released = Vec::new();
    for id in ids.filter_map(|id| id.parse::<LeaseId>().ok()) {
        let stored = face.service.store().lease(id).await.ok().flatten();
        let lease = stored.map(|stored| LeaseDocument::of(&stored.lease, face.service.clock()));
        released.extend(lease.filter(|it| it.state == State::Released && viewer.sees(it.uid)));
    }
    let mut parts = Vec::new();
    for (index, lease) in released.iter().enumerate() {
        let who = if index < LOOKS {
            listener(face, viewer, &leases::shown(lease.clone(), viewer)).await
        } else {
            None
        };
        let still = who.map(|who| format!("; {who} still listens on it"));
        parts.push(format!(
            "{}/{}{}",
            lease.port,
            lease.protocol,
            still.unwrap_or_default()
        ));
    }
    match &parts[..] {
        [] => None,
        [one] => Some(format!("Released {one}.")),
        several => {
            let count = counted(several.len(), "lease");
            Some(format!("Released {count}: {}.", several.join(", ")))
        }
    }
}
