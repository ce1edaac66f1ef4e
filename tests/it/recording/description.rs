//! The API's description without its words: two descriptions that mean one thing to a program are
//! one document.

use serde_json::{Map, Value, json};

/// Members that are for people, if they are text.
const WORDS: [&str; 3] = ["title", "description", "summary"];

/// Lists whose order says nothing.
const SETS: [&str; 2] = ["required", "enum"];

/// The description with words left out and sets in order.
pub fn without_words(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .into_iter()
                .filter(|(name, value)| !(WORDS.contains(&&**name) && value.is_string()))
                .map(|(name, value)| member(name, value));
            choice(members.collect())
        }
        Value::Array(values) => values.into_iter().map(without_words).collect(),
        other => other,
    }
}

fn member(name: String, value: Value) -> (String, Value) {
    let value = match (&*name, value) {
        ("example" | "examples", _) => "<example>".into(),
        ("parameters", Value::Array(mut parameters)) => {
            parameters.sort_by_key(|parameter| parameter["name"].to_string());
            without_words(parameters.into())
        }
        (set, Value::Array(mut values)) if SETS.contains(&set) => {
            values.sort_by_key(Value::to_string);
            values.into()
        }
        (_, value) => without_words(value),
    };
    (name, value)
}

/// One list of words in place of an alternative for each word, which is the form of those that have
/// a description of their own.
fn choice(mut schema: Map<String, Value>) -> Value {
    let alternatives = schema.get("oneOf").and_then(Value::as_array);
    let words: Option<Vec<Vec<Value>>> =
        alternatives.and_then(|all| all.iter().map(words).collect());
    if let Some(words) = words {
        let mut words = words.concat();
        words.sort_by_key(Value::to_string);
        schema.remove("oneOf");
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("enum".to_owned(), words.into());
    }
    schema.into()
}

/// The words of an alternative that is nothing but words.
fn words(alternative: &Value) -> Option<Vec<Value>> {
    let members = alternative.as_object()?;
    if members.get("type") != Some(&json!("string")) || members.len() != 2 {
        return None;
    }
    match (members.get("const"), members.get("enum")) {
        (Some(word), None) => Some(vec![word.clone()]),
        (None, Some(words)) => words.as_array().cloned(),
        _ => None,
    }
}
