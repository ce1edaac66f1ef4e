//! Parameters in the path and in the query, as OpenAPI lists them.

use schemars::transform::Transform;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use strum::VariantArray;

use super::bounds::Bounds;
use crate::answers::operation::{Description, FieldFilter};
use crate::api::export::Kind;
use crate::domain::lease::LeaseId;
use crate::domain::port::{Port, Protocol};

/// Every parameter of an operation.
pub(super) fn all(operation: &Description, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut all: Vec<Value> = in_path(operation.path)
        .filter_map(|name| path(name, generator))
        .collect();
    if let Some((schema_of, is_taken)) = operation.query {
        let root = schema_of(generator);
        all.extend(query(&root, is_taken, generator));
    }
    let mut limits = all.iter_mut().filter(|one| one["name"] == "limit");
    if let (Some(most), Some(limit)) = (operation.max_limit, limits.next()) {
        limit["schema"]["minimum"] = 1.into();
        limit["schema"]["maximum"] = most.into();
    }
    for (place, name, says, schema) in &operation.parameters {
        all.push(json!({"name": name, "in": place, "description": says, "schema": schema}));
    }
    all
}

/// The names between braces.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('/');
    parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path(name: &str, generator: &mut SchemaGenerator) -> Option<Value> {
    let (says, example, schema) = match name {
        "id" => (
            "Id, from a list or an answer.",
            json!("019abcb7-4f2e-7c61-9d30-5b8a1c2e7f90"),
            generator.subschema_for::<LeaseId>(),
        ),
        "protocol" => (
            "Protocol.",
            json!("tcp"),
            generator.subschema_for::<Protocol>(),
        ),
        "port" => ("Port.", json!(8888), generator.subschema_for::<Port>()),
        "name" => (
            "Name of a lease.",
            json!("billing"),
            json_schema!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?$", "maxLength": 64}),
        ),
        "host" => (
            "Name of a host.",
            json!("build-2"),
            json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*$", "maxLength": 253}),
        ),
        "kind" => ("Kind of rows.", json!("endings"), kinds()),
        _ => return None,
    };
    Some(json!({
        "name": name, "in": "path", "required": true, "description": says,
        "example": example, "schema": schema
    }))
}

/// The kinds of rows without a path of their own.
fn kinds() -> Schema {
    let words: Vec<&str> = Kind::VARIANTS
        .iter()
        .filter(|kind| !matches!(kind, Kind::Attempts | Kind::Days))
        .map(|kind| kind.as_str())
        .collect();
    json_schema!({"type": "string", "enum": words})
}

/// The fields of a struct, each as a parameter.
fn query(root: &Schema, is_taken: FieldFilter, generator: &SchemaGenerator) -> Vec<Value> {
    let mut fields = fields(root, generator);
    fields.retain(|name, _| is_taken(name));
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = without_null(schema.clone());
        let says = schema
            .as_object_mut()
            .and_then(|of| of.remove("description"));
        json!({
            "name": name, "in": "query", "description": says.unwrap_or_default(), "schema": schema
        })
    };
    fields.iter().map(parameter).collect()
}

fn fields(root: &Schema, generator: &SchemaGenerator) -> Map<String, Value> {
    // The root is a reference to a definition.
    let name = root.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|path| path.rsplit('/').next());
    let found = name.and_then(|name| generator.definitions().get(name));
    let mut found = found.and_then(|found| Schema::try_from(found.clone()).ok());
    let schema = found.get_or_insert_default();
    // The generator does this to definitions only when it returns them.
    Bounds.transform(schema);
    let fields = schema.get("properties").and_then(Value::as_object);
    fields.cloned().unwrap_or_default()
}

/// Removes null, which a query does not have.
fn without_null(mut schema: Value) -> Value {
    let is_null = |one: &Value| *one == "null" || one["type"] == "null";
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| !is_null(one));
        if let [only] = &mut types[..] {
            schema["type"] = only.take();
        }
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|one| !is_null(one));
        if let [only] = &mut choices[..] {
            let only = only.take();
            let rest = schema
                .as_object_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            schema = only;
            for (key, value) in rest.into_iter().filter(|(key, _)| key != "anyOf") {
                schema[key] = value;
            }
        }
    }
    schema
}
