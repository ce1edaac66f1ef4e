//! Owners: a process each, started by `portbook run`.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use portbook::domain::lease::Handover;
use portbook::internals::given_by_supervisor;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;

use crate::common::api::Api;
use crate::common::place::Place;
use crate::common::role::{self, Role};

/// A living owner.
pub struct Owner {
    /// Its process.
    pub role: Role,
    /// Its port.
    pub port: u16,
}

/// Number of owners that are started at the same time.
const AT_ONCE: u16 = 8;

/// Starts owners and waits until each has its port, and listens if it is to.
pub fn start(place: &Place, count: u16, listens: bool, handover: Handover) -> Result<Vec<Owner>> {
    let (owners, started) = mpsc::channel();
    std::thread::scope(|scope| {
        for starter in 0..AT_ONCE {
            let owners = owners.clone();
            scope.spawn(move || {
                for _ in (starter..count).step_by(AT_ONCE.into()) {
                    // The receiver sees the error.
                    drop(owners.send(start_one(place, listens, handover)));
                }
            });
        }
    });
    drop(owners);
    started.into_iter().collect()
}

fn start_one(place: &Place, listens: bool, handover: Handover) -> Result<Owner> {
    let program = std::env::current_exe()?;
    let mut command = place.command();
    command.args(["run", "--handover", handover.as_str(), "--"]);
    command.arg(program);
    command.args(["owner", "{port}"]);
    command.args(listens.then_some("--listens"));
    let mut role = Role::start(&mut command)?;
    let port = role.hear()?.parse().context("no port")?;
    Ok(Owner { role, port })
}

/// In the role of an owner: listens or not, says so, answers each client, and closes its
/// listener when it is told to.
pub fn own(port: u16, listens: bool) -> Result<()> {
    let mut given: Vec<TcpListener> = given_by_supervisor()
        .into_iter()
        .map(|(_, socket)| socket.into())
        .collect();
    let at = (Ipv4Addr::UNSPECIFIED, port);
    let mut listener = match (listens, given.is_empty()) {
        (false, _) => {
            given.clear();
            None
        }
        (true, true) => Some(TcpListener::bind(at)?),
        (true, false) => Some(given.remove(0)),
    };
    role::ready();
    println!("{port}");
    let stdin = std::io::stdin();
    loop {
        let mut ready = vec![PollFd::new(&stdin, PollFlags::IN)];
        ready.extend(listener.iter().map(|open| PollFd::new(open, PollFlags::IN)));
        poll(&mut ready, None)?;
        let told = !ready[0].revents().is_empty();
        let called = ready.get(1).is_some_and(|open| !open.revents().is_empty());
        if let Some(open) = listener.as_ref().filter(|_| called) {
            // A visitor closes by reset, so that nothing lingers on the port.
            drop(open.accept()?.0.write_all(b"hello"));
        }
        if told {
            if stdin.lock().read_line(&mut String::new())? == 0 {
                return Ok(());
            }
            given.clear();
            drop(listener.take());
            println!("{}", crate::common::monotonic().as_nanos());
        }
    }
}

/// Names whose owners are away: granted, and parked because no program came to listen.
pub fn park_lease(place: &Place, count: u16) -> Result<Vec<u16>> {
    let mut api = Api::connect(&place.socket())?;
    let mut ports = Vec::new();
    for number in 0..count {
        let wanted = json!({ "name": format!("away{number}"), "claim_within": "1s" });
        let leases = api.lease(&wanted)?;
        let port = leases[0]["port"].as_u64().context("no port")?;
        ports.push(u16::try_from(port)?);
    }
    for _ in 0..100 {
        if reserved(&mut api)? == usize::from(count).min(1000) {
            return Ok(ports);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the names were not parked within 10 seconds");
}

fn reserved(api: &mut Api) -> Result<usize> {
    let answer = api.ask("GET", "/api/v1/leases?state=reserved&limit=1000", None)?;
    ensure!(answer.status == 200, "{}", answer.body);
    Ok(answer.body["leases"].as_array().map_or(0, Vec::len))
}
