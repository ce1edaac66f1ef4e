//! The tools, one a file. Each does the work of a command, within one work tree.

mod explain;
mod lease;
mod list;
mod release;
mod url;
mod wait;
mod who;

use super::tool::Entry;
use crate::cli::Failure;
use crate::domain::port::Port;

/// Every tool, in the order of use.
pub(super) const TOOLS: [Entry; 7] = [
    Entry::of::<lease::LeasePort>(),
    Entry::of::<wait::WaitUntilServing>(),
    Entry::of::<url::ServiceUrl>(),
    Entry::of::<list::ListLeases>(),
    Entry::of::<who::WhoIsOnPort>(),
    Entry::of::<explain::ExplainPort>(),
    Entry::of::<release::ReleaseLease>(),
];

pub(super) fn find(name: &str) -> Option<Entry> {
    TOOLS.into_iter().find(|entry| entry.name == name)
}

/// The word of a lease for the command line's look-up: its name or its port. A schema with the choice
/// between two arguments is refused by the APIs of some models.
fn word(name: Option<String>, port: Option<Port>) -> Result<String, Failure> {
    match (name, port) {
        (Some(name), None) => Ok(name),
        (None, Some(port)) => Ok(port.to_string()),
        _ => Err(Failure::usage("give either `name` or `port`")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        let names: BTreeSet<&str> = TOOLS.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TOOLS.len());
        assert!(names.iter().all(|name| find(name).is_some()));
        assert!(find("kill").is_none());
    }

    /// Parts of a schema that the API of some model refuses.
    fn strange(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                for word in ["$ref", "$defs", "allOf", "oneOf", "format", "const"] {
                    found.extend(object.contains_key(word).then(|| word.to_owned()));
                }
                let is_union = object.get("type").is_some_and(Value::is_array);
                found.extend(is_union.then(|| format!("union: {schema}")));
                object.values().for_each(|value| strange(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| strange(value, found)),
            _ => {}
        }
    }

    #[test]
    fn schemas_are_plain_and_every_argument_is_described() {
        for entry in TOOLS {
            let tool = entry.describe();
            let schema = tool.schema_as_json_value();
            assert_eq!(schema["type"], "object", "{schema:#}");
            assert_eq!(schema["additionalProperties"], false, "{schema:#}");
            let mut found = Vec::new();
            strange(&schema, &mut found);
            assert_eq!(found, Vec::<String>::new(), "{schema:#}");
            let none = serde_json::Map::new();
            let arguments = schema["properties"].as_object().unwrap_or(&none);
            for (name, argument) in arguments {
                assert!(
                    argument["description"].is_string(),
                    "{}: {name}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn one_tool_ends_leases_and_the_others_read_or_add() {
        for entry in TOOLS {
            let tool = entry.describe();
            let hints = tool.annotations.unwrap();
            let ends = entry.name == "release_lease";
            assert_eq!(hints.destructive_hint, Some(ends), "{}", entry.name);
            let changes = ends || entry.name == "lease_port";
            assert_eq!(hints.read_only_hint, Some(!changes), "{}", entry.name);
            assert!(tool.description.unwrap().len() > 80, "{}", entry.name);
        }
    }
}
