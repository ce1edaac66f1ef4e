//! `POST /leases/undo` and `POST /leases/{id}/undo`: take releases back.

use actix_web::HttpResponse;
use actix_web::web::{Data, Form, Path};

use super::errors::PageError;
use super::lease;
use super::page::see;
use super::releasing::chosen;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::problem::Problem;

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
