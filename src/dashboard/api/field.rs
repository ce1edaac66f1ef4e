//! Fields of documents and parameters, with their types in a few words.

use serde_json::Value;

use super::{entries, text};
use crate::api::openapi;

/// A field of a document, or a parameter.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// `path`, `query` or `header` for a parameter; empty for a field.
    pub(super) place: &'static str,
    pub(super) is_required: bool,
    /// The type in words, before the name of the schema if it has one.
    pub(super) kind: String,
    pub(super) schema: Option<&'static str>,
    pub(super) says: &'static str,
}

/// The parameters of an operation.
pub(super) fn parameters(described: &'static Value) -> Vec<Field> {
    let parameters = described.as_array().into_iter().flatten();
    let field = |parameter: &'static Value| Field {
        place: text(parameter, "in"),
        is_required: parameter["required"] == true,
        says: text(parameter, "description"),
        ..field(text(parameter, "name"), &parameter["schema"])
    };
    parameters.map(field).collect()
}

/// The fields of a schema; empty if it is not an object.
pub(super) fn of_schema(schema: &'static Value) -> Vec<Field> {
    let schema = resolved(schema);
    let required = &schema["required"];
    let is_required = |name: &str| {
        let mut required = required.as_array().into_iter().flatten();
        required.any(|one| one == name)
    };
    let fields = entries(&schema["properties"]).map(|(name, schema)| Field {
        is_required: is_required(name),
        ..field(name, schema)
    });
    fields.collect()
}

fn field(name: &'static str, schema: &'static Value) -> Field {
    let (kind, schema_name) = kind(schema);
    Field {
        name,
        place: "",
        is_required: false,
        kind,
        schema: schema_name,
        says: text(schema, "description"),
    }
}

/// Name of the schema that a reference leads to.
pub(super) fn name_of(schema: &'static Value) -> Option<&'static str> {
    text(schema, "$ref").rsplit_once('/').map(|(_, name)| name)
}

/// The schema that a reference leads to; any other schema as it is.
fn resolved(schema: &'static Value) -> &'static Value {
    let name = name_of(schema);
    name.map_or(schema, |name| {
        &openapi::document()["components"]["schemas"][name]
    })
}

/// The type in words, and the name of the schema that follows the words.
fn kind(schema: &'static Value) -> (String, Option<&'static str>) {
    let target = resolved(schema);
    if !target["properties"].is_null() {
        return (String::new(), name_of(schema));
    }
    if let Some(title) = target["title"].as_str() {
        return (title.to_owned(), None);
    }
    if let Some(words) = words(target) {
        return (words, None);
    }
    let choices = target["anyOf"].as_array().into_iter().flatten();
    let mut choices = choices.filter(|choice| choice["type"] != "null");
    if let Some(first) = choices.next() {
        let (first, name) = kind(first);
        let mut told = vec![first];
        told.extend(choices.map(|choice| kind(choice).0));
        told.dedup();
        return (told.join(" or "), name);
    }
    let of = |rest: &'static Value, what: &str| {
        let (told, name) = kind(rest);
        (format!("{what} {told}").trim_end().to_owned(), name)
    };
    match type_of(target) {
        "array" => of(&target["items"], "list of"),
        "object" if target["additionalProperties"].is_object() => {
            of(&target["additionalProperties"], "object of")
        }
        "string" => (string(target).to_owned(), None),
        "integer" | "number" => (number(target), None),
        "" => ("any value".to_owned(), None),
        other => (other.to_owned(), None),
    }
}

/// The type that is not null.
fn type_of(schema: &'static Value) -> &'static str {
    let types = schema["type"].as_array().into_iter().flatten();
    let mut types = types.filter_map(Value::as_str).filter(|one| *one != "null");
    types.next().unwrap_or_else(|| text(schema, "type"))
}

/// The words of an enumeration.
fn words(schema: &'static Value) -> Option<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let told = schema["oneOf"].as_array().into_iter().flatten();
    let constants = told.flat_map(|one| {
        let several = one["enum"].as_array().into_iter().flatten();
        one.get("const").into_iter().chain(several)
    });
    let words: Vec<&str> = listed.chain(constants).filter_map(Value::as_str).collect();
    (!words.is_empty()).then(|| words.join(" · "))
}

fn string(schema: &'static Value) -> &'static str {
    match text(schema, "format") {
        "uuid" => "UUID",
        "date-time" => "time",
        _ => "text",
    }
}

/// A number with its bounds, if they are narrower than those of its type.
fn number(schema: &'static Value) -> String {
    let word = type_of(schema);
    let bound = |key: &str| {
        schema[key]
            .as_i64()
            .filter(|bound| bound.unsigned_abs() < 1 << 31)
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{word}, {least} to {most}"),
        (Some(least), None) if least > 0 => format!("{word}, {least} or more"),
        _ => word.to_owned(),
    }
}
