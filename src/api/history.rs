//! `/api/v1/history`: the past as a stream of rows, and deleting old rows.

use actix_web::http::header::LINK;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use strum::VariantArray;

use super::attempts::AttemptQuery;
use super::document::{PruneDocument, PruneRequest, VERSION};
use super::export::{Export, Kind};
use super::problem::{Code, Problem};
use super::{AppState, body, paging};
use crate::access::Viewer;
use crate::engine::Limits;

/// Streams attempts.
pub async fn attempts(
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    wanted: Query<AttemptQuery>,
) -> Result<HttpResponse, Problem> {
    rows(&face, viewer, Kind::Attempts, &request, &wanted).await
}

/// Streams the sums of attempts by day.
pub async fn days(
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    wanted: Query<AttemptQuery>,
) -> Result<HttpResponse, Problem> {
    rows(&face, viewer, Kind::Days, &request, &wanted).await
}

/// Streams the rows of another kind.
pub async fn export(
    face: Data<AppState>,
    viewer: Viewer,
    kind: Path<String>,
    request: HttpRequest,
    wanted: Query<AttemptQuery>,
) -> Result<HttpResponse, Problem> {
    let Ok(known) = kind.parse() else {
        let kinds: Vec<&str> = Kind::VARIANTS.iter().map(|kind| kind.as_str()).collect();
        let kinds = kinds.join(", ");
        let detail = format!("there is no history of \"{kind}\"; there are {kinds}");
        return Err(Problem::new(Code::NotFound, detail));
    };
    rows(&face, viewer, known, &request, &wanted).await
}

/// Streams the rows of one kind. Rows that are written behind are brought up to date first.
async fn rows(
    face: &AppState,
    viewer: Viewer,
    kind: Kind,
    request: &HttpRequest,
    wanted: &AttemptQuery,
) -> Result<HttpResponse, Problem> {
    let service = &face.service;
    match kind {
        Kind::Attempts | Kind::Endings => {}
        Kind::Days => service.count_attempts().await?,
        Kind::Snapshots | Kind::Sightings | Kind::Conflicts => service.write_history().await?,
    }
    let (reader, now) = (service.store().reader(), service.clock().now());
    let export = Export::open(reader, viewer, kind, wanted, now).await?;
    let rest = export.rest().await?;
    let next = rest.map(|changed| paging::address(request, &changed));
    let format = wanted.format.unwrap_or_default();
    let mut answer = HttpResponse::Ok();
    if let Some(next) = next {
        answer.insert_header((LINK, paging::link(&next)));
    }
    Ok(answer
        .content_type(format.media_type())
        .streaming(export.into_stream()))
}

/// Deletes old rows.
pub async fn prune(
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let wanted: PruneRequest = body::json(&request, payload).await?;
    let limits = Limits {
        older_than: wanted.older_than.map(|span| span.0),
        keep: wanted.keep,
    };
    let removed = face
        .service
        .prune(viewer.caller()?, limits, wanted.dry_run)
        .await?;
    Ok(HttpResponse::Ok().json(PruneDocument {
        version: VERSION,
        dry_run: wanted.dry_run,
        removed,
    }))
}
