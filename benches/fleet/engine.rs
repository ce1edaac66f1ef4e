//! Three members of etcd on the loopback of this namespace.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Addresses of the members for clients.
pub const ADDRESSES: [&str; 3] = [
    "http://127.0.0.1:2379",
    "http://127.0.0.1:2389",
    "http://127.0.0.1:2399",
];

/// Their addresses for each other, by name.
const PEERS: [&str; 3] = [
    "a=http://127.0.0.1:2380",
    "b=http://127.0.0.1:2390",
    "c=http://127.0.0.1:2400",
];

/// The members, which end when this is dropped.
pub struct Engine {
    folder: TempDir,
    children: Vec<Child>,
}

impl Engine {
    /// Starts them. `None` if etcd is not installed.
    pub fn start() -> Result<Option<Self>> {
        if Command::new("etcd").arg("--version").output().is_err() {
            return Ok(None);
        }
        let mut engine = Self {
            folder: TempDir::new()?,
            children: Vec::new(),
        };
        engine.begin()?;
        Ok(Some(engine))
    }

    /// Starts all members on the data that they have.
    pub fn begin(&mut self) -> Result<()> {
        for (address, peer) in ADDRESSES.into_iter().zip(PEERS) {
            let (name, peer) = peer.split_once('=').context("a name and an address")?;
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(self.folder.path().join(name));
            command.args(["--name", name, "--initial-cluster", &PEERS.join(",")]);
            command.args(["--listen-client-urls", address]);
            command.args(["--advertise-client-urls", address]);
            command.args(["--listen-peer-urls", peer]);
            command.args(["--initial-advertise-peer-urls", peer]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            self.children.push(command.spawn().context("etcd")?);
        }
        Ok(())
    }

    /// Ends all members with SIGKILL.
    pub fn kill(&mut self) {
        for mut child in self.children.drain(..) {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Has all members stand still, or go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        for child in &self.children {
            kill_process(Pid::from_child(child), signal)?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
