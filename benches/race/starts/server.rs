//! The server: a process that binds its port once, a moment after it is told to.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use socket2::{Domain, Socket, Type};

use super::rival::Kind;
use crate::common::role::{self, Role};

/// User of the servers.
pub const SERVER_UID: u32 = 61_100;

/// Time that a server takes before it binds, in microseconds.
const A_MOMENT: std::ops::Range<u64> = 1_000..3_000;

/// Task of a server.
#[derive(Debug, Args)]
pub struct Serve {
    port: u16,
    /// Sets SO_REUSEPORT too.
    #[arg(long)]
    reuse_port: bool,
}

/// A server that has not bound its port yet.
pub struct Started(Role);

impl Started {
    /// Starts one that is to meet such a rival.
    pub fn start(port: u16, rival: Kind) -> Result<Self> {
        let mut command = role::command(&["start", &port.to_string()]);
        command.args((rival == Kind::ReusePort).then_some("--reuse-port"));
        Role::start(command.uid(SERVER_UID)).map(Self)
    }

    /// Pid of it.
    pub fn pid(&self) -> u32 {
        self.0.child.id()
    }

    /// Has it bind and end. Tells whether it listened.
    pub fn listens(mut self) -> Result<bool> {
        let stdin = self.0.child.stdin.as_mut().context("no stdin")?;
        writeln!(stdin)?;
        let listens = match self.0.hear()?.as_str() {
            "listens" => true,
            "lost" => false,
            other => bail!("the server said {other:?}"),
        };
        self.0.end()?;
        Ok(listens)
    }
}

impl Serve {
    /// Binds when it is told to, and says what came of it.
    pub fn run(&self) -> Result<()> {
        role::ready();
        std::io::stdin().lock().read_line(&mut String::new())?;
        std::thread::sleep(Duration::from_micros(fastrand::u64(A_MOMENT)));
        let listener = self.listen();
        println!("{}", if listener.is_ok() { "listens" } else { "lost" });
        role::until_dismissed();
        Ok(())
    }

    fn listen(&self) -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(self.reuse_port)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)).into())?;
        socket.listen(16)?;
        Ok(socket)
    }
}
