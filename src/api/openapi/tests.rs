use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document;

fn each_operation() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[test]
fn every_operation_says_what_it_needs_to() {
    let mut ids = BTreeSet::new();
    for (path, method, operation) in each_operation() {
        let text = |key: &str| operation[key].as_str().unwrap_or_default();
        assert!(!text("summary").is_empty(), "{method} {path}");
        assert!(ids.insert(text("operationId")), "{method} {path}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|one| one["in"] == "path");
        assert_eq!(in_path.count(), path.matches('{').count(), "{path}");
        for parameter in parameters {
            assert!(
                !parameter["description"].as_str().unwrap().is_empty(),
                "{parameter}"
            );
        }
    }
}

/// Every reference leads somewhere.
#[test]
fn nothing_is_missing() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(document(), &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
}

/// The description with one of its schemas as the root.
fn schema(mut root: Value) -> Value {
    root["components"] = document()["components"].clone();
    root
}

fn check(schema: Value, example: &Value, what: &str) {
    let mut compiler = boon::Compiler::new();
    compiler.set_default_draft(boon::Draft::V2020_12);
    let mut schemas = boon::Schemas::new();
    compiler
        .add_resource("memory:///schema.json", schema)
        .unwrap();
    let index = compiler.compile("memory:///schema.json", &mut schemas);
    let index = index.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    if let Err(error) = schemas.validate(example, index) {
        panic!("{what}: {error:#}: {example:#}");
    }
}

fn contents(operation: &Value) -> Vec<(&String, &Value)> {
    let responses = operation["responses"].as_object().unwrap().values();
    let bodies = responses.chain(operation.get("requestBody"));
    let contents = bodies.filter_map(|body| body.get("content")?.as_object());
    contents.flat_map(Map::iter).collect()
}

#[test]
fn every_example_is_as_its_schema_says() {
    let mut checked = 0;
    for (path, method, operation) in each_operation() {
        for (media_type, content) in contents(operation) {
            let what = format!("{method} {path}, {media_type}");
            let mut examples: Vec<&Value> = content.get("example").into_iter().collect();
            for example in content
                .get("examples")
                .iter()
                .flat_map(|all| all.as_object().unwrap())
            {
                let pointer = example.1["$ref"].as_str().unwrap().trim_start_matches('#');
                examples.push(&document().pointer(pointer).unwrap()["value"]);
            }
            assert!(!examples.is_empty(), "{what}");
            for example in examples {
                assert!(!example.is_null(), "{what}");
                check(schema(content["schema"].clone()), example, &what);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn a_schema_refuses_what_the_api_refuses() {
    let schema = || schema(document()["components"]["schemas"]["LeaseRequest"].clone());
    let refused = [
        r#"{"port": 0}"#,
        r#"{"port": 80, "prefer": 81}"#,
        r#"{"name": "a", "names": ["b"]}"#,
        r#"{"scope": "dir"}"#,
        r#"{"directory": "/x"}"#,
        r#"{"ttl": "soon"}"#,
        r#"{"labels": {"": "x"}}"#,
        r#"{"unknown": 1}"#,
        r#"{"reserve": true}"#,
        r#"{"reserve": true, "name": "a", "owner_pid": 7}"#,
    ];
    for text in refused {
        let wanted: Value = serde_json::from_str(text).unwrap();
        let taken =
            serde_json::from_value::<crate::answers::document::LeaseRequest>(wanted.clone());
        let taken = taken.map_err(|error| error.to_string());
        let said = taken.and_then(crate::answers::document::LeaseRequest::parse);
        let by_the_engine = text.contains("prefer") || text.contains("reserve");
        assert!(said.is_err() || by_the_engine, "{text}");
        let checked = std::panic::catch_unwind(|| check(schema(), &wanted, text));
        assert!(checked.is_err(), "{text}");
    }
}
