//! The settings in force, each with the place it came from.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::document::VERSION;
use super::operation::{Description, Method, Operation, Output, Tag};
use crate::config::{Finding, Loaded, Setting};

/// Every setting in force.
#[derive(Serialize, JsonSchema)]
pub struct ConfigurationDocument<'a> {
    /// The version of the documents.
    version: u32,
    /// Each with the place its value came from.
    settings: &'a [Setting],
    /// Values that look wrong, but work.
    warnings: &'a [Finding],
}

pub struct ShowConfiguration;

impl Operation for ShowConfiguration {
    type Input = ();
    type Output = ConfigurationDocument<'static>;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/config";
    const ID: &'static str = "showConfiguration";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Service, "The settings in force")
            .says("Each with the place its value came from.")
            .answers::<ConfigurationDocument<'static>>(
                200,
                "The settings.",
                include_str!("example/config.json"),
            )
    }
}

impl Output for ConfigurationDocument<'_> {}

/// The document as plain JSON, for `config show --json`.
pub fn document(loaded: &Loaded) -> Value {
    // Plain values into memory: it cannot fail.
    serde_json::to_value(ConfigurationDocument::of(loaded)).unwrap_or_default()
}

impl<'a> ConfigurationDocument<'a> {
    /// The document of loaded settings.
    pub fn of(loaded: &'a Loaded) -> Self {
        Self {
            version: VERSION,
            settings: loaded.provenance.settings(),
            warnings: &loaded.warnings,
        }
    }
}
