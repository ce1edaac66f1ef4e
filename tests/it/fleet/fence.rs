//! The fence in a kernel of the test's own: a network namespace with etcd, portbook, and a program that
//! never stops listening.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::reaches;
use crate::host::Host;
use crate::support::{Place, Server, text};
use crate::tools::{Running, eventually};

const ENGINE: &str = "http://127.0.0.1:2379";

/// A leased port, and one of the same pool that nothing leases.
const LEASED: u16 = 20_000;
const OTHER: u16 = 20_001;

/// Listens on the ports that it is told, for ever.
const LISTEN: &str = "
import socket, sys
held = [socket.create_server(('127.0.0.1', int(port))) for port in sys.argv[1:]]
while True: held[0].accept()
";

/// Connects to a port, and prints whether that succeeds.
const PROBE: &str = "
import socket, sys
probe = socket.socket()
probe.settimeout(0.4)
print('false' if probe.connect_ex(('127.0.0.1', int(sys.argv[1]))) else 'true')
";

fn etcd(host: &Host, folder: &TempDir) -> Running {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.path());
    let mut command = host.enter(&command);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command)
}

fn serve(host: &Host, place: &Place) -> Server {
    let mut command = place.command();
    command.arg("serve");
    Server::start(host.enter(&command), &place.data_dir())
}

fn is_reached(host: &Host, port: u16) -> bool {
    host.python(PROBE, &[&port.to_string()]) == Value::Bool(true)
}

/// Waits until both ports are as they should be.
fn expect(what: &str, host: &Host, leased: bool) {
    eventually(what, || {
        let is_so = is_reached(host, LEASED) == leased && !is_reached(host, OTHER);
        is_so.then_some(())
    });
}

#[test]
fn number_is_reached_while_its_lease_lives_and_no_longer() {
    let test = "the fence of unique numbers";
    let Some(host) = Host::plain(test) else {
        return;
    };
    let tools = [("etcd", "--version"), ("nft", "--version")];
    let is_absent =
        |(tool, option): &(&str, &str)| Command::new(tool).arg(option).output().is_err();
    if tools.iter().any(is_absent) {
        crate::host::skipped(test, "etcd or nft is not installed");
        return;
    }
    let folder = TempDir::new().unwrap();
    let _etcd = etcd(&host, &folder);
    let mut place = super::place_with(ENGINE, "one");
    place.set("PORTBOOK_POOLS__EDGE__RANGES", &format!("{LEASED}-{OTHER}"));
    place.set("PORTBOOK_POOLS__EDGE__INTERFACES", "127.0.0.1");
    place.set("PORTBOOK_POOLS__EDGE__STRATEGY", "ordered");
    place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
    place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "10m");
    let server = serve(&host, &place);
    let status = reaches(&server, "joined");
    assert_eq!(status["fence"], "kernel", "{status}");

    let mut run = place.command();
    run.args(["run", "--pool", "edge", "--name", "web", "--ttl", "1h"]);
    run.args(["--handover", "release", "--", "python3", "-c", LISTEN]);
    run.args(["{port}", &OTHER.to_string()]);
    let _program = Running::start(host.enter(&run));
    expect("the leased port is reached alone", &host, true);
    let lease = server.living("edge").remove(0);
    assert_eq!(
        (&lease["port"], &lease["fence"]),
        (&LEASED.into(), &"kernel".into())
    );

    host.ok("nft", &["flush", "ruleset"]);
    expect("the table is loaded again", &host, true);
    server.kill();
    expect("the permit outlives the service", &host, true);
    let server = serve(&host, &place);
    reaches(&server, "joined");
    expect("a start changes nothing", &host, true);
    let mut doctor = place.command();
    doctor.arg("doctor");
    let told = text(&host.enter(&doctor).output().unwrap().stdout);
    assert!(told.contains("fence: kernel"), "{told}");

    let mut release = place.command();
    release.args(["release", "web", "--force"]);
    let released = host.enter(&release).output().unwrap();
    let told = text(&released.stdout) + &text(&released.stderr);
    assert!(
        told.contains("the fence of the fleet cuts it off"),
        "{released:?}"
    );
    expect("the program is cut off with its lease", &host, false);
}
