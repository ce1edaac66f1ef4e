//! The console's port: how it is chosen and announced, and that a restart keeps it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::support::{Occupant, Place, Server, occupant, text};
use crate::tools::{ended, lingers};

/// A place whose console prefers the first of its four ports.
fn place() -> Place {
    let mut place = Place::with_ports(1);
    let first = place.console_ports[0].to_string();
    place.set("PORTBOOK_POOLS__CONSOLE__PREFER", &first);
    place
}

/// Listeners on the console's first three ports.
fn occupants(place: &Place) -> Vec<Occupant> {
    let first_three = place.console_ports.iter().take(3);
    first_three.map(|port| occupant(*port)).collect()
}

/// A browser's connection that stays open after its first answer.
fn tab(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.console_port())).unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while !answer.ends_with(b"ok\n") {
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "closed after {:?}", text(&answer));
        answer.extend_from_slice(&part[..length]);
    }
    stream
}

/// Starts a service that must be refused; returns its exit code and stderr.
fn refused(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command: Command = place.command();
    command.arg("serve").args(arguments);
    let output = ended(command);
    assert_eq!(text(&output.stdout), "", "an answer beside the refusal");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn console_moves_past_taken_ports_and_reports_it() {
    let place = place();
    let _occupants = occupants(&place);
    let server = place.serve();
    let url = format!("http://127.0.0.1:{}", place.console_ports[3]);
    assert_eq!(server.console, url, "on stdout");
    let file = std::fs::read_to_string(place.data_dir().join("console")).unwrap();
    assert_eq!(file, format!("{url}\n"));
    let status = place.ok(&["status"]);
    assert!(status.contains(&url), "{status}");
    assert_eq!(place.json(&["status"])["console"], url);
    let log = server.log();
    assert!(log.contains(&url), "{log}");
    let (from, to) = (place.console_ports[0], place.console_ports[3]);
    let moved = format!("the console moved: {from} is in use by python3");
    assert!(log.contains(&moved), "{log}");
    assert!(log.contains(&format!("so it is {to}")), "{log}");
    let overview = server.web("GET", "/", &[]).body;
    let told = format!("<p class=\"landing-moved\"><bdi>{from} is in use by python3");
    assert!(overview.contains(&told), "{overview}");
    let console = format!(", so the console is on {to}.");
    assert!(overview.contains(&console), "{overview}");
}

#[test]
fn the_attempts_name_who_was_in_the_way() {
    let place = place();
    let occupants = occupants(&place);
    let server = place.serve();
    let list = server.get("/api/v1/attempts").json();
    let mut attempts = list["attempts"].as_array().unwrap().clone();
    attempts.reverse();
    assert_eq!(attempts.len(), 4, "{list}");
    for (index, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["port"], place.console_ports[index]);
        assert_eq!(attempt["pool"], "console");
    }
    for (attempt, process) in attempts.iter().zip(&occupants) {
        let occupant = &attempt["occupant"];
        assert_eq!(attempt["outcome"], "in_use");
        assert_eq!(occupant["pid"], process.0.id(), "{attempt}");
        assert_eq!(occupant["state"], "listening");
        let command = occupant["command"].as_str().unwrap();
        assert!(command.starts_with("python3"), "{attempt}");
    }
    assert_eq!(attempts[3]["outcome"], "bound");
    assert!(attempts[3]["occupant"].is_null());
}

#[test]
fn a_stop_with_an_open_tab_costs_no_port() {
    let place = place();
    let occupants = occupants(&place);
    let server = place.serve();
    let port = server.console_port();
    let first_tab = tab(&server);
    assert!(server.stop().success());
    assert!(!place.data_dir().join("console").exists());

    let server = place.serve();
    assert_eq!(server.console_port(), port, "the occupants still there");
    let second_tab = tab(&server);
    assert!(server.stop().success());
    drop(occupants);
    let server = place.serve();
    let preferred = place.console_ports[0];
    assert_eq!(server.console_port(), preferred, "the occupants gone");
    let log = server.log();
    let back = format!("{preferred} is preferred and free, so it is no longer {port}");
    assert!(log.contains(&back), "{log}");
    drop((first_tab, second_tab));
}

#[test]
fn a_kill_with_an_open_tab_costs_no_port() {
    let place = place();
    let occupants = occupants(&place);
    let server = place.serve();
    let port = server.console_port();
    let open = tab(&server);
    server.kill();
    let server = place.serve();
    assert_eq!(server.console_port(), port);
    drop(tab(&server));
    drop((open, occupants));
}

#[test]
fn closed_connections_that_linger_cost_no_port() {
    let place = place();
    let occupant = occupant(place.console_ports[0]);
    let server = place.serve();
    let port = server.console_port();
    assert_eq!(port, place.console_ports[1]);
    // The service closes first, so TIME_WAIT stays on its side.
    assert_eq!(server.web("GET", "/livez", &[]).status, 200);
    assert!(lingers(port), "nothing lingers, so nothing is tested");
    assert!(server.stop().success());
    assert!(lingers(port));
    assert_eq!(place.serve().console_port(), port);
    drop(occupant);
}

#[test]
fn console_moves_when_its_last_port_is_occupied() {
    let place = place();
    let server = place.serve();
    let port = server.console_port();
    assert_eq!(port, place.console_ports[0]);
    assert!(server.stop().success());
    let outsider = occupant(port);
    let server = place.serve();
    assert_eq!(server.console_port(), place.console_ports[1]);
    let log = server.log();
    let pid = format!("(pid {})", outsider.0.id());
    assert!(log.contains(&pid), "who is not named: {log}");
    let moved = format!("so it is {}", server.console_port());
    assert!(log.contains(&moved), "{log}");
}

#[test]
fn a_fixed_address_is_strict() {
    let place = place();
    let port = place.console_ports[0];
    let occupant = occupant(port);
    let (code, said) = refused(&place, &["--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!(code, Some(1), "{said}");
    let process = format!("(pid {})", occupant.0.id());
    let is_named = said.contains(&port.to_string()) && said.contains("python3");
    assert!(is_named && said.contains(&process), "{said}");
}

#[test]
fn a_bound_on_attempts_ends_with_all_their_occupants() {
    let place = place();
    let occupants = occupants(&place);
    let (code, said) = refused(&place, &["--max-attempts", "3"]);
    assert_eq!(code, Some(1), "{said}");
    for (port, occupant) in place.console_ports.iter().zip(&occupants) {
        let (port, pid) = (port.to_string(), format!("(pid {})", occupant.0.id()));
        assert!(said.contains(&port) && said.contains(&pid), "{said}");
    }
    let beyond = place.console_ports[3].to_string();
    assert!(!said.contains(&format!("{beyond} is held")), "{said}");
    assert!(said.contains("max_attempts"), "no way out: {said}");
}

#[test]
fn another_fixed_address_takes_effect_at_the_next_start() {
    let place = place();
    for at in [
        format!("127.0.0.1:{}", place.console_ports[2]),
        format!("127.0.0.1:{}", place.console_ports[1]),
        format!("127.0.0.2:{}", place.console_ports[1]),
    ] {
        let server = place.serve_with(&["--listen", &at]);
        assert_eq!(server.console, format!("http://{at}"));
        assert!(server.stop().success());
    }
}
