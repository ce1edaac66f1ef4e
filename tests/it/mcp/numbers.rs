//! A number that is the name of a lease, in the tools that take a port.

use serde_json::json;

use super::agent::{Agent, ports, serve, text, tree};
use crate::support::Place;

#[test]
fn number_of_a_name_is_read_by_the_tools_as_by_the_commands() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let shop = tree(&place, "shop");
    let agent = Agent::of(&place, &shop);
    let asked = place.ports[1];
    let leased = agent.ok("lease_port", &json!({"name": asked.to_string()}));
    let port = ports(&leased)[0];
    let _web = serve(&shop, port);
    let by_port = json!({"port": asked});
    for arguments in [&by_port, &json!({"name": asked.to_string()})] {
        let waited = agent.ok("wait_until_serving", arguments);
        assert_eq!(waited["ports"][0]["port"], port, "{waited}");
    }
    let called = format!("{asked} is also the name of a lease");
    for tool in ["who_is_on_port", "explain_port"] {
        let answer = agent.call(tool, &by_port);
        assert!(text(&answer).contains(&called), "{tool}: {answer:#}");
    }
}
