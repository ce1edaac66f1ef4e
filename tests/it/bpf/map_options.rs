//! What may be asked of `portbook run --map`, and where it is refused.

use std::net::{Ipv4Addr, TcpStream};

use super::map::{COPY, asked_for, own_pid, reaches};
use super::{is_active, lease, life::links, served, served_with};
use crate::support::{Place, port, text};
use crate::tools::{Running, ended};

#[test]
fn several_maps_of_one_program_have_a_port_each() {
    const BOTH: &str = r"
import socket, sys
for port in sys.argv[1:]:
    s = socket.socket()
    s.bind(('', int(port)))
    s.listen()
    globals()[port] = s
print(*(globals()[port].getsockname()[1] for port in sys.argv[1:]), flush=True)
input()
";
    let Some((place, server)) = served("several maps") else {
        return;
    };
    let (a, b) = (place.ports[1].to_string(), asked_for(&place).1);
    let mut command = place.command();
    command.args(["run", "--scope", "user"]);
    command.args(["--map", &format!("{a}=a"), "--map", &format!("{b}=b"), "--"]);
    command.args(["python3", "-c", BOTH, &a, &b]);
    let mut owner = Running::piped(command);
    let ports = owner.line();
    // The second lease is on the number that the first is asked for by: no port is mapped twice.
    let leased = ["a", "b"].map(|name| port(&lease(&server, name, is_active)).to_string());
    assert_eq!(ports, leased.join(" "));
    assert_eq!(leased[1], a);
    assert_eq!(links(server.child.id()), 6);
}

#[test]
fn lease_on_one_address_takes_the_wildcard_there() {
    let Some((place, server)) = served("one address") else {
        return;
    };
    let (_, word) = asked_for(&place);
    let program = ["python3", "-c", COPY, &word, "0.0.0.0"];
    let mut command = place.command();
    command.args(["run", "-i", "127.0.0.1", "--map", &format!("{word}=web")]);
    command.args(["--scope", "user", "--"]).args(program);
    let mut owner = Running::piped(command);
    let (pid, port) = own_pid(&owner.line());
    assert_eq!(reaches(&mut owner, ""), format!("{pid} {pid}"));
    lease(&server, "web", is_active);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
}

#[test]
fn map_of_a_project_file_is_in_force() {
    let Some((place, server)) = served("a project's map") else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let folder = place.data_dir().join("project");
    std::fs::create_dir_all(&folder).unwrap();
    let file = format!("[services.web]\nmap = {asked}\n");
    std::fs::write(folder.join("portbook.toml"), file).unwrap();
    let mut command = place.command();
    command.current_dir(&folder);
    command.args(["run", "--service", "web", "--", "python3", "-c", COPY]);
    command.args([&word, "0.0.0.0"]);
    let mut owner = Running::piped(command);
    let (pid, port) = own_pid(&owner.line());
    assert_ne!(port, asked);
    assert_eq!(reaches(&mut owner, ""), format!("{pid} {pid}"));
    assert_eq!(lease(&server, "web", is_active)["mapped_from"], asked);
}

#[test]
fn map_of_all_ports_of_a_project_file_is_beside_that_of_the_service() {
    let Some((place, server)) = served_with("a project's map of all", 12) else {
        return;
    };
    let (asked, word) = asked_for(&place);
    let folder = place.data_dir().join("project");
    std::fs::create_dir_all(&folder).unwrap();
    let file = "[services.web]\nmap = \"all\"\n";
    std::fs::write(folder.join("portbook.toml"), file).unwrap();
    let mut command = place.command();
    command.current_dir(&folder);
    command.args(["run", "--service", "web", "--", "python3", "-c", COPY]);
    command.args([&word, "0.0.0.0"]);
    let mut owner = Running::piped(command);
    let (pid, leased) = own_pid(&owner.line());
    assert_eq!(reaches(&mut owner, ""), format!("{pid} {pid}"));
    let of_number = lease(&server, &word, is_active);
    assert_eq!(
        (port(&of_number), &of_number["mapped_from"]),
        (leased, &asked.into())
    );
    assert_ne!(port(&lease(&server, "web", |_| true)), leased);
}

#[test]
fn map_that_cannot_be_had_is_refused_before_the_program_starts() {
    let place = Place::with_ports(8);
    let refused = |arguments: &[&str]| {
        let mut command = place.command();
        command
            .arg("run")
            .args(arguments)
            .args(["--", "echo", "started"]);
        let output = ended(command);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        text(&output.stderr)
    };
    let alone = refused(&["--map", "8080"]);
    assert!(
        alone.contains("port 8080 cannot be mapped") && alone.contains("no service runs"),
        "{alone}"
    );
    assert!(alone.contains("CAP_BPF"), "{alone}");
    let all = refused(&["--map", "all"]);
    assert!(
        all.contains("cannot be mapped") && all.contains("no service runs"),
        "{all}"
    );
    let said = refused(&["--map", "all", "--port", "3000"]);
    assert!(said.contains("not known beforehand"), "{said}");
    let said = refused(&["--map", "8080", "--handover", "gate"]);
    assert!(said.contains("leave out --handover gate"), "{said}");
    let udp = refused(&["--map", "8080", "--protocol", "udp"]);
    assert!(
        udp.contains("port 8080 cannot be mapped") && udp.contains("no service runs"),
        "{udp}"
    );
    let said = refused(&["--map", "all", "--protocol", "udp"]);
    assert!(said.contains("TCP alone"), "{said}");
    let said = refused(&["--map", "8080", "--map", "8080=web"]);
    assert!(said.contains("mapped twice"), "{said}");
}
