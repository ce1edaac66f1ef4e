//! An operation as a person describes it. What follows from its shape is added here: a body can be
//! too large, a path without a match is not found, whoever asks for what is not theirs is refused.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::api::problem::Code;

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Says of a field by its name whether an operation takes it.
pub(super) type IsTaken = fn(&str) -> bool;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn text(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string"})
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Leases,
    Ports,
    History,
    Service,
}

impl Tag {
    pub(super) const ALL: [Self; 4] = [Self::Leases, Self::Ports, Self::History, Self::Service];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Ports => "ports",
            Self::History => "history",
            Self::Service => "service",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Leases => "Asking for ports, keeping them, giving them back.",
            Self::Ports => "Who is on a port, and where ports can be had.",
            Self::History => "What was tried, what came of it, and what that adds up to.",
            Self::Service => "How the service is, its settings, and what happens as it happens.",
        }
    }
}

/// Whether the console wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody may read what the console's user may see.
    Reading,
    /// The token or a session is needed.
    Changing,
}

/// A body in one form.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) example: &'static str,
}

impl Content {
    /// Whether its example is a JSON document rather than a text.
    pub(super) fn is_json(&self) -> bool {
        self.media_type == JSON
    }
}

/// What is answered when it went well.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) contents: Vec<Content>,
    /// Headers with what they say.
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

const JSON: &str = "application/json";

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: Tag,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) access: Access,
    /// A struct whose fields are the query's, and which of them are taken.
    pub(super) query: Option<(SchemaOf, IsTaken)>,
    /// Maximum of the query's `limit`, where its struct does not tell.
    pub(super) most_rows: Option<u32>,
    /// Other parameters: where, the name, what it says, what it takes.
    pub(super) parameters: Vec<(&'static str, &'static str, &'static str, Value)>,
    pub(super) body: Option<Content>,
    /// Whether the body may not be left out.
    pub(super) needs_body: bool,
    pub(super) answers: Vec<Answer>,
    pub(super) problems: Vec<Code>,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str, access: Access) -> Self {
        let mut problems = vec![Code::Unauthorized, Code::MisdirectedHost];
        if access == Access::Changing {
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
            description: "",
            access,
            query: None,
            most_rows: None,
            parameters: Vec::new(),
            body: None,
            needs_body: false,
            answers: Vec::new(),
            problems,
        }
    }

    pub(super) fn get(path: &'static str, id: &'static str) -> Self {
        Self::new("get", path, id, Access::Reading)
    }

    pub(super) fn post(path: &'static str, id: &'static str) -> Self {
        Self::new("post", path, id, Access::Changing)
    }

    pub(super) fn put(path: &'static str, id: &'static str) -> Self {
        Self::new("put", path, id, Access::Changing)
    }

    pub(super) fn delete(path: &'static str, id: &'static str) -> Self {
        Self::new("delete", path, id, Access::Changing)
    }

    pub(super) fn about(mut self, tag: Tag, summary: &'static str) -> Self {
        (self.tag, self.summary) = (tag, summary);
        self
    }

    pub(super) fn says(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// The query's fields are those of `T`.
    pub(super) fn query<T: JsonSchema>(self) -> Self {
        self.query_of::<T>(|_| true)
    }

    /// The query's fields are some of those of `T`.
    pub(super) fn query_of<T: JsonSchema>(mut self, is_taken: IsTaken) -> Self {
        self.query = Some((schema_of::<T>, is_taken));
        self.refused(&[Code::InvalidRequest])
    }

    /// The query's `limit` is this at most, and 1 at least.
    pub(super) fn at_most(mut self, most_rows: u32) -> Self {
        self.most_rows = Some(most_rows);
        self
    }

    /// A parameter that is any text.
    pub(super) fn parameter(
        self,
        place: &'static str,
        name: &'static str,
        says: &'static str,
    ) -> Self {
        self.parameter_of(place, name, says, json!({"type": "string"}))
    }

    /// A parameter with what it takes, as a JSON schema.
    pub(super) fn parameter_of(
        mut self,
        place: &'static str,
        name: &'static str,
        says: &'static str,
        schema: Value,
    ) -> Self {
        self.parameters.push((place, name, says, schema));
        self
    }

    /// The body is a `T`, or may be left out.
    pub(super) fn body<T: JsonSchema>(mut self, example: &'static str) -> Self {
        self.body = Some(Content {
            media_type: JSON,
            schema: schema_of::<T>,
            example,
        });
        self.refused(&[
            Code::InvalidRequest,
            Code::TooLarge,
            Code::UnsupportedMediaType,
        ])
    }

    /// The body may not be left out.
    pub(super) const fn needing_body(mut self) -> Self {
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

    /// A JSON document is answered.
    pub(super) fn answers<T: JsonSchema>(
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

    /// Nothing but the status is answered.
    pub(super) fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, Vec::new())
    }

    /// A text is answered, in one of these media types.
    pub(super) fn answers_text(
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

    /// The last answer has this header.
    pub(super) fn with_header(mut self, name: &'static str, says: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, says));
        }
        self
    }

    /// It may also end like this.
    pub(super) fn refused(mut self, problems: &[Code]) -> Self {
        self.problems.extend(problems);
        self
    }
}
