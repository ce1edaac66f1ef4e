//! After a crash of the service an owner's listener guards its lease; the hold returns as soon as that
//! listener closes.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::probe::{How, bind};
use crate::support::{Place, Server};
use crate::tools::eventually;

/// Listens on its port, says so, and for each line that it reads closes or listens again.
const ON_AND_OFF: &str = "
import os, socket, sys
def listen():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', int(os.environ['PORT'])))
    s.listen()
    return s
s = listen()
print(os.environ['PORT'], flush=True)
for line in sys.stdin:
    if line == 'close\\n':
        s.close()
    else:
        s = listen()
    print('done', flush=True)
";

struct Program {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Program {
    fn start(place: &Place) -> Self {
        let mut child = place
            .command()
            .args(["run", "--", "python3", "-c", ON_AND_OFF])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, said, port }
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guard(server: &Server, port: u16) -> Value {
    let list = server.get("/api/v1/leases").json();
    let leases = list["leases"].as_array().unwrap();
    let lease = leases.iter().find(|lease| lease["port"] == port);
    lease.map_or(Value::Null, |lease| lease["guard"].clone())
}

#[test]
fn the_hold_is_back_once_the_owners_listener_has_closed() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut program = Program::start(&place);
    server.kill();
    let server = place.serve();
    assert_eq!(guard(&server, program.port), "owner");
    // The family that the owner left alone is portbook's to guard meanwhile.
    let ipv6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    assert!(bind(ipv6, program.port, How::Strictly).is_err());
    program.tell("close");
    eventually("the hold", || {
        (guard(&server, program.port) == "hold").then_some(())
    });
    // The gate is open for the owner, as before.
    program.tell("listen");
    assert!(std::net::TcpStream::connect(("127.0.0.1", program.port)).is_ok());
}

fn state(server: &Server, port: u16) -> Value {
    let list = server.get("/api/v1/leases").json();
    let leases = list["leases"].as_array().unwrap();
    let lease = leases.iter().find(|lease| lease["port"] == port);
    lease.map_or(Value::Null, |lease| lease["state"].clone())
}

fn until_it_is(server: &Server, port: u16, wanted: &str) {
    eventually(wanted, || (state(server, port) == wanted).then_some(()));
}

#[test]
fn owner_regains_its_port_after_an_outsider() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut program = Program::start(&place);
    until_it_is(&server, program.port, "active");
    // A process of the same user that binds while the owner does not listen is an outsider.
    program.tell("close");
    let outsider = crate::support::occupant(program.port);
    until_it_is(&server, program.port, "lost");
    drop(outsider);
    until_it_is(&server, program.port, "handed");
    program.tell("listen");
    until_it_is(&server, program.port, "active");
}
