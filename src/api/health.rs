//! `/livez`, `/readyz` and `/api/v1/status`: how the service is.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Face;
use super::document::StatusDocument;
use super::problem::Problem;
use crate::engine::service::Service;

/// The process answers.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// Ports can be granted: the record takes a commit.
pub async fn readyz(face: Data<Face>) -> Result<HttpResponse, Problem> {
    face.service
        .store()
        .commit(face.service.store().batch())
        .await?;
    Ok(HttpResponse::Ok().content_type("text/plain").body("ok\n"))
}

/// The service in a few numbers.
pub async fn status(face: Data<Face>) -> HttpResponse {
    let store = face.service.store();
    let ready = store.commit(store.batch()).await.is_ok();
    let settings = face.service.settings();
    HttpResponse::Ok().json(StatusDocument {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: face.uid,
        console: face.console.get().cloned(),
        socket: settings.socket.clone(),
        data_dir: settings.data_dir.clone(),
        leases: face.service.leases().len(),
        held_descriptors: face.service.held_descriptors(),
        descriptor_budget: face.service.descriptor_budget(),
        repairs: repairs(&face.service),
        ready,
    })
}

fn repairs(service: &Service) -> BTreeMap<String, u64> {
    let repairs = service.repairs().into_iter();
    repairs
        .map(|(kind, count)| (kind.to_owned(), count))
        .collect()
}
