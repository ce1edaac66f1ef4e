//! `/api/v1/history`: the past as a stream of rows.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use strum::VariantArray;

use super::attempts::AttemptQuery;
use super::export::{Export, Kind};
use super::problem::{Code, Problem};
use super::{AppState, paging};
use crate::access::Viewer;

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
        answer.insert_header(paging::link(&next));
    }
    Ok(answer
        .content_type(format.media_type())
        .streaming(export.into_stream()))
}
