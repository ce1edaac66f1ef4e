//! Logins: a page of the console that lets a browser in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{Description, Method, Operation, Output, Tag};
use super::problem::Code;

/// A page of the console that logs in the browser that opens it, once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LoginDocument {
    /// The page. `None` if the console is off.
    pub url: Option<String>,
    /// Path of the page.
    pub path: String,
    /// Lifetime of the page in seconds.
    pub lasts_s: u64,
}

impl Output for LoginDocument {
    fn status(&self) -> u16 {
        201
    }
}

pub struct CreateLogin;

impl Operation for CreateLogin {
    type Input = ();
    type Output = LoginDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/logins";
    const ID: &'static str = "createLogin";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Service, "Let a browser in")
            .says("Makes a page that logs in the browser that opens it, once, within a minute, as the caller.")
            .answers::<LoginDocument>(201, "The page.", include_str!("example/login.json"))
            .refused(&[Code::HostError])
    }
}
