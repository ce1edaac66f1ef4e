//! Leases outlive the agent that asked for them, and come back to the programs of their work tree.

use serde_json::json;

use super::agent::{Agent, ports, serve, tree};
use crate::support::Place;
use crate::tools::{eventually, fetch, is_strictly_free};

#[test]
fn lease_outlives_its_agent_and_is_claimed_by_a_server_of_the_tree() {
    let place = Place::with_ports(4);
    let _server = place.serve();
    let shop = tree(&place, "shop");
    let agent = Agent::of(&place, &shop);
    let lease = agent.ok("lease_port", &json!({"name": "web"}));
    let port = ports(&lease)[0];
    assert_eq!(lease["environment"]["PORT"], port.to_string());
    drop(agent);
    assert!(!is_strictly_free(port), "the service holds it");
    let first = serve(&shop, port);
    let agent = Agent::of(&place, &shop);
    agent.ok("wait_until_serving", &json!({"name": "web"}));
    let active = || {
        let leases = agent.ok("list_leases", &json!({}));
        let lease = &leases["leases"][0];
        (lease["state"] == "active").then(|| lease["pid"].clone())
    };
    assert_eq!(
        eventually("the server claims the lease", active),
        first.pid()
    );
    drop(first);
    let away =
        || (agent.ok("list_leases", &json!({}))["leases"][0]["state"] == "reserved").then_some(());
    eventually("the name keeps the port", away);

    // Shut until it is leased again: then it is the same port, and a server can bind it.
    let mut early = serve(&shop, port);
    assert!(!early.0.wait().unwrap().success(), "the gate was open");
    let again = agent.ok("lease_port", &json!({"name": "web"}));
    assert_eq!(ports(&again), [port]);
    let _second = serve(&shop, port);
    agent.ok("wait_until_serving", &json!({"name": "web", "http": "/"}));
    assert!(fetch(port).is_some());
}

#[test]
fn leases_have_the_labels_of_the_settings() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_CLIENT__LABELS", "job=7,team=web");
    let _server = place.serve();
    let shop = tree(&place, "shop");
    let agent = Agent::of(&place, &shop);
    agent.ok("lease_port", &json!({"name": "web"}));
    let list = place.json(&["list", "--label", "job=7"]);
    assert_eq!(
        list["leases"][0]["labels"],
        json!({"job": "7", "team": "web"})
    );
}

#[test]
fn several_ports_instances_and_protocols_are_leased() {
    let place = Place::with_ports(8);
    let _server = place.serve();
    let shop = tree(&place, "shop");
    let agent = Agent::of(&place, &shop);
    let three = agent.ok("lease_port", &json!({"name": "ray", "count": 3}));
    assert_eq!(ports(&three).len(), 3);
    assert_eq!(three["environment"]["PORT_2"], ports(&three)[2].to_string());
    assert_eq!(
        three["run"],
        "portbook run --scope dir --name ray --count 3 -- COMMAND"
    );
    let again = agent.ok("lease_port", &json!({"name": "ray", "count": 3}));
    assert_eq!(ports(&again), ports(&three));
    let second = agent.ok("lease_port", &json!({"name": "ray", "instance": "2"}));
    assert!(!ports(&three).contains(&ports(&second)[0]));
    let udp = agent.ok("lease_port", &json!({"name": "dns", "protocol": "udp"}));
    assert_eq!(udp["leases"][0]["url"], json!(null));
    let (code, _) = agent.refused("service_url", &json!({"name": "dns"}));
    assert_eq!(code, "failed");
    // All ports of a name are released together.
    let released = agent.ok("release_lease", &json!({"name": "ray"}));
    assert_eq!(released["released"].as_array().unwrap().len(), 3);
}

#[test]
fn without_a_service_the_tools_work_on_the_record() {
    let place = Place::with_ports(3);
    let shop = tree(&place, "shop");
    let agent = Agent::of(&place, &shop);
    let lease = agent.ok("lease_port", &json!({"name": "web"}));
    let told = lease["summary"].to_string();
    assert!(
        told.contains("no service holds this port") && told.contains("portbook serve"),
        "{told}"
    );
    let port = ports(&lease)[0];
    let _running = serve(&shop, port);
    agent.ok("wait_until_serving", &json!({"name": "web", "http": "/"}));
    let who = agent.ok("who_is_on_port", &json!({"port": port}));
    assert!(who["ports"].to_string().contains("python3"), "{who:#}");
    agent.ok("explain_port", &json!({"name": "web"}));
    let url = agent.ok("service_url", &json!({"name": "web"}));
    assert_eq!(url["urls"], json!([format!("http://127.0.0.1:{port}")]));
    agent.refused("release_lease", &json!({"name": "web"}));
    // A service that starts later is used from then on.
    let server = place.serve();
    agent.ok("lease_port", &json!({"name": "api"}));
    assert_eq!(server.living("default").len(), 2);
}
