//! The state of the service.

use super::document::StatusDocument;
use super::operation::{Description, Method, Operation, Output, Tag};

impl Output for StatusDocument {}

pub struct ShowStatus;

impl Operation for ShowStatus {
    type Input = ();
    type Output = StatusDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/status";
    const ID: &'static str = "showStatus";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Service, "The state of the service")
            .says("Its addresses, its holds and the results of its checks.")
            .answers::<StatusDocument>(200, "The status.", include_str!("example/status.json"))
    }
}
