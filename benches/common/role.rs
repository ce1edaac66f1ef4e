//! This program once more, in another role: a process of its own that serves, binds or asks.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A process in a role. It ends when its stdin does, so none outlives the measurement.
pub struct Role {
    /// The process.
    pub child: Child,
    said: BufReader<ChildStdout>,
}

/// The command that starts this program in a role. Another user may not be allowed to reach the
/// file by its path, so it is named by what the kernel knows of this process.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("bench").args(arguments);
    command
}

impl Role {
    /// Starts a command and waits until it says that it is ready.
    pub fn start(command: &mut Command) -> Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn()?;
        let said = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut role = Self { child, said };
        match role.hear()?.as_str() {
            "ready" => Ok(role),
            other => bail!("{command:?} said {other:?}"),
        }
    }

    /// The next line that it says.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Lets it end, and gives its last word.
    pub fn end(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut last = String::new();
        self.said.read_to_string(&mut last)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("a process of the measurement ended with {status}");
        }
        Ok(last)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// In a role: says that it is ready.
pub fn ready() {
    println!("ready");
}

/// In a role: waits until the benchmark needs it no more.
pub fn until_dismissed() {
    // An end and an error mean the same.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
