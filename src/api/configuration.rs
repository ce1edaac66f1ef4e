//! `/api/v1/config`: every setting in force, with where it came from.

use actix_web::HttpResponse;
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::AppState;
use super::document::VERSION;
use crate::config::{Finding, Loaded, Setting};

/// Every setting in force.
#[derive(Serialize, JsonSchema)]
pub(super) struct ConfigurationDocument<'a> {
    /// The version of the documents.
    version: u32,
    /// Each with where its value came from.
    settings: &'a [Setting],
    /// What looks wrong, but works.
    warnings: &'a [Finding],
}

/// Shows the settings.
pub async fn show(face: Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(of(&face.loaded()))
}

/// The settings as the API and `config show --json` tell them.
pub fn document(loaded: &Loaded) -> Value {
    // Plain values into memory: it cannot fail.
    serde_json::to_value(of(loaded)).unwrap_or_default()
}

fn of(loaded: &Loaded) -> ConfigurationDocument<'_> {
    ConfigurationDocument {
        version: VERSION,
        settings: loaded.provenance.settings(),
        warnings: &loaded.warnings,
    }
}
