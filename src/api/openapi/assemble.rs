//! The OpenAPI document, put together from the descriptions of the operations.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::bounds::Bounds;
use super::parameter;
use crate::answers::operation::{Access, Answer, Content, Description, Tag};
use crate::answers::problem::{Code, Problem};

/// Generators of schemas. A field with a default is optional in requests but always present in
/// answers, so each direction has its own schema.
struct Generators {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

pub(super) fn document(operations: &[Description]) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12().with_transform(Bounds);
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    let mut generators = Generators {
        taken: settings().for_deserialize().into_generator(),
        given: settings().for_serialize().into_generator(),
    };
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let described = generators.operation(operation);
        let methods = paths.entry(operation.path).or_default();
        methods.insert(operation.method.as_str().to_lowercase(), described);
    }
    let tags = Tag::ALL.map(|tag| json!({"name": tag.as_str(), "description": tag.description()}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "portbook",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": ABOUT,
        },
        "servers": [{"url": "/", "description": "The console, or the Unix socket."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": generators.schemas(),
            "examples": problem_examples(),
            "securitySchemes": security_schemes(),
        },
    })
}

const ABOUT: &str = "\
The API answers on a Unix socket and on the loopback console. On the socket the kernel identifies the \
caller (`SO_PEERCRED`): no header is needed. On the console every reader sees what the console's user may \
see; to change something, send the token that `portbook token` prints, or a session \
of a browser that has logged in together with the `Origin` of the console's pages.

HEAD is answered wherever GET is. Any other method is refused with 405 and the methods of the path in \
`Allow`. Every error is a problem (RFC 9457): match on its `code`; its `type` is a page of the console with \
the way out.

Answers may gain fields. Requests with unknown fields are refused.";

fn security_schemes() -> Value {
    json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The output of `portbook token`, for users who may read the data directory. \
                The bearer acts as the user of the service.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "portbook-8888",
            "description": "A browser that has logged in (`portbook dashboard`). The number is the \
                console's port. Requests that change something must name the console in `Origin`.",
        },
    })
}

fn security(access: Access) -> Value {
    match access {
        Access::Reading => json!([{}, {"token": []}, {"session": []}]),
        Access::Changing => json!([{"token": []}, {"session": []}]),
    }
}

impl Generators {
    fn operation(&mut self, operation: &Description) -> Value {
        let mut described = json!({
            "operationId": operation.id,
            "tags": [operation.tag.as_str()],
            "summary": operation.summary,
            "description": operation.text,
            "security": security(operation.access()),
            "parameters": parameter::all(operation, &mut self.taken),
            "responses": self.responses(operation),
        });
        if let Some(body) = &operation.body {
            described["requestBody"] = json!({
                "required": operation.needs_body,
                "content": contents(std::slice::from_ref(body), &mut self.taken),
            });
        }
        described
    }

    fn responses(&mut self, operation: &Description) -> Map<String, Value> {
        let mut responses = Map::new();
        for answer in &operation.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in &operation.problems {
            by_status.entry(code.status()).or_default().push(*code);
        }
        for (status, codes) in by_status {
            responses.insert(status.to_string(), self.problem(status, &codes));
        }
        responses
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let header = |(name, says): &(&str, &str)| {
            let described = json!({"description": says, "schema": {"type": "string"}});
            ((*name).to_owned(), described)
        };
        let headers: Map<String, Value> = answer.headers.iter().map(header).collect();
        let mut described = json!({"description": answer.description});
        if !headers.is_empty() {
            described["headers"] = headers.into();
        }
        if !answer.contents.is_empty() {
            described["content"] = contents(&answer.contents, &mut self.given).into();
        }
        described
    }

    fn problem(&mut self, status: u16, codes: &[Code]) -> Value {
        let told: Vec<String> = codes
            .iter()
            .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
            .collect();
        let examples: Map<String, Value> = codes
            .iter()
            .map(|code| {
                let path = format!("#/components/examples/{}", code.as_str());
                (code.as_str().to_owned(), json!({"$ref": path}))
            })
            .collect();
        let mut described = json!({
            "description": told.join(" "),
            "content": {"application/problem+json": {
                "schema": self.given.subschema_for::<Problem>(),
                "examples": examples,
            }},
        });
        if let Some((name, header)) = problem_header(status) {
            described["headers"] = json!({name: header});
        }
        described
    }

    /// The named schemas of both directions.
    fn schemas(&mut self) -> Map<String, Value> {
        let mut schemas = self.taken.take_definitions(true);
        schemas.extend(self.given.take_definitions(true));
        schemas.retain(|name, _| !name.ends_with("Query"));
        schemas
    }
}

fn problem_header(status: u16) -> Option<(&'static str, Value)> {
    match status {
        401 => Some((
            "WWW-Authenticate",
            json!({"description": "The scheme of authentication.", "schema": {"type": "string"}}),
        )),
        429 | 503 => Some((
            "Retry-After",
            json!({
                "description": "Number of seconds after which another try may succeed.",
                "schema": {"type": "integer", "minimum": 1},
            }),
        )),
        _ => None,
    }
}

fn contents(contents: &[Content], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let content = |content: &Content| {
        let example = if content.is_json() {
            // Compiled in and read by a test.
            serde_json::from_str(content.example).unwrap_or_default()
        } else {
            Value::from(content.example)
        };
        let described = json!({"schema": (content.schema)(generator), "example": example});
        (content.media_type.to_owned(), described)
    };
    contents.iter().map(content).collect()
}

fn problem_examples() -> Map<String, Value> {
    let example = |code: &Code| {
        let problem = json!({
            "type": format!("/errors/{}", code.as_str()),
            "title": code.title(),
            "status": code.status(),
            "detail": code.help(),
            "code": code.as_str(),
        });
        (code.as_str().to_owned(), json!({"value": problem}))
    };
    Code::ALL.iter().map(example).collect()
}
