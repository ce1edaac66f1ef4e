//! Schemas of arguments in the words that the API of every model takes: no references, no unions of types,
//! no formats of Rust's numbers.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// Schema of a struct of arguments.
pub(super) fn schema<A: JsonSchema>() -> JsonObject {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let root = settings.into_generator().into_root_schema_for::<A>();
    match root.to_value() {
        Value::Object(mut schema) => {
            // The tool has a description of its own.
            schema.remove("description");
            simplify_object(&mut schema);
            schema
        }
        // The schema of a struct is an object.
        _ => JsonObject::new(),
    }
}

fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(object) => simplify_object(object),
        Value::Array(list) => list.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn simplify_object(object: &mut JsonObject) {
    for word in ["title", "format", "default"] {
        // A property may have such a name; its value is an object.
        if object.get(word).is_some_and(|value| !value.is_object()) {
            object.remove(word);
        }
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        // The ends of lines are those of the source.
        *description = description.replace('\n', " ");
    }
    remove_null(object);
    join_words(object);
    object.values_mut().for_each(simplify);
}

/// Leaves out null, which stands for an argument that is left out.
fn remove_null(object: &mut JsonObject) {
    for word in ["type", "enum", "anyOf"] {
        let Some(Value::Array(choices)) = object.get_mut(word) else {
            continue;
        };
        choices.retain(|choice| !is_null(choice));
        let [only] = &choices[..] else { continue };
        let only = only.clone();
        match (word, only) {
            ("type", only) => drop(object.insert(word.to_owned(), only)),
            ("anyOf", Value::Object(only)) => {
                object.remove(word);
                // What stands beside the choice describes this use of it.
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
            _ => {}
        }
    }
}

fn is_null(choice: &Value) -> bool {
    choice.is_null() || choice == "null" || choice.get("type").is_some_and(|word| word == "null")
}

/// Writes a choice of constants, each with a description, as a list of words.
fn join_words(object: &mut JsonObject) {
    let Some(Value::Array(choices)) = object.get("oneOf") else {
        return;
    };
    let words = choices.iter().map(|choice| choice.get("const").cloned());
    if let Some(words) = words.collect::<Option<Vec<Value>>>() {
        object.remove("oneOf");
        object.insert("type".to_owned(), json!("string"));
        object.insert("enum".to_owned(), words.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Description of the struct.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "the schema alone is tested")]
    struct Arguments {
        /// Number
        /// of things.
        count: Option<u16>,
        /// Colour.
        #[serde(default)]
        colour: Option<Colour>,
        /// Title.
        title: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "the schema alone is tested")]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        /// As blood.
        Red,
        /// As the sky.
        Blue,
    }

    #[test]
    fn unions_and_formats_are_left_out() {
        let wanted = json!({
            "type": "object",
            "properties": {
                "count": {"type": "integer", "minimum": 0, "maximum": 65535, "description": "Number of things."},
                "colour": {"type": "string", "enum": ["red", "blue"], "description": "Colour."},
                "title": {"type": "string", "description": "Title."},
            },
            "required": ["title"],
        });
        assert_eq!(Value::Object(schema::<Arguments>()), wanted);
    }
}
