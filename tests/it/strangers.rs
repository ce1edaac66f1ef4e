//! Outsiders beside an owner: each socket on a leased port that is not the owner's is told while the
//! owner listens too.

use std::process::Command;

use serde_json::Value;

use crate::host::skipped;
use crate::support::{Place, Server, port};
use crate::tools::{Running, eventually};

/// Listens on an address and a port as most servers do: TCP or UDP, or UDP with one client alone; and
/// first as another user if one is given.
const LISTEN: &str = r#"
import os, socket, sys
host, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if len(sys.argv) > 4:
    os.setuid(int(sys.argv[4]))
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind((host, port))
if kind == "tcp":
    s.listen()
if kind == "connected":
    s.connect((host, 9))
print("listens", flush=True)
sys.stdin.read()
"#;

fn outsider(host: &str, port: u16, kind: &str, user: Option<u32>) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", LISTEN, host, &port.to_string(), kind]);
    command.args(user.map(|uid| uid.to_string()));
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "listens");
    program
}

/// A program under `portbook run` that listens on one address of its lease.
fn owner(place: &Place, options: &[&str], host: &str, kind: &str) -> Running {
    let mut command = place.command();
    command.arg("run").args(options);
    command.args(["--", "python3", "-c", LISTEN, host, "{port}", kind]);
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "listens");
    program
}

/// The lease of the owner, once the owner was seen.
fn active(server: &Server) -> Value {
    eventually("the owner listens", || {
        let living = server.living("default");
        living.into_iter().find(|lease| lease["state"] == "active")
    })
}

fn now(server: &Server, lease: &Value) -> Value {
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    server.get(&path).json()
}

fn found(server: &Server) -> u64 {
    let metrics = server.get("/metrics").body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("portbook_late_conflicts_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Addresses of the outsiders that a lease shows, each with its pid.
fn outsiders(lease: &Value) -> Vec<(u64, Vec<String>)> {
    let all = lease["outsiders"].as_array().cloned().unwrap_or_default();
    let one = |outsider: &Value| {
        let addresses = outsider["addresses"].as_array().unwrap().iter();
        let addresses = addresses.map(|address| address.as_str().unwrap().to_owned());
        (
            outsider["pid"].as_u64().unwrap_or_default(),
            addresses.collect(),
        )
    };
    all.iter().map(one).collect()
}

fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Tells of the outsider everywhere, and leaves the lease to its owner.
fn assert_told(place: &Place, options: &[&str], hosts: [&str; 2], kind: &str, user: Option<u32>) {
    let server = place.serve();
    let owner = owner(
        place,
        options,
        hosts[0],
        if kind == "tcp" { "tcp" } else { "udp" },
    );
    let lease = active(&server);
    let number = port(&lease);
    let outsider = outsider(hosts[1], number, kind, user);
    let at = with_port(hosts[1], number);
    let told = format!("python3 (pid {}) on {at}", outsider.pid());

    let lease = eventually("the lease shows the outsider", || {
        let lease = now(&server, &lease);
        (!outsiders(&lease).is_empty()).then_some(lease)
    });
    let expected = vec![(u64::from(outsider.pid()), vec![at.clone()])];
    assert_eq!(outsiders(&lease), expected);
    assert_eq!(lease["state"], "active", "{lease}");
    assert_eq!(lease["owner"]["pid"], owner.pid());

    assert_eq!(found(&server), 1);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("an outsider"));
    assert!(line.is_some_and(|line| line.contains(&told)), "{log}");
    let who = place.ok(&["who", &number.to_string()]);
    let line = who.lines().find(|line| line.contains("an outsider"));
    let line = line.unwrap_or_else(|| panic!("{who}"));
    assert!(line.contains(&format!("(pid {})", outsider.pid())), "{who}");
    let path = format!("/leases/{}", lease["id"].as_str().unwrap());
    let cookie = format!("Bearer {}", server.token());
    let page = server.web("GET", &path, &[("Authorization", &cookie)]);
    assert!(page.body.contains(&at), "{page:?}");
    let list = place.run(&["list"]);
    let list = crate::support::text(&list.stderr);
    assert!(list.contains(&told), "{list}");

    drop(outsider);
    let lease = eventually("the outsider is forgotten", || {
        let lease = now(&server, &lease);
        outsiders(&lease).is_empty().then_some(lease)
    });
    assert_eq!(lease["state"], "active");
    assert_eq!(found(&server), 1);
}

#[test]
fn outsider_on_ipv6_beside_an_owner_on_ipv4_is_told() {
    let place = Place::with_ports(1);
    assert_told(
        &place,
        &["--name", "web"],
        ["127.0.0.1", "::1"],
        "tcp",
        None,
    );
}

#[test]
fn outsider_on_ipv4_beside_an_owner_on_ipv6_is_told() {
    let place = Place::with_ports(1);
    assert_told(&place, &[], ["::1", "127.0.0.1"], "tcp", None);
}

#[test]
fn outsider_of_another_user_beside_an_owner_is_told() {
    if !rustix::process::geteuid().is_root() {
        skipped("an outsider of another user", "only root can become one");
        return;
    }
    for hosts in [["127.0.0.1", "::1"], ["::1", "127.0.0.1"]] {
        let place = Place::with_ports(1);
        assert_told(&place, &["--name", "web"], hosts, "tcp", Some(65534));
    }
}

#[test]
fn outsider_on_another_address_of_the_family_is_told() {
    let place = Place::with_ports(1);
    assert_told(&place, &[], ["127.0.0.1", "127.0.0.2"], "tcp", None);
}

#[test]
fn outsider_on_the_other_half_of_localhost_is_told() {
    let place = Place::with_ports(1);
    let options = ["--interface", "127.0.0.1"];
    assert_told(&place, &options, ["127.0.0.1", "::1"], "tcp", None);
}

#[test]
fn outsider_bound_for_udp_beside_an_owner_is_told() {
    let place = Place::with_ports(1);
    let options = ["--protocol", "udp", "--name", "dns"];
    assert_told(&place, &options, ["127.0.0.1", "::1"], "udp", None);
}

#[test]
fn outsider_with_one_client_for_udp_beside_an_owner_is_told() {
    for hosts in [["127.0.0.1", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]] {
        let place = Place::with_ports(1);
        let options = ["--protocol", "udp", "--name", "dns"];
        assert_told(&place, &options, hosts, "connected", None);
    }
}

#[test]
fn owner_with_one_client_for_udp_is_no_outsider() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let _owner = owner(&place, &["--protocol", "udp"], "127.0.0.1", "connected");
    let lease = active(&server);
    assert_eq!(outsiders(&lease), []);
    assert_eq!(found(&server), 0);
}

#[test]
fn each_outsider_is_told_once() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let _owner = owner(&place, &[], "127.0.0.1", "tcp");
    let lease = active(&server);
    let mut standing = Vec::new();
    for (count, host) in ["::1", "127.0.0.2", "127.0.0.3"].into_iter().enumerate() {
        standing.push(outsider(host, port(&lease), "tcp", None));
        eventually("one more outsider", || {
            let lease = now(&server, &lease);
            (outsiders(&lease).len() == count + 1).then_some(())
        });
        assert_eq!(found(&server), count as u64 + 1);
    }
}

#[test]
fn outsider_that_goes_with_the_owner_is_forgotten() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let owner = owner(&place, &["--name", "web"], "127.0.0.1", "tcp");
    let lease = active(&server);
    let outsider = outsider("::1", port(&lease), "tcp", None);
    eventually("the lease shows the outsider", || {
        let lease = now(&server, &lease);
        (!outsiders(&lease).is_empty()).then_some(())
    });
    // Both between two looks.
    drop((outsider, owner));
    eventually("the outsider is forgotten", || {
        let lease = now(&server, &lease);
        let is_gone = outsiders(&lease).is_empty() && lease["state"] == "reserved";
        is_gone.then_some(())
    });
}

#[test]
fn owner_of_a_neighbouring_lease_is_no_outsider() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let number = place.ports[0].to_string();
    let mut owners = Vec::new();
    for host in ["127.0.0.1", "::1"] {
        let options = ["--port", &number, "--interface", host];
        owners.push(owner(&place, &options, host, "tcp"));
    }
    owners.push(owner(&place, &[], "127.0.0.1", "tcp"));
    let living = eventually("all owners listen", || {
        let living = server.living("default");
        let all = living.iter().all(|lease| lease["state"] == "active");
        (living.len() == 3 && all).then_some(living)
    });
    // All leases are looked at together, so once this outsider is told, both neighbours were seen.
    let _outsider = outsider("::1", place.ports[1], "tcp", None);
    eventually("the outsider is told", || {
        (found(&server) > 0).then_some(())
    });
    for lease in living {
        let is_neighbour = port(&lease) == place.ports[0];
        let expected = usize::from(!is_neighbour);
        assert_eq!(outsiders(&now(&server, &lease)).len(), expected, "{lease}");
    }
    assert_eq!(found(&server), 1);
}

/// Takes the sockets of a lease, and listens with them.
const TAKE: &str = r#"
import json, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(json.dumps({"lease": sys.argv[2]}).encode() + b"\n")
    answer, fds, _, _ = socket.recv_fds(s, 65536, 64)
print(len(fds), flush=True)
sys.stdin.read()
"#;

#[test]
fn socket_that_portbook_made_is_the_owners_in_any_process() {
    let place = Place::with_ports(2);
    let server = place.serve();
    // The owner never has the sockets: a helper that does not descend from it serves with them.
    let elsewhere = outsider("127.0.0.1", place.console_ports[3], "tcp", None);
    let body = serde_json::json!({
        "port": place.ports[0], "handover": "fd", "owner_pid": elsewhere.pid(),
    });
    let granted = server.allocate(&body);
    assert_eq!(granted.status, 201, "{granted:?}");
    let lease = granted.json()["leases"][0].clone();
    let mut take = Command::new("python3");
    take.args(["-c", TAKE]);
    take.arg(place.data_dir().join("portbook.fds.sock"));
    take.arg(lease["id"].as_str().unwrap());
    let mut helper = Running::piped(take);
    assert_eq!(helper.line(), "1");
    let witness = owner(&place, &[], "127.0.0.1", "tcp");
    let of_witness = eventually("the other owner listens", || {
        let living = server.living("default");
        living
            .into_iter()
            .find(|lease| lease["owner"]["pid"] == witness.pid())
    });
    let _outsider = outsider("::1", port(&of_witness), "tcp", None);
    eventually("an outsider is told", || (found(&server) > 0).then_some(()));
    let lease = now(&server, &lease);
    assert_eq!(
        (&lease["state"], outsiders(&lease)),
        (&"active".into(), vec![])
    );
    assert_eq!(found(&server), 1);
}
