//! Namespaces of processes, as links in `/proc/PID/ns` (`namespaces(7)`).

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{Directory, ProcessError, STATUS_BYTES, lineage};

/// Namespaces of a process. What the kernel does not show counts as shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it lives in portbook's network namespace.
    pub is_here: bool,
    /// Whether it lives in portbook's pid namespace.
    pub shares_pids: bool,
}

impl Place {
    /// The place of a process.
    pub fn of(pid: u32) -> Self {
        Self {
            is_here: same_net_namespace(pid).unwrap_or(true),
            shares_pids: same_pid_namespace(pid).unwrap_or(true),
        }
    }
}

/// Whether a process lives in portbook's pid namespace (`pid_namespaces(7)`).
pub(super) fn same_pid_namespace(pid: u32) -> Result<bool, ProcessError> {
    same_namespace(pid, "pid").or_else(|error| {
        // The link of another user's process is hidden, its pids are not: one for each namespace.
        pids(pid).map_or(Err(error), |all| Ok(all.len() == 1))
    })
}

/// Finds the process that a peer of another pid namespace means by a pid there: itself, or a process that
/// it descends from. Returns its pid in portbook's namespace.
pub fn named_by(peer: u32, pid: u32) -> Option<u32> {
    let depth = pids(peer)?.len();
    let is_meant = |candidate: &u32| {
        pids(*candidate).is_some_and(|all| all.len() == depth && all.last() == Some(&pid))
    };
    lineage(peer).find(is_meant)
}

/// Pids of a process in each pid namespace that shows it, the innermost last, by the line `NSpid` of
/// `proc_pid_status(5)`.
fn pids(pid: u32) -> Option<Vec<u32>> {
    let status = Directory::open(pid).and_then(|it| it.read_up_to("status", STATUS_BYTES));
    let status = String::from_utf8_lossy(&status.ok()?).into_owned();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let pids = line
        .split_ascii_whitespace()
        .map(|pid| pid.parse::<u32>().ok());
    pids.collect()
}

/// Whether a process lives in portbook's network namespace (`network_namespaces(7)`), so that a
/// port means the same to both.
pub(super) fn same_net_namespace(pid: u32) -> Result<bool, ProcessError> {
    same_namespace(pid, "net")
}

/// Whether a process is known to live in another network namespace.
pub fn is_elsewhere(pid: u32) -> bool {
    same_net_namespace(pid).is_ok_and(|same| !same)
}

fn same_namespace(pid: u32, kind: &'static str) -> Result<bool, ProcessError> {
    let of = |error| ProcessError::of(pid, error);
    let its = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).map_err(of)?;
    Ok(its == own_namespace(kind).map_err(of)?)
}

/// The namespace of this process. It is read once: portbook never moves to another.
fn own_namespace(kind: &'static str) -> io::Result<PathBuf> {
    static OWN: Mutex<Vec<(&str, PathBuf)>> = Mutex::new(Vec::new());
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = own.iter().find(|(known, _)| *known == kind) {
        return Ok(known.clone());
    }
    let read = std::fs::read_link(format!("/proc/self/ns/{kind}"))?;
    own.push((kind, read.clone()));
    Ok(read)
}
