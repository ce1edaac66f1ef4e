//! `/api/v1/openapi.json`: the API described for programs (OpenAPI 3.1), made from the very structs
//! that requests are read into and answers are written from.

mod assemble;
mod bounds;
mod parameter;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;

use super::operations::descriptions;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| assemble::document(&descriptions()));

/// The whole description; made once.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// The operations by their ids, in the order in which a person reads of them.
pub fn order() -> Vec<&'static str> {
    descriptions().iter().map(|one| one.id).collect()
}

/// Shows it.
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

#[cfg(test)]
mod tests;
