//! A host with several network interfaces: the addresses of a lease, and the error if there is none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::host::Host;
use crate::support::{Place, Server, port};

/// Tries to bind each `address port` strictly and prints those refused as in use.
const REFUSED: &str = r#"
import errno, json, socket, sys
refused = []
for address in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        s.bind((address, int(sys.argv[1])))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        refused.append(address)
    s.close()
print(json.dumps(refused))
"#;

/// Serves HTTP on one address and fetches a URL from it.
const SERVE_AND_FETCH: &str = r#"
import http.server, json, socket, sys, threading, urllib.request
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"answered on six0")
    def log_message(self, *_):
        pass
server = Server((sys.argv[1], int(sys.argv[2])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps(urllib.request.urlopen(sys.argv[3]).read().decode()))
"#;

const LAN0: [&str; 2] = ["10.77.0.2", "fd77::2"];
const LAN1: [&str; 2] = ["10.77.1.2", "10.77.1.3"];

fn place() -> Place {
    Place::on((21000..21020).collect(), vec![8888])
}

fn alloc(host: &Host, place: &Place, interfaces: &str) -> Value {
    let granted = host.json(place, &["alloc", "--interface", interfaces]);
    granted["leases"][0].clone()
}

/// The code and detail of a refused allocation.
fn refused(host: &Host, server: &Server, interfaces: &str) -> (String, String) {
    let interfaces: Vec<&str> = interfaces.split(',').collect();
    let body = json!({ "interfaces": interfaces });
    let answer = host.api(server, "POST", "/api/v1/leases", &body);
    let problem = answer.json();
    let word = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (word("code"), word("detail"))
}

/// The addresses of a lease without its port.
fn held_on(lease: &Value) -> BTreeSet<String> {
    let addresses = lease["addresses"].as_array().unwrap().iter();
    addresses
        .map(|address| {
            let (ip, _) = address.as_str().unwrap().rsplit_once(':').unwrap();
            ip.trim_matches(['[', ']']).to_owned()
        })
        .collect()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn really_refused(host: &Host, lease: &Value, candidates: &[&str]) -> BTreeSet<String> {
    let port = port(lease).to_string();
    let mut arguments = vec![&*port];
    arguments.extend(candidates);
    serde_json::from_value(host.python(REFUSED, &arguments)).unwrap()
}

#[test]
fn one_port_is_held_on_two_interfaces_together() {
    let Some(host) = Host::with_many_interfaces("one port on two interfaces") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    let lease = alloc(&host, &place, "lan0,lan1");
    let both = [LAN0, LAN1].concat();
    assert_eq!(held_on(&lease), set(&both));
    assert_eq!(lease["interfaces"], json!(["lan0", "lan1"]));

    let everywhere = [&both[..], &["127.0.0.1", "198.51.100.7", "fd77:6::2"]].concat();
    assert_eq!(really_refused(&host, &lease, &everywhere), set(&both));
    assert!(server.stop().success());
    assert_eq!(really_refused(&host, &lease, &everywhere), set(&[]));
}

#[test]
fn port_busy_on_one_address_is_skipped_on_all() {
    let Some(host) = Host::with_many_interfaces("a port taken on one of two interfaces") else {
        return;
    };
    let place = place();
    let _server = host.serve(&place);
    let alone = alloc(&host, &place, "10.77.1.3");
    assert_eq!(port(&alone), 21000);
    assert_eq!(port(&alloc(&host, &place, "lan0,lan1")), 21001);
    assert_eq!(
        port(&alloc(&host, &place, "lan0")),
        21000,
        "another address"
    );
}

#[test]
fn interfaces_with_ranges_of_their_own_share_their_intersection() {
    let Some(host) = Host::with_many_interfaces("ranges of interfaces") else {
        return;
    };
    let mut place = place();
    place.set("PORTBOOK_INTERFACES__LAN0__RANGES", "22000-22009");
    place.set("PORTBOOK_INTERFACES__LAN1__RANGES", "22008-22019");
    let server = host.serve(&place);
    assert_eq!(port(&alloc(&host, &place, "lan0")), 22000);
    assert_eq!(port(&alloc(&host, &place, "wan0")), 21000, "the pool's own");
    let common = ["lan0,lan1"; 2].map(|both| port(&alloc(&host, &place, both)));
    assert_eq!(common, [22008, 22009]);
    let (code, _) = refused(&host, &server, "lan0,lan1");
    assert_eq!(code, "pool_exhausted");
    assert_eq!(port(&alloc(&host, &place, "lan1")), 22010);
}

#[test]
fn interfaces_without_a_common_port_are_named() {
    let Some(host) = Host::with_many_interfaces("ranges without a common port") else {
        return;
    };
    let mut place = place();
    place.set("PORTBOOK_INTERFACES__LAN0__RANGES", "22000-22009");
    place.set("PORTBOOK_INTERFACES__LAN1__RANGES", "22010-22019");
    let server = host.serve(&place);
    let (code, detail) = refused(&host, &server, "lan0,lan1");
    assert_eq!(code, "pool_exhausted");
    for word in ["lan0", "22000-22009", "lan1", "22010-22019"] {
        assert!(detail.contains(word), "{word} is missing: {detail}");
    }
}

#[test]
fn an_interface_with_ipv6_alone_gives_a_url_that_answers() {
    let Some(host) = Host::with_many_interfaces("an interface with IPv6 alone") else {
        return;
    };
    let place = place();
    let _server = host.serve(&place);
    let lease = alloc(&host, &place, "six0");
    let number = port(&lease).to_string();
    let url = lease["url"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("http://[fd77:6::2]:{number}")),
        "{url}"
    );
    assert_eq!(lease["addresses"], json!([format!("[fd77:6::2]:{number}")]));
    let page = host.python(SERVE_AND_FETCH, &["fd77:6::2", &number, url]);
    assert_eq!(page, "answered on six0");
}

#[test]
fn an_interface_that_is_down_is_shown_and_not_selected() {
    let Some(host) = Host::with_many_interfaces("an interface that is down") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    let listed = host.json(&place, &["interfaces"]);
    let interfaces = listed["interfaces"].as_array().unwrap();
    let up: Vec<(&str, bool)> = interfaces
        .iter()
        .map(|known| (known["name"].as_str().unwrap(), known["up"] == true))
        .filter(|(name, _)| ["lo", "lan0", "lan1", "wan0", "six0", "off0"].contains(name))
        .collect();
    let expected =
        ["lo", "lan0", "lan1", "wan0", "six0", "off0"].map(|name| (name, name != "off0"));
    assert_eq!(up, expected);
    let off = interfaces
        .iter()
        .find(|known| known["name"] == "off0")
        .unwrap();
    assert_eq!(off["addresses"][0]["address"], "10.77.9.2");

    let (code, detail) = refused(&host, &server, "off0");
    assert_eq!(code, "no_such_interface");
    assert!(detail.contains("off0 is down"), "{detail}");
}

#[test]
fn classes_part_private_from_public() {
    let Some(host) = Host::with_many_interfaces("classes of addresses") else {
        return;
    };
    let place = place();
    let _server = host.serve(&place);
    let public = alloc(&host, &place, "public");
    assert_eq!(held_on(&public), set(&["198.51.100.7", "2001:db8::7"]));
    let private = alloc(&host, &place, "private");
    let expected = [&LAN0[..], &LAN1, &["fd77:6::2"]].concat();
    assert_eq!(held_on(&private), set(&expected));
    let v4 = alloc(&host, &place, "private,ipv4,!lan1");
    assert_eq!(held_on(&v4), set(&["10.77.0.2"]));
}

#[test]
fn the_next_allocation_sees_addresses_come_and_go() {
    let Some(host) = Host::with_many_interfaces("addresses that come and go") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    let before = alloc(&host, &place, "lan1");
    assert_eq!(held_on(&before), set(&LAN1));
    host.ok("ip", &["address", "del", "10.77.1.3/24", "dev", "lan1"]);
    assert_eq!(held_on(&alloc(&host, &place, "lan1")), set(&LAN1[..1]));
    let (code, _) = refused(&host, &server, "10.77.1.3");
    assert_eq!(code, "address_not_available");
    host.ok("ip", &["address", "add", "10.77.1.9/24", "dev", "lan1"]);
    let after = alloc(&host, &place, "lan1");
    assert_eq!(held_on(&after), set(&["10.77.1.2", "10.77.1.9"]));

    // The hold outlives its address, and is there when it comes back.
    host.ok("ip", &["address", "add", "10.77.1.3/24", "dev", "lan1"]);
    assert_eq!(really_refused(&host, &before, &LAN1), set(&LAN1));
}

#[test]
fn selector_without_a_match_is_named() {
    let Some(host) = Host::with_many_interfaces("selectors that match nothing") else {
        return;
    };
    let place = place();
    let server = host.serve(&place);
    for selector in ["lan9", "wlan*", "192.0.2.0/24", "lan0,!lan0"] {
        let (code, detail) = refused(&host, &server, selector);
        assert_eq!(code, "no_such_interface", "{selector}: {detail}");
    }
    let (_, detail) = refused(&host, &server, "lan9");
    assert!(
        detail.contains("lan1"),
        "it names those that are there: {detail}"
    );
}
