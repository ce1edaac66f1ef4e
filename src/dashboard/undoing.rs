//! `POST /leases/undo` and `POST /leases/{id}/undo`: take releases back.

use actix_web::HttpResponse;
use actix_web::web::{Data, Form, Path};

use super::errors::PageError;
use super::lease;
use super::page::see;
use super::part::lease::LeaseRow;
use super::releasing::chosen;
use crate::access::Viewer;
use crate::answers::leases;
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::domain::attempt::printable;
use crate::domain::lease::LeaseId;
use crate::domain::words::listed;

/// Maximum number of leases in the sentence afterwards.
const TOLD: usize = 100;

/// The offer to take a release back: a form below the sentence about it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Target of the form.
    pub action: String,
    pub ids: Vec<LeaseId>,
    /// Query of the list to return to.
    pub back: String,
}

/// Takes back the releases of several leases, and returns to the list.
pub(super) async fn several(
    face: Data<AppState>,
    viewer: Viewer,
    form: Form<Vec<(String, String)>>,
) -> Result<HttpResponse, PageError> {
    let caller = viewer.caller()?;
    let (back, ids) = chosen(&form);
    let (mut undone, mut refused) = (Vec::new(), None);
    for id in ids {
        match face.service.undo_release(caller, id).await {
            Ok(_) => undone.push(id.to_string()),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) => Err(Problem::from(refusal).into()),
        None => Ok(see(&back.with("undone", &undone.join(",")).link("/leases"))),
    }
}

/// Takes back the release of one lease, and returns to its page.
pub(super) async fn one(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, PageError> {
    let id = lease::id(&path)?;
    let undone = face.service.undo_release(viewer.caller()?, id).await;
    undone.map_err(Problem::from)?;
    Ok(see(&format!("/leases/{id}?undone={id}")))
}

/// The sentence about releases that were taken back. The address has the ids only.
pub(super) fn told(face: &AppState, viewer: &Viewer, ids: &str) -> Option<String> {
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
