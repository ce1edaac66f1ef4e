//! The fence in a kernel of the test's own: a network namespace with etcd, portbook, and a program that
//! never stops listening.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{reaches, status};
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

/// A host with etcd whose pool `edge` has a fence, or what is to be said of its absence.
struct Fenced {
    host: Host,
    place: Place,
    folder: TempDir,
    etcd: Option<Running>,
}

impl Fenced {
    /// `None`, reported on stderr, if this machine cannot have it.
    fn new(test: &str, reclaim: &str) -> Option<Self> {
        let host = Host::plain(test)?;
        let tools = [("etcd", "--version"), ("nft", "--version")];
        let is_absent =
            |(tool, option): &(&str, &str)| Command::new(tool).arg(option).output().is_err();
        if tools.iter().any(is_absent) {
            crate::host::skipped(test, "etcd or nft is not installed");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let etcd = Some(etcd(&host, &folder));
        let mut place = super::place_with(ENGINE, "one");
        place.set("PORTBOOK_POOLS__EDGE__RANGES", &format!("{LEASED}-{OTHER}"));
        place.set("PORTBOOK_POOLS__EDGE__INTERFACES", "127.0.0.1");
        place.set("PORTBOOK_POOLS__EDGE__STRATEGY", "ordered");
        place.set("PORTBOOK_POOLS__EDGE__FLEET", "unique");
        place.set("PORTBOOK_POOLS__EDGE__RECLAIM", reclaim);
        Some(Self {
            host,
            place,
            folder,
            etcd,
        })
    }

    /// Output of a command of this host, and whether it succeeded.
    fn ask(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.place.command();
        command.args(words);
        let output = self.host.enter(&command).output().unwrap();
        let told = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), told)
    }

    fn has_table(&self) -> bool {
        let listed = self.host.ok("nft", &["list", "tables"]);
        listed.contains("inet portbook")
    }
}

#[test]
fn number_is_reached_while_its_lease_lives_and_no_longer() {
    let Some(fenced) = Fenced::new("the fence of unique numbers", "10m") else {
        return;
    };
    let Fenced {
        host,
        place,
        folder: _folder,
        etcd: _etcd,
    } = fenced;
    let server = serve(&host, &place);
    let status = reaches(&server, "joined");
    assert_eq!(status["fence"], "kernel", "{status}");

    let mut reserve = place.command();
    reserve.args(["fleet", "reserve", &LEASED.to_string(), "--name", "agent"]);
    let refused = host.enter(&reserve).output().unwrap();
    let told = text(&refused.stderr);
    assert!(told.contains("in the range of pool edge"), "{refused:?}");

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

#[test]
fn number_that_is_shut_says_so_everywhere() {
    let Some(mut fenced) = Fenced::new("a number that the fence has shut", "40s") else {
        return;
    };
    // The shortest time of reclaim is twenty sessions.
    fenced.place.set("PORTBOOK_FLEET__SESSION", "2s");
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    let (is_done, told) = fenced.ask(&["alloc", "--pool", "edge", "--name", "web"]);
    assert!(is_done, "{told}");
    let before = fenced.ask(&["list"]).1;
    assert!(!before.contains("the kernel"), "{before}");

    drop(fenced.etcd.take());
    let shut = eventually("the kernel has shut the number", || {
        Some(status(&server)).filter(|status| status["fence_shut"] == 1)
    });
    assert!(
        shut["fence_shut_ms"].is_u64() && shut["fence_s"].is_null(),
        "{shut}"
    );
    for words in [
        &["fleet", "status"][..],
        &["doctor"],
        &["list"],
        &["who", "20000"],
        &["explain", "web"],
        &["wait", "web", "--timeout", "1s"],
    ] {
        let told = fenced.ask(words).1;
        let is_told = ["the kernel shuts", "the kernel has shut"].map(|said| told.contains(said));
        assert!(is_told.contains(&true), "{words:?}: {told}");
    }
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("portbook_fleet_fence_shut 1"), "{metrics}");
    eventually("the log tells it", || {
        let log = server.log();
        log.contains("fence: the kernel shuts 20000/tcp")
            .then_some(())
    });

    // A start reads from the kernel what is open.
    server.kill();
    let server = serve(&fenced.host, &fenced.place);
    eventually("a start without etcd tells it", || {
        (status(&server)["fence_shut"] == 1).then_some(())
    });

    fenced.etcd = Some(etcd(&fenced.host, &fenced.folder));
    eventually("it is open again", || {
        let told = status(&server);
        (told["state"] == "joined" && told["fence_shut"] == 0).then_some(())
    });
    let after = fenced.ask(&["list"]).1;
    assert!(!after.contains("the kernel"), "{after}");
}

#[test]
fn table_goes_with_the_last_pool_that_has_a_fence() {
    let Some(mut fenced) = Fenced::new("a fence that is given up", "10m") else {
        return;
    };
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    assert!(fenced.has_table());
    let (has_left, told) = fenced.ask(&["fleet", "leave"]);
    assert!(has_left && !fenced.has_table(), "{told}");
    server.stop();
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    assert!(fenced.has_table());
    server.stop();
    fenced.place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "manual");
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    eventually("the table is deleted", || {
        (!fenced.has_table()).then_some(())
    });
    server.stop();

    // The service may not delete it: that is told, and so is each lease there.
    fenced.place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "10m");
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    server.stop();
    fenced.place.set("PORTBOOK_POOLS__EDGE__RECLAIM", "manual");
    let mut command = fenced.place.command();
    command.arg("serve");
    let mut powerless = Command::new("setpriv");
    powerless.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    powerless
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => powerless.env(key, value),
            None => powerless.env_remove(key),
        };
    }
    let server = Server::start(fenced.host.enter(&powerless), &fenced.place.data_dir());
    reaches(&server, "joined");
    let told = status(&server);
    let warning = told["fence_warning"].as_str().unwrap_or_default();
    assert!(warning.contains("nft delete table inet portbook"), "{told}");
    assert!(warning.contains("\"Units of the fence\""), "{told}");
    assert!(
        fenced
            .ask(&["doctor"])
            .1
            .contains("nft delete table inet portbook")
    );
    let told = fenced.ask(&["alloc", "--pool", "edge", "--name", "web"]).1;
    assert!(told.contains("the kernel shuts"), "{told}");
    assert!(fenced.has_table());
}

#[test]
fn number_that_was_lost_is_told_until_its_lease_ends_and_no_longer() {
    let Some(fenced) = Fenced::new("a number that was lost before a restart", "10m") else {
        return;
    };
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    let (is_done, told) = fenced.ask(&["alloc", "--pool", "edge", "--name", "web", "--ttl", "1h"]);
    assert!(is_done, "{told}");
    // Another host has taken it meanwhile.
    server.kill();
    let key = format!("/portbook/v1/claim/tcp/{LEASED}");
    let value = fenced
        .host
        .ok("etcdctl", &["get", &key, "--print-value-only"]);
    let value = value.trim().replace("\"one\"", "\"two\"");
    fenced.host.ok("etcdctl", &["put", &key, &value]);
    let server = serve(&fenced.host, &fenced.place);
    eventually("the loss is noticed", || {
        (status(&server)["claims"]["lost"] == 1).then_some(())
    });
    server.kill();
    let server = serve(&fenced.host, &fenced.place);
    reaches(&server, "joined");
    let hint = fenced.ask(&["list"]).1;
    assert!(hint.contains("has taken 20000"), "{hint}");
    let (is_done, told) = fenced.ask(&["release", "web", "--force"]);
    assert!(is_done, "{told}");
    let told = eventually("the host may leave", || {
        let (has_left, told) = fenced.ask(&["fleet", "leave"]);
        has_left.then_some(told)
    });
    let left = status(&server);
    assert_eq!(
        (&left["state"], &left["fence_shut"]),
        (&"off".into(), &0.into()),
        "{told}"
    );
    let (_, told) = fenced.ask(&["fleet", "status"]);
    assert!(!told.contains("the kernel shuts"), "{told}");
}
