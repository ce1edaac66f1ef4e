//! `portbook who`: occupants of a port with address, owner and lease; all listeners of the host; and past
//! occupants.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, Server, occupant, text};
use crate::tools::eventually;

/// A program of a lease that runs until dropped.
struct Program(Child);

impl Program {
    fn run(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.command();
        command.arg("run").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// A web server on `port` under a lease of `leased`, once it listens.
    fn serving(place: &Place, name: &str, leased: &str, port: &str) -> Self {
        let server = ["--", "python3", "-m", "http.server", port];
        let arguments = [&["--name", name, "--port", leased], &server[..]].concat();
        let program = Self::run(place, &arguments);
        place.ok(&["wait", port, "--timeout", "30s"]);
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn with_and_without_a_service(ports: usize, test: impl Fn(&Place)) {
    let place = Place::with_ports(ports);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
    test(&Place::with_ports(ports));
}

/// Takes a snapshot.
fn look(server: &Server) {
    let answer = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn command_who_tells_owners_from_outsiders() {
    with_and_without_a_service(2, |place| {
        let [own, taken] = [place.ports[0].to_string(), place.ports[1].to_string()];
        let program = Program::serving(place, "own", &own, &own);
        let _occupant = occupant(place.ports[1]);

        let said = place.ok(&["who", &own]);
        assert!(said.contains("is leased to own: "), "{said}");
        assert!(
            said.contains(" on 0.0.0.0 (every interface): listening by python3"),
            "{said}"
        );
        assert!(said.contains("the lease's own"), "{said}");
        assert!(!said.contains("occupied"), "{said}");
        let found = place.json(&["who", &own]);
        let occupant = &found["occupants"][0];
        assert_eq!(occupant["relation"], "owner");
        assert_eq!(occupant["pid"], program.0.id());
        assert_eq!(occupant["addresses"], json!([format!("0.0.0.0:{own}")]));
        assert_eq!(occupant["lease"]["name"], "own");

        let said = place.ok(&["who", &taken]);
        assert!(
            said.contains("is occupied on 127.0.0.1 (this host alone): "),
            "{said}"
        );
        assert!(said.contains(", an outsider\n"), "{said}");
        let found = place.json(&["who", &taken]);
        assert_eq!(found["occupants"][0]["relation"], "stranger");
        assert_eq!(
            found["occupants"][0]["addresses"],
            json!([format!("127.0.0.1:{taken}")])
        );
    });
}

#[test]
fn two_leases_of_one_number_differ_by_their_addresses() {
    with_and_without_a_service(1, |place| {
        let port = place.ports[0].to_string();
        for (name, address) in [("one", "127.0.0.2"), ("two", "127.0.0.3")] {
            place.ok(&["alloc", "--name", name, "--port", &port, "-i", address]);
        }
        let said = place.ok(&["who", &port]);
        for (name, address) in [("one", "127.0.0.2"), ("two", "127.0.0.3")] {
            let line = said
                .lines()
                .find(|line| line.contains(&format!(" to {name}: ")));
            assert!(line.unwrap().ends_with(&format!("for {address}")), "{said}");
        }
    });
}

#[test]
fn command_who_shows_both_protocols_of_a_port() {
    with_and_without_a_service(1, |place| {
        let port = place.ok(&["alloc", "--protocol", "udp", "--name", "dns"]);
        let port = port.trim();
        let said = place.ok(&["who", port]);
        assert!(
            said.starts_with(&format!("{port}/udp is leased to dns")),
            "{said}"
        );
        assert!(said.contains(&format!("{port}/tcp is free")), "{said}");
        let found = place.json(&["who", port]);
        assert_eq!(found["protocol"], "tcp");
        assert_eq!(found["udp"]["leases"][0]["name"], "dns");
        assert!(
            place
                .json(&["who", "--protocol", "tcp", port])
                .get("udp")
                .is_none()
        );
        assert_eq!(place.json(&["who", "dns"])["protocol"], "udp");
        place.ok(&["release", port]);
        assert_eq!(
            place.ok(&["who", port]).lines().next(),
            Some(&*format!("{port} is free, for TCP and UDP"))
        );
    });
}

#[test]
fn command_who_without_a_port_lists_every_listener() {
    with_and_without_a_service(3, |place| {
        let [own, taken, kept] = [0, 1, 2].map(|index| place.ports[index].to_string());
        let _program = Program::serving(place, "own", &own, &own);
        let occupant = occupant(place.ports[1]);
        place.ok(&["alloc", "--name", "kept", "--port", &kept]);
        let row = |said: &str, port: &str| {
            let line = said.lines().find(|line| line.starts_with(port));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let ranges = format!("{own},{taken},{kept}");
        for arguments in [&["who"][..], &["who", &ranges]] {
            let said = place.ok(arguments);
            let row = |port: &str| row(&said, port).unwrap_or_default();
            assert!(row(&own).contains("tcp 0.0.0.0 python3/"), "{said}");
            assert!(row(&own).contains(" own "), "{said}");
            let process = format!("tcp 127.0.0.1 python3/{} ", occupant.0.id());
            assert!(row(&taken).contains(&process), "{said}");
            assert!(row(&taken).contains(" outsider "), "{said}");
        }
        let said = place.ok(&["who", &ranges]);
        assert!(
            row(&said, &kept).unwrap().contains("kept (handed)"),
            "{said}"
        );
        assert_eq!(
            row(&place.ok(&["who"]), &kept),
            None,
            "no process listens there"
        );
        let found = place.json(&["who", &ranges]);
        assert_eq!(found["listeners"].as_array().unwrap().len(), 2);
        assert_eq!(found["leases"][0]["name"], "kept");
    });
}

#[test]
fn pages_of_listeners_lead_to_the_next() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let occupants: Vec<_> = place.ports.iter().map(|port| occupant(*port)).collect();
    let ports = crate::support::ranges(&place.ports);
    let mut path = format!("/api/v1/listeners?ports={ports}&limit=2");
    let mut found: Vec<Value> = Vec::new();
    let mut pages = 0;
    loop {
        let page = server.get(&path).json();
        found.extend(page["listeners"].as_array().unwrap().clone());
        pages += 1;
        match page["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, 2);
    let ports: Vec<u64> = found
        .iter()
        .map(|one| one["port"].as_u64().unwrap())
        .collect();
    let wanted: Vec<u64> = place.ports.iter().map(|port| u64::from(*port)).collect();
    assert_eq!(ports, wanted);
    drop(occupants);
    for wrong in [
        "limit=0",
        "limit=1001",
        "ports=9-8",
        "protocol=sctp",
        "after=0",
        "x=1",
    ] {
        let answer = server.get(&format!("/api/v1/listeners?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[test]
fn command_who_names_an_owner_listening_elsewhere() {
    with_and_without_a_service(2, |place| {
        let [given, other] = [place.ports[0].to_string(), place.ports[1].to_string()];
        let _program = Program::serving(place, "book", &given, &other);
        let said = place.ok(&["who", &other]);
        let words = format!("its program holds lease book (port {given})");
        assert!(said.contains(&words), "{said}");
        let found = place.json(&["who", &other]);
        assert_eq!(found["occupants"][0]["holds"]["name"], "book");
        let said = place.ok(&["who", &other.clone()]);
        assert!(said.contains("an outsider"), "{said}");
    });
}

#[test]
fn an_owner_is_named_as_it_is_after_exec() {
    with_and_without_a_service(1, |place| {
        let program = Program::run(place, &["--name", "slow", "--", "sleep", "60"]);
        let pid = program.0.id();
        let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        eventually("it is sleep", || (comm() == "sleep\n").then_some(()));
        let said = place.ok(&["list", "--pool", "default"]);
        assert!(said.contains(&format!("sleep/{pid}")), "{said}");
        let said = place.ok(&["who", "slow"]);
        assert!(
            said.contains(&format!("owned by sleep (pid {pid})")),
            "{said}"
        );
        let found = place.json(&["list"]);
        let leases = found["leases"].as_array().unwrap();
        let slow = leases.iter().find(|lease| lease["name"] == "slow").unwrap();
        assert_eq!(slow["owner"]["command"], "sleep");
    });
}

/// Listens on an address of a port until dropped.
fn named_program(place: &Place, name: &str, port: u16) -> Child {
    let script = "import socket,sys\n\
        open('/proc/self/comm','w').write(sys.argv[2])\n\
        s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()\n\
        open(sys.argv[3], 'w'); sys.stdin.read()";
    let up = place.folder().join(format!("{}-is-up", name.len()));
    let _ = std::fs::remove_file(&up);
    let child = Command::new("python3")
        .args(["-c", script, &port.to_string(), name])
        .arg(&up)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it listens", || up.exists().then_some(()));
    child
}

#[test]
fn past_occupants_are_shown_with_program_user_and_times() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = place.ports[0].to_string();
    for name in ["first", "=evil\u{1b}[2J"] {
        let mut child = named_program(&place, name, place.ports[0]);
        look(&server);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let uid = rustix::process::geteuid().as_raw();
    let found = place.json(&["who", &port]);
    let sightings = found["sightings"].as_array().unwrap();
    assert_eq!(
        sightings.len(),
        2,
        "another program began another run: {found}"
    );
    assert_eq!(sightings[0]["command"], "=evil\u{1b}[2J");
    assert!(sightings[0]["until"].is_null(), "no look since: {found}");
    assert_eq!(sightings[1]["command"], "first");
    assert_eq!(sightings[1]["uid"], uid);
    assert_eq!(sightings[1]["address"], "127.0.0.1");
    assert_eq!(sightings[1]["from"], sightings[1]["until"]);
    look(&server);
    let said = place.ok(&["who", &port]);
    assert!(
        said.contains(&format!(": first (uid {uid}) on 127.0.0.1\n")),
        "{said}"
    );
    assert!(
        said.contains("=evil\u{fffd}[2J") && !said.contains('\u{1b}'),
        "{said}"
    );
    let page = server.web("GET", &format!("/ports/tcp/{port}"), &[]).body;
    assert!(page.contains(&format!("first (uid {uid})")), "{page}");
    // Also after the service has ended, from the record alone.
    assert!(server.stop().success());
    assert!(
        place
            .ok(&["who", &port])
            .contains(&format!(": first (uid {uid}) on 127.0.0.1\n"))
    );
}

#[test]
fn sightings_are_exported_with_program_times_and_filters() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let [port, other] = [place.ports[0].to_string(), place.ports[1].to_string()];
    let occupants = [occupant(place.ports[0]), occupant(place.ports[1])];
    look(&server);
    drop(occupants);
    look(&server);
    let export = |more: &[&str]| {
        let all = [
            &[
                "history",
                "export",
                "--kind",
                "sightings",
                "--format",
                "jsonl",
            ],
            more,
        ];
        let lines = place.ok(&all.concat());
        let rows = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        rows.collect::<Vec<Value>>()
    };
    let uid = rustix::process::geteuid().as_raw();
    let of_port = export(&["--port", &port]);
    assert_eq!(of_port.len(), 1, "{of_port:?}");
    assert_eq!(of_port[0]["command"], "python3");
    assert_eq!(of_port[0]["uid"], uid);
    for time in ["first_at", "last_at"] {
        assert!(
            of_port[0][time].as_str().unwrap().ends_with('Z'),
            "{of_port:?}"
        );
    }
    let count = |more: &[&str]| export(more).len();
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--port", &format!("{port}-{other}")]), 2);
    assert_eq!(count(&["--protocol", "udp"]), 0);
    assert_eq!(count(&["--uid", &uid.to_string()]), 2);
    assert_eq!(count(&["--uid", "4294967294"]), 0);
    assert_eq!(count(&["--since", "1h", "--until", "1d"]), 0);
    assert_eq!(count(&["--since", "1h"]), 2);
    assert_eq!(count(&["--since", "2099-01-01T00:00:00Z"]), 0);
    let refused = place.run(&[
        "history",
        "export",
        "--kind",
        "sightings",
        "--pool",
        "default",
    ]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("leave the filter \"pool\" out"));
}

#[test]
fn the_other_small_tables_take_filters_too() {
    let place = Place::with_ports(2);
    let server = place.serve();
    for port in &place.ports {
        let port = port.to_string();
        place.ok(&["alloc", "--port", &port, "--name", &format!("job{port}")]);
        place.ok(&["release", &port]);
    }
    let rows = |kind: &str, more: &[&str]| {
        let all = [
            &["history", "export", "--kind", kind, "--format", "jsonl"],
            more,
        ]
        .concat();
        place.ok(&all).lines().count()
    };
    let port = place.ports[0].to_string();
    assert_eq!(rows("endings", &["--port", &port]), 1);
    assert_eq!(rows("endings", &["--name", &format!("job{port}")]), 1);
    assert_eq!(
        rows("endings", &["--pool", "default", "--protocol", "tcp"]),
        2
    );
    assert_eq!(rows("endings", &["--until", "1h"]), 0);
    assert_eq!(
        rows(
            "conflicts",
            &["--port", &port, "--pool", "default", "--name", "x"]
        ),
        0
    );
    look(&server);
    assert!(rows("snapshots", &["--since", "1h"]) > 0);
    assert_eq!(rows("snapshots", &["--until", "1h"]), 0);
    let refused = place.run(&["history", "export", "--kind", "snapshots", "--port", &port]);
    assert!(!refused.status.success());
}
