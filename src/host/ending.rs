//! The end of another process, waited for by a pidfd.
//!
//! A process that was killed lives on while it closes its files, which takes long with thousands of
//! sockets ([`process::is_ending`]). Its pidfd becomes readable when all is closed.

use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::process;
use super::readiness::Readiness;

/// A process, told from a later one with its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Process id.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start_ticks: u64,
}

impl Known {
    /// This process. `None` if `/proc` cannot be read.
    pub fn me() -> Option<Self> {
        let pid = std::process::id();
        let start_ticks = process::start_ticks(pid).ok()?;
        Some(Self { pid, start_ticks })
    }

    /// Whether it exists, be it as a zombie.
    pub fn exists(self) -> bool {
        process::start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks)
    }
}

/// Waits for the end of a process, at most as long as `limit`. `false` if it lives on, or cannot be
/// watched.
pub async fn ended(pid: u32, limit: Duration) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let process = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(errno) => return errno == rustix::io::Errno::SRCH,
    };
    let Ok(end) = Readiness::of(process) else {
        return false;
    };
    tokio::time::timeout(limit, end.readable()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn zombies_have_ended_and_living_ones_are_waited_for() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(!process::is_ending(pid) && !process::is_stopped(pid));
        assert!(!ended(pid, Duration::ZERO).await);
        child.kill().unwrap();
        assert!(ended(pid, Duration::from_secs(30)).await);
        assert!(process::is_ending(pid), "a zombie until it is reaped");
        child.wait().unwrap();
        assert!(!process::is_ending(pid) && ended(pid, Duration::ZERO).await);
    }
}
