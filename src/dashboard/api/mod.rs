//! `/api`: the description of the API as a page, made from the OpenAPI document.

mod field;
mod sample;

use std::path::Path;
use std::sync::LazyLock;

use actix_web::web::Data;
use askama::Template;
use serde_json::{Map, Value};

use self::field::Field;
use super::frame::Frame;
use super::page::Page;
use crate::api::{AppState, openapi};
use crate::domain::words::shell_word;

#[derive(Debug, Template)]
#[template(path = "api.html")]
pub(super) struct ApiPage {
    frame: Frame,
    console: String,
    /// Command that lists leases over the Unix socket.
    by_socket: String,
    /// Paragraphs.
    about: Vec<&'static str>,
    groups: &'static [Group],
    schemas: &'static [SchemaView],
}

/// The operations of one tag.
#[derive(Debug)]
struct Group {
    name: &'static str,
    says: &'static str,
    operations: Vec<OperationView>,
}

#[derive(Debug)]
struct OperationView {
    id: &'static str,
    method: String,
    path: &'static str,
    summary: &'static str,
    says: &'static str,
    needs_login: bool,
    parameters: Vec<Field>,
    body: Vec<Field>,
    sample: sample::Sample,
    answers: Vec<AnswerView>,
    problems: Vec<ProblemView>,
}

/// The response of a success.
#[derive(Debug)]
struct AnswerView {
    status: &'static str,
    says: &'static str,
    headers: Vec<&'static str>,
    forms: Vec<FormView>,
}

/// A media type of a response.
#[derive(Debug)]
struct FormView {
    media_type: &'static str,
    schema: Option<&'static str>,
    example: String,
}

/// The errors with one status.
#[derive(Debug)]
struct ProblemView {
    status: &'static str,
    codes: Vec<&'static str>,
}

#[derive(Debug)]
struct SchemaView {
    name: &'static str,
    says: &'static str,
    fields: Vec<Field>,
}

static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(groups);
static SCHEMAS: LazyLock<Vec<SchemaView>> = LazyLock::new(schemas);

/// Shows the API.
pub(super) async fn show(face: Data<AppState>, frame: Frame) -> Page<ApiPage> {
    let console = face.console.get().cloned();
    let about = text(&openapi::document()["info"], "description");
    Page(ApiPage {
        frame,
        console: console.unwrap_or_else(|| "http://127.0.0.1:8888".to_owned()),
        by_socket: by_socket(&face.service.settings().socket),
        about: about.split("\n\n").collect(),
        groups: &GROUPS,
        schemas: &SCHEMAS,
    })
}

fn by_socket(socket: &Path) -> String {
    let socket = shell_word(&socket.display().to_string());
    format!("curl --unix-socket {socket} http://localhost/api/v1/leases")
}

fn text(value: &'static Value, key: &str) -> &'static str {
    value[key].as_str().unwrap_or_default()
}

fn entries(value: &'static Value) -> impl Iterator<Item = (&'static str, &'static Value)> {
    let entries = value.as_object().into_iter().flat_map(Map::iter);
    entries.map(|(key, value)| (key.as_str(), value))
}

fn groups() -> Vec<Group> {
    let document = openapi::document();
    let order = openapi::order();
    let tags = document["tags"].as_array().into_iter().flatten();
    let group = |tag: &'static Value| {
        let name = text(tag, "name");
        let methods = entries(&document["paths"])
            .flat_map(|(path, methods)| entries(methods).map(move |method| (path, method)));
        let ours = methods.filter(|(_, (_, described))| described["tags"][0] == name);
        let mut operations: Vec<OperationView> = ours
            .map(|(path, (method, described))| operation(path, method, described))
            .collect();
        operations.sort_by_key(|one| order.iter().position(|id| *id == one.id));
        Group {
            name,
            says: text(tag, "description"),
            operations,
        }
    };
    tags.map(group).collect()
}

fn operation(path: &'static str, method: &str, described: &'static Value) -> OperationView {
    let went_well = |(status, _): &(&str, _)| status.starts_with('2');
    let responses = entries(&described["responses"]);
    let (answers, others): (Vec<_>, Vec<_>) = responses.partition(went_well);
    OperationView {
        id: text(described, "operationId"),
        method: method.to_uppercase(),
        path,
        summary: text(described, "summary"),
        says: text(described, "description"),
        // An operation without login has the empty choice of security schemes first.
        needs_login: described["security"][0]
            .as_object()
            .is_some_and(|way| !way.is_empty()),
        parameters: field::parameters(&described["parameters"]),
        body: field::of_schema(&described["requestBody"]["content"]["application/json"]["schema"]),
        sample: sample::of(path, method, described),
        answers: answers.into_iter().map(answer).collect(),
        problems: others.into_iter().filter_map(problem).collect(),
    }
}

fn answer((status, described): (&'static str, &'static Value)) -> AnswerView {
    let forms = entries(&described["content"]).map(|(media_type, content)| FormView {
        media_type,
        schema: field::name_of(&content["schema"]),
        example: match &content["example"] {
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        },
    });
    AnswerView {
        status,
        says: text(described, "description"),
        headers: entries(&described["headers"])
            .map(|(name, _)| name)
            .collect(),
        forms: forms.collect(),
    }
}

fn problem((status, described): (&'static str, &'static Value)) -> Option<ProblemView> {
    let examples = &described["content"]["application/problem+json"]["examples"];
    let codes: Vec<&str> = entries(examples).map(|(code, _)| code).collect();
    (!codes.is_empty()).then_some(ProblemView { status, codes })
}

fn schemas() -> Vec<SchemaView> {
    let schemas = entries(&openapi::document()["components"]["schemas"]);
    let shown = schemas.map(|(name, schema)| SchemaView {
        name,
        says: text(schema, "description"),
        fields: field::of_schema(schema),
    });
    shown.filter(|schema| !schema.fields.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_on_the_page() {
        let page = ApiPage {
            frame: Frame::default(),
            console: "http://127.0.0.1:8888".to_owned(),
            by_socket: by_socket(Path::new("/srv/my data/portbook.sock")),
            about: Vec::new(),
            groups: &GROUPS,
            schemas: &SCHEMAS,
        };
        let page = page.render().unwrap();
        let quoted = "curl --unix-socket &#39;/srv/my data/portbook.sock&#39; http";
        assert!(page.contains(quoted), "no {quoted}");
        let mut operations = 0;
        for (path, methods) in entries(&openapi::document()["paths"]) {
            assert!(page.contains(path), "{path}");
            operations += entries(methods).count();
        }
        assert_eq!(
            page.matches("<div class=\"operation\" id=").count(),
            operations
        );
        // Examples are code as a whole.
        let parts = page.split("<pre");
        let mut texts = parts.map(|part| part.split_once("</pre>").map_or(part, |(_, text)| text));
        assert!(
            !texts.any(|text| text.contains('`')),
            "a mark of code is left"
        );
    }

    #[test]
    fn links_within_the_page_have_targets() {
        let ids = GROUPS.iter().flat_map(|group| &group.operations);
        assert!(ids.into_iter().all(|operation| !operation.id.is_empty()));
        let fields = GROUPS.iter().flat_map(|group| &group.operations);
        let fields =
            fields.flat_map(|operation| operation.body.iter().chain(&operation.parameters));
        let fields = fields.chain(SCHEMAS.iter().flat_map(|schema| &schema.fields));
        for name in fields.filter_map(|field| field.schema) {
            assert!(SCHEMAS.iter().any(|schema| schema.name == name), "{name}");
        }
    }
}
