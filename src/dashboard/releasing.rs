//! Releases of leases: a question first if programs listen on them, and a sentence afterwards.

use actix_web::HttpResponse;
use askama::Template;

use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Offer, Params};
use super::page::{Page, see};
use super::part::lease::LeaseRow;
use crate::access::Viewer;
use crate::answers::document::{LeaseDocument, listener_of};
use crate::answers::{leases, ports};
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::domain::attempt::{Occupant, printable};
use crate::domain::lease::{Lease, LeaseId, State};
use crate::domain::words::{counted, listed};
use crate::engine::refusal::Refusal;

/// Maximum number of ports that are looked up in the kernel's tables for one page.
const LOOKS: usize = 16;

/// Maximum number of leases in the sentence afterwards.
const TOLD: usize = 100;

/// The question before a release.
#[derive(Debug, Template)]
#[template(path = "release.html")]
pub(super) struct ReleasePage {
    frame: Frame,
    /// Target of the form.
    action: String,
    /// Page that the reader came from.
    from: String,
    /// Query of the list to return to.
    back: String,
    ids: Vec<LeaseId>,
    /// The leases on which programs listen, each with the program.
    listening: Vec<(LeaseRow, String)>,
}

/// A form's request for a release.
pub(super) struct Wish<'a> {
    pub(super) chosen: Vec<LeaseId>,
    /// Whether the reader confirmed the question.
    pub(super) forced: bool,
    /// Target of the form.
    pub(super) action: &'a str,
    /// Page that the reader came from.
    pub(super) from: String,
    /// Query of the list to return to.
    pub(super) back: &'a Params,
}

/// Releases leases and leads to `after`, or asks first if a program listens on one of them. A lease
/// that has ended meanwhile is not an error.
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
        let listening = listening(face, viewer, living).await;
        let listening = listening.map_err(Problem::from)?;
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

fn question(frame: Frame, wish: Wish<'_>, listening: Vec<(LeaseRow, String)>) -> ReleasePage {
    ReleasePage {
        frame,
        action: wish.action.to_owned(),
        from: wish.from,
        back: wish.back.query(),
        ids: wish.chosen,
        listening,
    }
}

/// The leases on which a program listens, with the program. Ports beyond [`LOOKS`] are not looked up:
/// for those the lease's state tells.
async fn listening(
    face: &AppState,
    viewer: &Viewer,
    living: Vec<LeaseDocument>,
) -> Result<Vec<(LeaseRow, String)>, Refusal> {
    let mut found = Vec::new();
    let mut living = living.into_iter().filter(LeaseDocument::may_be_listened_on);
    for lease in living.by_ref().take(LOOKS) {
        if let Some(who) = listener(face, viewer, &lease).await? {
            found.push((LeaseRow::of(lease, viewer), who.to_string()));
        }
    }
    let others = living.filter(LeaseDocument::is_listened_on);
    found.extend(others.map(|lease| {
        let owner = lease.owner.as_ref();
        let who = owner.map(|owner| format!("{} (pid {})", owner.command, owner.pid));
        (LeaseRow::of(lease, viewer), who.unwrap_or_default())
    }));
    Ok(found)
}

impl ReleasePage {
    /// Number of chosen leases on which no program listens.
    fn others(&self) -> usize {
        self.ids.len().saturating_sub(self.listening.len())
    }
}

/// The program that listens on the port of a lease now.
async fn listener(
    face: &AppState,
    viewer: &Viewer,
    lease: &LeaseDocument,
) -> Result<Option<Occupant>, Refusal> {
    let sockets = ports::sockets(&face.service, lease.protocol, lease.port).await?;
    let me = std::process::id();
    let occupants = sockets.iter().filter_map(|socket| socket.seen_by(viewer));
    let occupants: Vec<Occupant> = occupants.filter(|found| found.pid != Some(me)).collect();
    let on_port = face.service.leases_on(lease.protocol, lease.port);
    let is_alone = on_port.iter().all(|other| other.id == lease.id);
    Ok(listener_of(lease, is_alone, occupants.iter()).cloned())
}

/// The list to return to and the leases in a form of a list.
pub(super) fn chosen(form: &[(String, String)]) -> (Params, Vec<LeaseId>) {
    let back = form.iter().find(|(key, _)| key == "back");
    let back = back.map_or("", |(_, query)| query.trim_start_matches('?'));
    let ids = form.iter().filter(|(key, _)| key == "id");
    let ids = ids.filter_map(|(_, id)| id.parse().ok()).collect();
    (Params::parse(back).without(""), ids)
}

/// Puts the sentence about a release, or about one that was taken back, into the frame of a page, and
/// after a release the offer to take it back.
pub(super) async fn announce(
    face: &AppState,
    viewer: &Viewer,
    frame: &mut Frame,
    params: &Params,
    action: &str,
) {
    if viewer.caller().is_err() {
        return;
    }
    if let Some(ids) = params.get("undone") {
        frame.said = taken_back(face, viewer, ids).map(Into::into);
    }
    let Some(ids) = params.get("released") else {
        return;
    };
    let released = released(face, viewer, ids).await;
    let fresh = released.iter();
    let fresh = fresh.filter(|lease| face.service.can_undo_release(lease));
    let offer = Offer {
        action: action.to_owned(),
        ids: fresh.map(|lease| lease.id).collect(),
        back: params.without("").query(),
    };
    frame.said = told(face, viewer, &released).await.map(Into::into);
    frame.undo = Some(offer).filter(|offer| !offer.ids.is_empty());
}

/// Offers to take back the release of a lease on its own page, as long as that can be done.
pub(super) async fn offer_undo(
    face: &AppState,
    viewer: &Viewer,
    frame: &mut Frame,
    id: LeaseId,
    action: &str,
) {
    if frame.undo.is_some() || viewer.caller().is_err() {
        return;
    }
    let released = released(face, viewer, &id.to_string()).await;
    if released
        .iter()
        .any(|lease| face.service.can_undo_release(lease))
    {
        frame.undo = Some(Offer {
            action: action.to_owned(),
            ids: vec![id],
            back: Params::default().query(),
        });
        frame.said = Some("It was released a short time ago.".into());
    }
}

/// Leases that were released and that the viewer may see. The address has the ids only; the record and
/// the kernel have the rest, so that a link cannot put words into a page.
async fn released(face: &AppState, viewer: &Viewer, ids: &str) -> Vec<Lease> {
    let ids = ids.split(',').take(TOLD);
    let mut released = Vec::new();
    for id in ids.filter_map(|id| id.parse::<LeaseId>().ok()) {
        let stored = face.service.store().lease(id).await.ok().flatten();
        let lease = stored.map(|stored| stored.lease);
        released.extend(lease.filter(|it| it.state == State::Released && viewer.sees(it.uid)));
    }
    released
}

/// The sentence after a release.
async fn told(face: &AppState, viewer: &Viewer, released: &[Lease]) -> Option<String> {
    let mut parts = Vec::new();
    for (index, lease) in released.iter().enumerate() {
        let lease = LeaseDocument::of(lease, face.service.clock());
        let who = if index < LOOKS {
            // The sentence says nothing of a listener if the tables are unreadable.
            let lease = leases::shown(lease.clone(), viewer);
            listener(face, viewer, &lease).await.ok().flatten()
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

/// The sentence about releases that were taken back. The address has the ids only.
fn taken_back(face: &AppState, viewer: &Viewer, ids: &str) -> Option<String> {
    let ids = ids.split(',').take(TOLD);
    let living = ids.filter_map(|id| face.service.lease(id.parse().ok()?));
    let seen = living.filter(|lease| viewer.sees(lease.uid));
    let said = seen.map(|lease| {
        let row = LeaseRow::of(leases::document(&face.service, &lease), viewer);
        let owner = row.lease.owner.as_ref();
        let owner = owner.map(|owner| format!(" to {} (pid {})", owner.command, owner.pid));
        let (port, protocol) = (row.lease.port, row.lease.protocol);
        printable(&format!("{port}/{protocol}{}", owner.unwrap_or_default()))
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| format!("Leased again: {}.", listed(&said)))
}
