//! A running service, its signals, and the kernel's account of its process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::api::Api;

/// A running service; killed when dropped.
pub struct Service {
    child: Child,
    socket: PathBuf,
    url: String,
}

/// Costs of a service since its start.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Processor time of all its threads: fields 14 and 15 of `proc_pid_stat(5)`.
    pub processor: Duration,
    /// Bytes of pages made dirty on a disk: `write_bytes` of `proc_pid_io(5)`; 0 on a tmpfs.
    pub written: u64,
    /// Bytes passed to `write` and `pwrite`, without sockets: `wchar` of `proc_pid_io(5)`.
    pub asked: u64,
}

impl Cost {
    /// Cost since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            written: self.written.saturating_sub(earlier.written),
            asked: self.asked.saturating_sub(earlier.asked),
        }
    }
}

impl Service {
    /// Starts the command of a service; it may not answer yet.
    pub fn start(command: &mut Command, socket: PathBuf) -> Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn()?;
        let url = String::new();
        Ok(Self { child, socket, url })
    }

    /// Waits until it says that it is there.
    pub fn wait(&mut self) -> Result<()> {
        let stdout = self.child.stdout.as_mut().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        line.trim_end().clone_into(&mut self.url);
        ensure!(self.url.starts_with("http://"), "the service did not start");
        Ok(())
    }

    /// Address of its console.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new connection to it.
    pub fn api(&self) -> Result<Api> {
        Api::connect(&self.socket)
    }

    /// Its cost so far.
    pub fn cost(&self) -> Result<Cost> {
        let io = self.proc("io")?;
        Ok(Cost {
            processor: self.processor_time()?,
            written: number(&io, "write_bytes:")?,
            asked: number(&io, "wchar:")?,
        })
    }

    /// Memory under a key of `proc_pid_status(5)`, in MB.
    pub fn memory(&self, key: &str) -> Result<f64> {
        let kibibytes = number(&self.proc("status")?, key)?;
        Ok(super::figure::approximately(kibibytes) * 1024.0 / 1e6)
    }

    fn processor_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("no process name")?;
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap_or(0))
            .sum();
        let a_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_micros(ticks * (1_000_000 / a_second)))
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).context(path)
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

    /// Ends in an orderly way, and gives its cost to the very end.
    pub fn stop_and_account(self) -> Result<Cost> {
        self.signal(Signal::TERM)?;
        let pid = Pid::from_child(&self.child);
        // The kernel keeps the account until the process is reaped.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )?;
        let cost = self.cost()?;
        self.stop()?;
        Ok(cost)
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

/// The number after a key at the beginning of a line.
fn number(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|rest| rest.split_ascii_whitespace().next());
    Ok(word.with_context(|| format!("no {key}"))?.parse()?)
}
