//! The description of an operation, for OpenAPI. Problems that follow from its shape are added here: a
//! body can be too large, an id can be unknown, a change needs a token.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::Method;
use crate::answers::problem::Code;

/// Schema generator of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Predicate over the names of a query's fields: whether the operation takes the field.
pub type FieldFilter = fn(&str) -> bool;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn text(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string"})
}

/// Subject of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Leases,
    Ports,
    History,
    Service,
    Fleet,
}

impl Tag {
    pub const ALL: [Self; 5] = [
        Self::Leases,
        Self::Ports,
        Self::History,
        Self::Service,
        Self::Fleet,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Ports => "ports",
            Self::History => "history",
            Self::Service => "service",
            Self::Fleet => "fleet",
        }
    }

    pub const fn description(self) -> &'static str {
        match self {
            Self::Leases => "Asking for ports, keeping them, giving them back.",
            Self::Ports => "Who is on a port, and where ports can be had.",
            Self::History => "What was tried, what came of it, and what that adds up to.",
            Self::Fleet => "Hosts that find each other's names, in builds with the feature fleet.",
            Self::Service => "How the service is, its settings, and what happens as it happens.",
        }
    }
}

/// Whether the console needs a token or a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No: every reader sees what the console's user may see.
    Reading,
    /// Yes.
    Changing,
}

/// A body in one media type.
pub struct Content {
    pub media_type: &'static str,
    pub schema: SchemaOf,
    pub example: &'static str,
}

impl Content {
    /// Whether its example is a JSON document, not text.
    pub fn is_json(&self) -> bool {
        self.media_type == JSON
    }
}

/// A successful answer.
pub struct Answer {
    pub status: u16,
    pub description: &'static str,
    pub contents: Vec<Content>,
    /// Names of headers with their descriptions.
    pub headers: Vec<(&'static str, &'static str)>,
}

const JSON: &str = "application/json";

/// The description of one operation.
pub struct Description {
    pub method: Method,
    pub path: &'static str,
    pub id: &'static str,
    pub tag: Tag,
    pub summary: &'static str,
    pub text: &'static str,
    /// Struct with a field for each parameter of the query, and the fields that are taken.
    pub query: Option<(SchemaOf, FieldFilter)>,
    /// Maximum of the query's `limit`, if its struct has none.
    pub max_limit: Option<u32>,
    /// Other parameters: place, name, description, schema.
    pub parameters: Vec<(&'static str, &'static str, &'static str, Value)>,
    pub body: Option<Content>,
    pub needs_body: bool,
    pub answers: Vec<Answer>,
    pub problems: Vec<Code>,
}

impl Description {
    pub fn new(method: Method, path: &'static str, id: &'static str) -> Self {
        let mut problems = vec![Code::Unauthorized, Code::MisdirectedHost];
        if method != Method::Get {
            problems.push(Code::Forbidden);
        }
        if path.contains('{') {
            problems.push(Code::NotFound);
        }
        Self {
            method,
            path,
            id,
            tag: Tag::Service,
            summary: "",
            text: "",
            query: None,
            max_limit: None,
            parameters: Vec::new(),
            body: None,
            needs_body: false,
            answers: Vec::new(),
            problems,
        }
    }

    pub const fn access(&self) -> Access {
        match self.method {
            Method::Get => Access::Reading,
            _ => Access::Changing,
        }
    }

    pub fn about(mut self, tag: Tag, summary: &'static str) -> Self {
        (self.tag, self.summary) = (tag, summary);
        self
    }

    pub fn says(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// Takes the fields of `T` as the query.
    pub fn query<T: JsonSchema>(self) -> Self {
        self.query_of::<T>(|_| true)
    }

    /// Takes some fields of `T` as the query.
    pub fn query_of<T: JsonSchema>(mut self, is_taken: FieldFilter) -> Self {
        self.query = Some((schema_of::<T>, is_taken));
        self.refused(&[Code::InvalidRequest])
    }

    /// Bounds the query's `limit`, from 1 to this.
    pub fn at_most(mut self, max_limit: u32) -> Self {
        self.max_limit = Some(max_limit);
        self
    }

    /// Adds a parameter of any text.
    pub fn parameter(self, place: &'static str, name: &'static str, says: &'static str) -> Self {
        self.parameter_of(place, name, says, json!({"type": "string"}))
    }

    /// Adds a parameter with its JSON schema.
    pub fn parameter_of(
        mut self,
        place: &'static str,
        name: &'static str,
        says: &'static str,
        schema: Value,
    ) -> Self {
        self.parameters.push((place, name, says, schema));
        self
    }

    /// Takes a `T` as the body.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Content {
            media_type: JSON,
            schema: schema_of::<T>,
            example: "",
        });
        self.refused(&[
            Code::InvalidRequest,
            Code::TooLarge,
            Code::UnsupportedMediaType,
        ])
    }

    /// Sets the example of the body.
    pub fn body_example(mut self, example: &'static str) -> Self {
        if let Some(body) = &mut self.body {
            body.example = example;
        }
        self
    }

    /// Requires the body.
    pub const fn needing_body(mut self) -> Self {
        self.needs_body = true;
        self
    }

    fn answer(mut self, status: u16, description: &'static str, contents: Vec<Content>) -> Self {
        self.answers.push(Answer {
            status,
            description,
            contents,
            headers: Vec::new(),
        });
        self
    }

    /// Adds an answer with a JSON document.
    pub fn answers<T: JsonSchema>(
        self,
        status: u16,
        description: &'static str,
        example: &'static str,
    ) -> Self {
        let content = Content {
            media_type: JSON,
            schema: schema_of::<T>,
            example,
        };
        self.answer(status, description, vec![content])
    }

    /// Adds an answer without a body.
    pub fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, Vec::new())
    }

    /// Adds an answer with a text in one of these media types.
    pub fn answers_text(
        self,
        status: u16,
        description: &'static str,
        examples: &[(&'static str, &'static str)],
    ) -> Self {
        let content = |&(media_type, example): &(&'static str, &'static str)| Content {
            media_type,
            schema: text,
            example,
        };
        self.answer(status, description, examples.iter().map(content).collect())
    }

    /// Adds a header to the last answer.
    pub fn with_header(mut self, name: &'static str, says: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, says));
        }
        self
    }

    /// Adds problems.
    pub fn refused(mut self, problems: &[Code]) -> Self {
        for problem in problems {
            if !self.problems.contains(problem) {
                self.problems.push(*problem);
            }
        }
        self
    }
}
