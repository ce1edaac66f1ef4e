//! `/api/v1/history`: the past as a stream of rows, and deleting what is old of it.

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};

use super::attempts::Wanted;
use super::document::{PruneDocument, PruneRequest, VERSION};
use super::export::{Export, Kind};
use super::problem::{Code, Problem};
use super::{Face, body};
use crate::access::Viewer;
use crate::engine::Limits;

/// Streams attempts or days.
pub async fn export(
    face: Data<Face>,
    viewer: Viewer,
    kind: Path<String>,
    wanted: Query<Wanted>,
) -> Result<HttpResponse, Problem> {
    let kind = match kind.as_str() {
        "attempts" => Kind::Attempts,
        "days" => Kind::Days,
        other => {
            let detail = format!("there is no history of \"{other}\"; there are attempts and days");
            return Err(Problem::new(Code::NotFound, detail));
        }
    };
    let service = &face.service;
    if kind == Kind::Days {
        service.count_attempts().await?;
    }
    let (reader, now) = (service.store().reader(), service.clock().now());
    let export = Export::open(reader, viewer, kind, &wanted, now).await?;
    let format = wanted.format.unwrap_or_default();
    Ok(HttpResponse::Ok()
        .content_type(format.media_type())
        .streaming(export.into_stream()))
}

/// Deletes what is old.
pub async fn prune(
    face: Data<Face>,
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
