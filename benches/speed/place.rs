//! A data directory of its own for one measurement, and the service on it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

/// A fresh data directory, and the ports that its default pool has.
pub struct Place {
    folder: TempDir,
    ranges: &'static str,
}

impl Place {
    /// An empty place. The folder goes when it is dropped.
    pub fn new(ranges: &'static str) -> Result<Self> {
        let folder = TempDir::new()?;
        Ok(Self { folder, ranges })
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("portbook.db")
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join("portbook.sock")
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line in this place, without settings of the surrounding environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(crate::PORTBOOK);
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("PORTBOOK_DATA_DIR", self.data_dir())
            .env("PORTBOOK_POOLS__DEFAULT__RANGES", self.ranges)
            .env("PORTBOOK_TELEMETRY__LOG", "error")
            .stdin(Stdio::null());
        command
    }

    /// Starts a service; it may not answer yet.
    pub fn start(&self) -> Result<Service> {
        let mut command = self.command();
        let child = command.arg("serve").stdout(Stdio::piped()).spawn()?;
        let socket = self.socket();
        Ok(Service { child, socket })
    }

    /// Starts a service and waits until it says that it is there.
    pub fn serve(&self) -> Result<Service> {
        let mut service = self.start()?;
        let stdout = service.child.stdout.as_mut().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.starts_with("http://"), "the service did not start");
        Ok(service)
    }
}

/// A running service; killed when dropped.
pub struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    /// A new connection to it.
    pub fn client(&self) -> Result<Client> {
        Client::connect(&self.socket)
    }

    /// Content of `/proc/PID/{file}` of its process.
    pub fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).context(path)
    }

    /// Processor time so far: fields 14 and 15 of `proc_pid_stat(5)`.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("no process name")?;
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap_or(0))
            .sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// Stands still, so that another one can be measured alone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Goes on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends in an orderly way.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        ensure!(self.child.wait()?.success(), "the service did not end well");
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
