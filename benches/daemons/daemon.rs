//! A daemon: three processes, of which the last one serves.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::common::api::Api;
use crate::common::now;
use crate::common::place::Place;

/// Longest wait for the end of a lease.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of the processes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Stage {
    /// The program that `run` becomes.
    First,
    /// Starts the server and ends.
    Second,
    /// The server.
    Server,
}

/// In the role of a daemon's process: the first two start the next one and end.
pub fn be(stage: Stage, port: u16) -> Result<()> {
    let next = match stage {
        Stage::First => "second",
        Stage::Second => "server",
        Stage::Server => return serve(port),
    };
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    let port = port.to_string();
    command.args(["daemon", next, port.as_str()]);
    command.stdin(Stdio::null()).spawn()?;
    Ok(())
}

/// Waits until its parents have ended, binds, and says so.
fn serve(port: u16) -> Result<()> {
    let parent = std::env::var("BENCH_PARENT").unwrap_or_default();
    while parent_id().to_string() != parent {
        std::thread::yield_now();
    }
    let lease = std::env::var("PORTBOOK_LEASE").context("no lease")?;
    // The listener of the standard library sets SO_REUSEADDR.
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(listener) => {
            println!("{lease} {}", std::process::id());
            std::io::stdout().flush()?;
            for visitor in listener.incoming() {
                drop(visitor);
            }
        }
        Err(_) => println!("refused"),
    }
    Ok(())
}

/// A daemon whose server listens.
pub struct Daemon {
    lease: String,
    port: u16,
    server: Pid,
}

/// Times from the death of a server.
pub struct Freed {
    /// Until the kernel lets a program without SO_REUSEADDR bind its port.
    pub freed: Duration,
    /// Until the record shows the end of its lease.
    pub read: Duration,
}

impl Daemon {
    /// Starts one. `None` if it was shut out.
    pub fn start(place: &Place, adopter: u32, api: &mut Api) -> Result<Option<Self>> {
        let program = std::env::current_exe()?;
        let mut command = place.command();
        command.args(["run", "--wait", "30s", "--"]).arg(program);
        command.args(["daemon", "first", "{port}"]);
        command.env("BENCH_PARENT", adopter.to_string());
        let mut first = command.stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(first.stdout.take().context("no stdout")?);
        ensure!(first.wait()?.success(), "the daemon did not start");
        let mut line = String::new();
        said.read_line(&mut line)?;
        if line.trim() == "refused" {
            return Ok(None);
        }
        let (lease, pid) = line.trim().split_once(' ').context("no lease")?;
        let server = Pid::from_raw(pid.parse()?).context("no pid")?;
        let lease = lease
            .split([' ', ','])
            .next()
            .context("no lease")?
            .to_owned();
        let mut started = Self {
            lease,
            port: 0,
            server,
        };
        let port = started.read(api)?["port"].as_u64().context("no port")?;
        started.port = port.try_into()?;
        Ok(Some(started))
    }

    /// Whether its lease has ended.
    pub fn has_ended(&self, api: &mut Api) -> Result<bool> {
        let state = &self.read(api)?["state"];
        Ok(*state != "handed" && *state != "active")
    }

    /// Its lease, which is read from the record once it has ended.
    fn read(&self, api: &mut Api) -> Result<Value> {
        let answer = api.ask("GET", &format!("/api/v1/leases/{}", self.lease), None)?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(answer.body)
    }

    /// Kills the server.
    pub fn kill(self, api: &mut Api) -> Result<Freed> {
        let begin = now();
        kill_process(self.server, Signal::KILL)?;
        while !is_free(self.port)? {
            ensure!(
                begin.elapsed() < PATIENCE,
                "port {} of lease {} is not free within {PATIENCE:?}",
                self.port,
                self.lease
            );
        }
        let freed = begin.elapsed();
        let state = &self.read(api)?["state"];
        ensure!(*state == "owner_gone", "it ended as {state}");
        let read = begin.elapsed();
        Ok(Freed { freed, read })
    }
}

/// Whether a socket without SO_REUSEADDR can be bound to a port. The clients have it for moments only.
fn is_free(port: u16) -> Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match socket.bind(&address.into()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The process that orphans of this one are given to: init, or what takes its place.
pub fn adopter() -> Result<u32> {
    let orphan = r"sh -c 'sleep 0.2; ps -o ppid= -p $$' & ";
    let said = Command::new("sh").args(["-c", orphan]).output()?;
    let text = String::from_utf8(said.stdout)?;
    text.trim().parse().context("ps names no parent")
}
