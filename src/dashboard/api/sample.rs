//! Commands that make a request, to copy.

use serde_json::Value;

use super::text;

/// A command in two parts; the console's address stands between them.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) before: String,
    pub(super) path: String,
}

pub(super) fn of(path: &str, method: &str, described: &'static Value) -> Sample {
    let mut before = "curl".to_owned();
    if method != "get" {
        before = format!(
            "curl -X {} -H \"Authorization: Bearer $(portbook token)\"",
            method.to_uppercase()
        );
    }
    let body = &described["requestBody"]["content"]["application/json"]["example"];
    if !body.is_null() {
        // The examples have no apostrophe, which would end the shell's quotes.
        let body = body.to_string();
        before.extend([" -H 'Content-Type: application/json' -d '", &body, "'"]);
    }
    if text(described, "operationId") == "followEvents" {
        before.push_str(" -N");
    }
    let mut path = path.to_owned();
    let parameters = described["parameters"].as_array().into_iter().flatten();
    for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        path = path.replace(&format!("{{{}}}", text(parameter, "name")), &example);
    }
    Sample { before, path }
}
