//! What falls back to another hand-over, and says why.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use serde_json::json;

use super::{hand_over, run, served_with};
use crate::support::{PORTBOOK, Place, Server, port, text};
use crate::tools::ended;

#[test]
fn only_what_cannot_be_had_falls_back_and_says_so() {
    let Some((place, server)) = served_with("falling back", 5) else {
        return;
    };
    let said = |arguments: &[&str]| {
        let mut command = place.command();
        command.args(arguments);
        let output = ended(command);
        (output.status.success(), text(&output.stderr))
    };
    let alloc = said(&["alloc", "--handover", "bind"]);
    assert!(
        alloc.0 && alloc.1.contains("handed over by gate instead"),
        "{alloc:?}"
    );
    assert!(alloc.1.contains("`portbook run` starts"), "{alloc:?}");
    let udp = said(&["alloc", "--protocol", "udp", "--handover", "bind"]);
    assert!(udp.0 && udp.1.contains("by release instead"), "{udp:?}");
    let reserve = json!({"name": "dns", "protocol": "udp", "reserve": true});
    let port = port(&server.allocate(&reserve).json()["leases"][0]);
    let alloc = ["alloc", "--protocol", "udp", "--name", "dns"];
    let again = said(&[&alloc[..], &["--handover", "bind"]].concat());
    assert!(
        again.0 && again.1.contains("by release instead"),
        "{again:?}"
    );
    // However it binds.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let strict = said(&["alloc", "--name", "web", "--strict", "--handover", "bind"]);
    assert!(
        !strict.0 && strict.1.contains("not handed over by bind"),
        "{strict:?}"
    );
    for protocol in ["tcp", "udp"] {
        let options = ["run", "--handover", "bind", "--protocol", protocol];
        let bind = said(&[&options[..], &["--", "true"]].concat());
        assert!(bind.0 && !bind.1.contains("handed over"), "{bind:?}");
    }
}

#[test]
fn unprivileged_service_says_why_it_falls_back() {
    let place = Place::with_ports(2);
    let plain = place.command();
    let mut command = Command::new(PORTBOOK);
    if rustix::process::geteuid().is_root() {
        command = Command::new("setpriv");
        command.args(["--bounding-set=-bpf,-sys_admin", PORTBOOK]);
    }
    command.env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.arg("serve");
    let server = Server::start(command, &place.data_dir());
    let detail = hand_over(&server.get("/api/v1/status").json());
    assert!(detail.contains("bind falls back to gate"), "{detail}");
    let output = ended(run(&place, "web", &["true"]));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("is not handed over by bind: ") && said.contains("by gate instead"),
        "{said}"
    );
    let told = text(&place.run(&["status"]).stdout);
    assert!(told.contains("hand-over: gate, fd and release"), "{told}");
    let doctor = text(&place.run(&["doctor"]).stdout);
    assert!(doctor.contains("bind falls back to gate"), "{doctor}");
}
