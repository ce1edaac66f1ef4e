//! Faults of the kernel: strace delays or refuses the system calls of a running service.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::host::skipped;
use crate::support::Server;
use crate::tools::{eventually, exit_status};

/// A delay longer than any test: the call never happens.
const FOREVER_US: u32 = 600_000_000;

/// A system call that fails or is held up in a service; it goes on when this is dropped.
pub struct Fault {
    tracer: Child,
    folder: TempDir,
}

impl Fault {
    /// Delays `call` by this number of microseconds.
    pub fn delay(server: &Server, call: &str, microseconds: u32, test: &str) -> Option<Self> {
        let rule = format!("{call}:delay_enter={microseconds}");
        Self::inject(server, call, &rule, test)
    }

    /// Delays `call` until after the test.
    pub fn hold_up(server: &Server, call: &str, test: &str) -> Option<Self> {
        Self::delay(server, call, FOREVER_US, test)
    }

    /// Makes `call` fail with `error`. `when` is empty, or strace's expression for some calls only.
    pub fn fail(server: &Server, call: &str, error: &str, when: &str, test: &str) -> Option<Self> {
        let rule = format!("{call}:error={error}{when}");
        Self::inject(server, call, &rule, test)
    }

    /// `None`, reported on stderr, if strace is missing or may not trace processes.
    fn inject(server: &Server, call: &str, rule: &str, test: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let tracer = Command::new("strace")
            .args(["-f", "-e", "signal=none", "-e"])
            .arg(format!("trace={call}"))
            .arg("-e")
            .arg(format!("inject={rule}"))
            .arg("-o")
            .arg(folder.path().join("trace"))
            .arg("-p")
            .arg(server.child.id().to_string())
            .stderr(Stdio::piped())
            .spawn();
        let mut tracer = match tracer {
            Ok(tracer) => tracer,
            Err(error) => {
                skipped(test, &format!("strace cannot be run: {error}"));
                return None;
            }
        };
        let mut said = String::new();
        let stderr = tracer.stderr.as_mut().unwrap();
        BufReader::new(stderr).read_line(&mut said).unwrap();
        let fault = Self { tracer, folder };
        if !said.contains(" attached") {
            skipped(test, said.trim());
            return None;
        }
        Some(fault)
    }

    /// Waits until the service has made a call that strace writes down with this text.
    pub fn wait_for(&self, text: &str) {
        let trace = self.folder.path().join("trace");
        eventually(text, || {
            let seen = std::fs::read(&trace).unwrap_or_default();
            crate::support::text(&seen).contains(text).then_some(())
        });
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // On SIGTERM strace detaches in an orderly way, but only after a delayed call is due, even if
        // the service is dead by then.
        let pid = rustix::process::Pid::from_child(&self.tracer);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if exit_status(&mut self.tracer, Duration::from_secs(1)).is_none() {
            let _ = self.tracer.kill();
            let _ = self.tracer.wait();
        }
    }
}
