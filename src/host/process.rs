//! Processes by `/proc` (`proc(5)`): their users, start times and parents.
//!
//! A pid is used again after a while. So facts that must be of one process are read beneath one
//! descriptor of its directory, which gives nothing about a successor with its pid.

mod details;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::domain::lease::Owner;

pub use details::{Details, details, user_name};

/// A process that has a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Pid, in portbook's pid namespace.
    pub pid: u32,
    /// Name (`/proc/PID/comm`): text that the process chooses. Never its command line, which can
    /// hold secrets.
    pub command: Option<String>,
}

/// A process that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No such process, or another one has its pid now.
    #[error("process {0} is gone, or hidden from portbook (the mount option hidepid of /proc)")]
    Gone(u32),
    /// The kernel does not show it to this user.
    #[error("cannot look at process {pid}: run portbook as its user or as root")]
    Hidden {
        pid: u32,
        /// The kernel's refusal.
        source: io::Error,
    },
    /// The kernel fails for another reason, such as a lack of descriptors.
    #[error("cannot look at process {pid}: {source}")]
    Unreadable {
        /// The process.
        pid: u32,
        /// The kernel's error.
        source: io::Error,
    },
    /// `/proc` gives text that `proc(5)` does not describe.
    #[error("cannot make sense of /proc/{0}/stat")]
    Unintelligible(u32),
}

impl ProcessError {
    fn of(pid: u32, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            // ESRCH: it ended between open and read. EINVAL: it is no pid (`pidfd_open(2)`).
            Some(Errno::NOENT | Errno::SRCH | Errno::INVAL) => Self::Gone(pid),
            Some(Errno::ACCESS | Errno::PERM) => Self::Hidden { pid, source: error },
            _ => Self::Unreadable { pid, source: error },
        }
    }
}

/// The members of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    threads: u32,
    start_ticks: u64,
}

impl Stat {
    /// Whether only its exit status is left. A first thread that ended before the others looks like
    /// a zombie too, but the process lives on.
    const fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }
}

/// Parses fields 3, 4, 20 and 22 of `proc_pid_stat(5)`. The name in field 2 may hold blanks and
/// parentheses, so the fields after it are counted from the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let field: Vec<&str> = rest.split_ascii_whitespace().collect();
    let nth = |number: usize| field.get(number - 3).copied();
    Some(Stat {
        state: nth(3)?.chars().next()?,
        parent: nth(4)?.parse().ok()?,
        threads: nth(20)?.parse().ok()?,
        start_ticks: nth(22)?.parse().ok()?,
    })
}

/// Directory of one process in `/proc`.
struct Directory {
    pid: u32,
    fd: OwnedFd,
}

impl Directory {
    fn open(pid: u32) -> Result<Self, ProcessError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map(|fd| Self { pid, fd })
            .map_err(|error| ProcessError::of(pid, error.into()))
    }

    /// Reads a file of it. One `read(2)` is enough: these files are a line.
    fn read(&self, file: &str) -> Result<String, ProcessError> {
        let mut buffer = [0u8; 1024];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let length = openat(&self.fd, file, flags, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut buffer[..]))
            .map_err(|error| ProcessError::of(self.pid, error.into()))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn stat(&self) -> Result<Stat, ProcessError> {
        parse_stat(&self.read("stat")?).ok_or(ProcessError::Unintelligible(self.pid))
    }

    fn command(&self) -> Result<String, ProcessError> {
        let mut command = self.read("comm")?;
        // The kernel ends it with one newline; others are part of the name.
        if command.ends_with('\n') {
            command.pop();
        }
        Ok(command)
    }

    /// Effective user: the owner of the directory (`proc_pid(5)`).
    fn uid(&self) -> Result<u32, ProcessError> {
        let found = fstat(&self.fd).map_err(|error| ProcessError::of(self.pid, error.into()))?;
        Ok(found.st_uid)
    }
}

fn stat(pid: u32) -> Result<Stat, ProcessError> {
    Directory::open(pid)?.stat()
}

/// Start time of a process, in clock ticks since boot. With the pid it identifies the process.
pub fn start_ticks(pid: u32) -> Result<u64, ProcessError> {
    Ok(stat(pid)?.start_ticks)
}

/// Pid of a process's parent; 0 if that is outside the pid namespace.
pub fn parent(pid: u32) -> Result<u32, ProcessError> {
    Ok(stat(pid)?.parent)
}

/// Name of a process.
pub fn command(pid: u32) -> Result<String, ProcessError> {
    Directory::open(pid)?.command()
}

/// Reads all that identifies a living process as an owner. A zombie is gone.
pub fn owner(pid: u32) -> Result<Owner, ProcessError> {
    let directory = Directory::open(pid)?;
    let stat = directory.stat()?;
    if stat.is_zombie() {
        return Err(ProcessError::Gone(pid));
    }
    let started_at = started_at(stat.start_ticks).ok_or(ProcessError::Unintelligible(pid))?;
    Ok(Owner {
        pid,
        start_ticks: stat.start_ticks,
        uid: directory.uid()?,
        command: directory.command()?,
        started_at,
        until_reaped: false,
    })
}

/// Present name of an owner: `exec` changes it, without an event. `None` if the process is gone or
/// hidden.
pub fn command_of(owner: &Owner) -> Option<String> {
    let directory = Directory::open(owner.pid).ok()?;
    let is_same = directory.stat().ok()?.start_ticks == owner.start_ticks;
    directory.command().ok().filter(|_| is_same)
}

/// Whether the owner still runs: it is the same process, and no zombie unless it owns until it is
/// reaped. A hidden one counts as running, since a lease must not end on a guess.
pub fn is_running(owner: &Owner) -> bool {
    match stat(owner.pid) {
        Ok(stat) => {
            stat.start_ticks == owner.start_ticks && (owner.until_reaped || !stat.is_zombie())
        }
        Err(ProcessError::Gone(_)) => false,
        Err(_) => true,
    }
}

/// Opens a descriptor that becomes readable when the owner ends (`pidfd_open(2)`).
///
/// The start time is read again afterwards, to be sure that the descriptor is not of a later
/// process with its pid.
pub fn pidfd(owner: &Owner) -> Result<OwnedFd, ProcessError> {
    let raw = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
    let pid = raw.ok_or(ProcessError::Gone(owner.pid))?;
    let fd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| ProcessError::of(owner.pid, error.into()))?;
    if start_ticks(owner.pid)? != owner.start_ticks {
        return Err(ProcessError::Gone(owner.pid));
    }
    Ok(fd)
}

/// CAP_NET_BIND_SERVICE (`capabilities(7)`).
const NET_BIND_SERVICE: u32 = 10;

/// Whether a process may bind the administrator's ports: by the line `CapEff` of
/// `proc_pid_status(5)`.
pub fn may_bind_low_ports(pid: u32) -> Result<bool, ProcessError> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(path).map_err(|error| ProcessError::of(pid, error))?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let effective = effective.ok_or(ProcessError::Unintelligible(pid))?;
    Ok(effective & (1 << NET_BIND_SERVICE) != 0)
}

/// Maximum number of ancestors to climb: pids that are used again meanwhile could make a ring.
const GENERATIONS: usize = 1024;

/// Climbs from a process to its parent, and so on. A process whose parent ended first belongs to
/// init (or a subreaper).
pub fn lineage(pid: u32) -> impl Iterator<Item = u32> {
    let above = |pid: &u32| parent(*pid).ok().filter(|parent| *parent != 0);
    std::iter::successors(Some(pid), above).take(GENERATIONS)
}

/// Whether a process is `ancestor` or descends from it.
pub fn is_descendant(pid: u32, ancestor: u32) -> bool {
    lineage(pid).any(|pid| pid == ancestor)
}

/// Whether a process lives in portbook's pid namespace (`pid_namespaces(7)`).
pub fn same_pid_namespace(pid: u32) -> Result<bool, ProcessError> {
    same_namespace(pid, "pid")
}

/// Whether a process lives in portbook's network namespace (`network_namespaces(7)`), so that a
/// port means the same to both.
pub fn same_net_namespace(pid: u32) -> Result<bool, ProcessError> {
    same_namespace(pid, "net")
}

fn same_namespace(pid: u32, kind: &str) -> Result<bool, ProcessError> {
    let read = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
    let of = |error| ProcessError::of(pid, error);
    Ok(read(&pid.to_string()).map_err(of)? == read("self").map_err(of)?)
}

/// Converts start ticks to a wall-clock time, by the boot time that the kernel counts from.
fn started_at(start_ticks: u64) -> Option<Timestamp> {
    let per_second = rustix::param::clock_ticks_per_second();
    let milliseconds = start_ticks.checked_mul(1000)?.checked_div(per_second)?;
    let since_boot = SignedDuration::from_millis(i64::try_from(milliseconds).ok()?);
    boot_time()?.checked_add(since_boot).ok()
}

/// Start time of the system. It is read once: the file counts every interrupt of every processor,
/// which takes a while, and a start time should not follow each correction of the wall clock.
fn boot_time() -> Option<Timestamp> {
    static BOOT_TIME: OnceLock<Option<Timestamp>> = OnceLock::new();
    *BOOT_TIME.get_or_init(|| parse_boot_time(&std::fs::read_to_string("/proc/stat").ok()?))
}

/// Parses the line `btime` of `proc_stat(5)`: the start of the system in seconds since 1970.
fn parse_boot_time(stat: &str) -> Option<Timestamp> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(line.trim().parse().ok()?).ok()
}

/// Id of this boot of the kernel (`random(4)`): start times are valid within it alone.
pub fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// Id of this installation (`machine-id(5)`); containers often have none.
pub fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
