//! `/livez`, `/readyz`, `/api/v1/status` and `/api/v1/config`: the state of the service.

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::AppState;
use super::respond::respond;
use crate::answers::configuration::ConfigurationDocument;
use crate::answers::document::{CheckDocument, StatusDocument};
use crate::domain::health::{Check, Condition, is_ready};
use crate::engine::service::Service;

/// Handler that answers as long as the process does.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// Checks that ports can be granted and kept: 200, or 503 if a check failed. With `?verbose` it lists
/// the checks, a line each.
pub async fn readyz(face: Data<AppState>, request: HttpRequest) -> HttpResponse {
    let checks = face.service.health().await;
    let mut answer = if is_ready(&checks) {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    let query = request.query_string();
    let verbose = query.split('&').any(|word| word.starts_with("verbose"));
    let wanted = |check: &&Check| verbose || check.condition == Condition::Fail;
    let mut text: String = checks.iter().filter(wanted).map(line).collect();
    if is_ready(&checks) {
        text.push_str("ok\n");
    }
    answer.content_type("text/plain").body(text)
}

fn line(check: &Check) -> String {
    let condition = check.condition.as_str();
    format!("{condition:<4} {}: {}\n", check.name, check.detail)
}

/// The settings in force.
pub async fn configuration(face: Data<AppState>) -> HttpResponse {
    respond(&ConfigurationDocument::of(&face.loaded()))
}

/// The state of the service in a few numbers.
pub async fn status(face: Data<AppState>) -> HttpResponse {
    let checks = face.service.health().await;
    let settings = face.service.settings();
    respond(&StatusDocument {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: face.uid,
        console: face.console.get().cloned(),
        socket: settings.socket.clone(),
        data_dir: settings.data_dir.clone(),
        leases: face.service.lease_count(),
        held_descriptors: face.service.held_descriptors(),
        descriptor_budget: face.service.descriptor_budget(),
        repairs: repairs(&face.service),
        ready: is_ready(&checks),
        checks: checks.into_iter().map(CheckDocument::from).collect(),
    })
}

fn repairs(service: &Service) -> BTreeMap<String, u64> {
    let repairs = service.repairs().into_iter();
    repairs
        .map(|(kind, count)| (kind.to_owned(), count))
        .collect()
}

impl From<Check> for CheckDocument {
    fn from(check: Check) -> Self {
        Self {
            name: check.name.to_owned(),
            condition: check.condition,
            detail: check.detail,
        }
    }
}
