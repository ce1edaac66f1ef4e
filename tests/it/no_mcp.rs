//! A build without the server for coding agents.

use crate::host::skipped;
use crate::support::{Place, text};

#[test]
fn build_without_the_agents_server_names_the_one_that_has_it() {
    skipped("`portbook mcp`", "this is a build without the feature mcp");
    let place = Place::with_ports(1);
    let refused = place.run(&["mcp"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("--features mcp"), "{said}");
}
