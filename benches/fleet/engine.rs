//! One member of etcd on the loopback of this namespace.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Address of the member for clients.
pub const ADDRESS: &str = "http://127.0.0.1:2379";

/// The member, which ends when it is dropped.
pub struct Engine {
    folder: TempDir,
    child: Option<Child>,
}

impl Engine {
    /// Starts one. `None` if etcd is not installed.
    pub fn start() -> Result<Option<Self>> {
        if Command::new("etcd").arg("--version").output().is_err() {
            return Ok(None);
        }
        let mut engine = Self {
            folder: TempDir::new()?,
            child: None,
        };
        engine.begin()?;
        Ok(Some(engine))
    }

    /// Starts it on the data that it has.
    pub fn begin(&mut self) -> Result<()> {
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().context("etcd")?);
        Ok(())
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Has it stand still, or go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("etcd does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
