//! `/api/v1/openapi.json`: the API described for programs (OpenAPI 3.1), made from the very structs
//! that requests are read into and answers are written from.

mod assemble;
mod bounds;
mod parameter;

use std::sync::LazyLock;

use serde_json::Value;

use super::operations::descriptions;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| assemble::document(&descriptions()));

/// The document; made once.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// The ids of the operations, in the order for readers.
pub fn order() -> Vec<&'static str> {
    descriptions().iter().map(|one| one.id).collect()
}

#[cfg(test)]
mod tests;
