//! Operations: everything that can be asked of portbook, each declared once.
//!
//! An [`Operation`] states its method, path, input, output and description; [`Answered`] adds the
//! work. The HTTP route and its OpenAPI description (`api`), the call over the socket (`client`) and
//! the call without a service (`library`) are derived from it.
//!
//! To add one: write a unit struct with both traits in the file of its resource, and register it in
//! `api::operations`. Its input and output derive `JsonSchema`; their doc comments become the
//! descriptions. A path parameter of a new name needs a row in `api::openapi::parameter`. Examples are
//! files in `example`; a test checks them against the schemas.

mod body;
mod description;
mod input;

use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::viewer::Viewer;
use crate::engine::service::Service;
pub use description::{Access, Answer, Content, Description, FieldFilter, Tag};
pub use input::{
    Body, Given, IDEMPOTENCY_KEY, Input, Key, PathParameters, PortPath, Query, Sent, TcpPortPath,
};

/// HTTP method of an operation. HEAD is answered wherever GET is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// The method in capitals, as HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One method of one path.
pub trait Operation: 'static {
    /// Values from the path, the query, the headers and the body.
    type Input: Input;
    /// JSON document of a successful answer.
    type Output: Output;

    const METHOD: Method;
    /// Path with its parameters in braces.
    const PATH: &'static str;
    /// The `operationId` of OpenAPI.
    const ID: &'static str;

    /// Adds the texts, the examples and the problems that the types do not tell.
    fn describe(described: Description) -> Description;

    /// The whole description.
    fn description() -> Description {
        let described = Description::new(Self::METHOD, Self::PATH, Self::ID);
        Self::describe(Self::Input::describe(described))
    }
}

/// An operation that needs nothing but the engine.
pub trait Answered: Operation {
    /// Does the work for the viewer.
    async fn answer(context: Context<'_>, input: Self::Input) -> Result<Self::Output, Problem>;
}

/// The engine and the viewer that an answer is made for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub service: &'a Service,
    pub viewer: &'a Viewer,
}

/// A document that is answered, with its HTTP status and header.
pub trait Output: Serialize + JsonSchema {
    /// HTTP status; 204 has no body.
    fn status(&self) -> u16 {
        200
    }

    /// Name and value of one more header.
    fn header(&self) -> Option<(&'static str, String)> {
        None
    }
}

impl Output for () {
    fn status(&self) -> u16 {
        204
    }
}
