//! Processes by `/proc` (`proc(5)`): their users, start times and parents.
//!
//! A pid is used again after a while. So facts that must be of one process are read beneath one
//! descriptor of its directory, which gives nothing about a successor with its pid.

mod details;
mod identities;
mod mark;
mod memory;
mod namespaces;
mod origin;
mod published;
mod stat;
mod whereabouts;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::domain::lease::Owner;

use stat::{Stat, parse_stat};

pub use details::{Details, details, known_word, names_word, user_name};
pub use identities::{Identities, Identity};
pub use mark::{MARK, Mark, mark_of, marked};
pub use namespaces::{Place, is_elsewhere, named_by};
pub use origin::{Origin, Orphaned, descendants, left_behind, round_of_pids};
pub use published::{Published, container_of_conmon, has_published, published_by};
pub use whereabouts::is_of_another_folder;

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
    /// Its memory lies in a file whose server does not answer.
    #[error("the memory of process {0} gives no answer")]
    Silent(u32),
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

/// Directory of one process in `/proc`.
struct Directory {
    pid: u32,
    fd: OwnedFd,
}

/// Room for an environment, most of which are much smaller.
const ROOM_BYTES: usize = 32 * 1024;

/// Room for `/proc/PID/status`, which has some 1,500 bytes, and for most command lines.
const FILE_BYTES: usize = 4096;

/// More than any `/proc/PID/status` has.
const STATUS_BYTES: u64 = 16 * 1024;

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

    /// Reads a longer file of it, cut off after `limit` bytes. Files of its memory: [`Self::in_memory`].
    fn read_up_to(&self, file: &str, limit: u64) -> Result<Vec<u8>, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let failed = |error| ProcessError::of(self.pid, error);
        let file = openat(&self.fd, file, flags, Mode::empty());
        let file = std::fs::File::from(file.map_err(|error| failed(error.into()))?);
        // Room enough for nearly all: the kernel writes the whole text anew for each read.
        let mut text = Vec::with_capacity(FILE_BYTES);
        file.take(limit).read_to_end(&mut text).map_err(failed)?;
        Ok(text)
    }

    /// Reads a file of the process's memory in one `read(2)`: the program may be replaced between two.
    /// Files of more than `limit` bytes are cut off.
    fn read_at_once(&self, file: &str, limit: usize) -> Result<Vec<u8>, ProcessError> {
        let failed = |error: Errno| ProcessError::of(self.pid, error.into());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.fd, file, flags, Mode::empty()).map_err(failed)?;
        let mut room = limit.min(ROOM_BYTES);
        loop {
            let mut text = Vec::with_capacity(room);
            pread(&file, spare_capacity(&mut text), 0).map_err(failed)?;
            if text.len() < room || room >= limit {
                return Ok(text);
            }
            room = limit.min(room.saturating_mul(8));
        }
    }

    /// Reads the command line, cut off after `limit` bytes, with its words ended by NUL.
    fn line(self, limit: u64) -> Result<String, ProcessError> {
        let line = self.in_memory(move |directory| directory.read_up_to("cmdline", limit))?;
        Ok(String::from_utf8_lossy(&line).into_owned())
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

/// Pids of all processes, ascending.
pub fn all() -> Vec<u32> {
    numbers_in("/proc")
}

/// Ids of the threads of a process, ascending, without the first.
pub fn threads(pid: u32) -> Vec<u32> {
    let mut threads = numbers_in(&format!("/proc/{pid}/task"));
    threads.retain(|&thread| thread != pid);
    threads
}

/// Entries of a directory that are numbers, ascending; none if it cannot be read.
fn numbers_in(directory: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<u32> = entries.flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Start time of a process, in clock ticks since boot. With the pid it identifies the process.
pub fn start_ticks(pid: u32) -> Result<u64, ProcessError> {
    Ok(stat(pid)?.start_ticks)
}

/// Pid of a process's parent; 0 if that is outside the pid namespace.
pub fn parent(pid: u32) -> Result<u32, ProcessError> {
    Ok(stat(pid)?.parent)
}

/// Whether portbook's own user alone laid out the memory of a process, so that a read of it ends.
pub fn is_own(pid: u32) -> bool {
    Directory::open(pid).is_ok_and(|directory| directory.is_own())
}

/// Effective user of a process.
pub fn uid(pid: u32) -> Result<u32, ProcessError> {
    Directory::open(pid)?.uid()
}

/// Name of a process.
pub fn command(pid: u32) -> Result<String, ProcessError> {
    Directory::open(pid)?.command()
}

/// Reads all that identifies a living process as an owner. A zombie is gone.
pub fn owner(pid: u32) -> Result<Owner, ProcessError> {
    owner_in(&Directory::open(pid)?)
}

fn owner_in(directory: &Directory) -> Result<Owner, ProcessError> {
    let (pid, stat) = (directory.pid, directory.stat()?);
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
        inherited: false,
        engine: false,
        mapped_from: None,
        all_mapped: false,
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

/// SIGKILL as a bit of a mask of signals (`proc_pid_status(5)`).
const KILLED: u64 = 1 << 8;

/// Whether a process is about to end: it was killed, or its first thread is exiting. Its sockets
/// close within moments.
pub fn is_dying(pid: u32) -> bool {
    let Ok(directory) = Directory::open(pid) else {
        return false;
    };
    let Ok(stat) = directory.stat() else {
        return false;
    };
    stat.is_exiting() || directory.is_killed()
}

/// Whether a process has ended, or is about to end. `false` if it is gone or cannot be seen.
pub fn is_ending(pid: u32) -> bool {
    stat(pid).is_ok_and(|stat| stat.is_first_thread_gone()) || is_dying(pid)
}

/// Whether a thread waits for something that may never come. `true` if the kernel does not tell.
pub fn is_asleep(pid: u32, thread: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat"));
    let stat = text.ok().and_then(|text| parse_stat(&text));
    stat.is_none_or(|stat| stat.state == 'S')
}

/// Whether a process is stopped by a signal or a debugger.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_ok_and(|stat| matches!(stat.state, 'T' | 't'))
}

impl Directory {
    /// Whether SIGKILL waits for one of its threads, by the lines `SigPnd` and `ShdPnd`.
    fn is_killed(&self) -> bool {
        let status = self.read_up_to("status", STATUS_BYTES).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let masks = status.lines().filter_map(|line| {
            let mask = line.strip_prefix("SigPnd:");
            mask.or_else(|| line.strip_prefix("ShdPnd:"))
        });
        let mut masks = masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        masks.any(|mask| mask & KILLED != 0)
    }
}

/// Opens a descriptor that becomes readable when the owner ends (`pidfd_open(2)`).
///
/// The start time is read again afterwards, to be sure that the descriptor is not of a later
/// process with its pid.
pub fn pidfd(owner: &Owner) -> Result<OwnedFd, ProcessError> {
    let fd = open_pidfd(owner.pid)?;
    if start_ticks(owner.pid)? != owner.start_ticks {
        return Err(ProcessError::Gone(owner.pid));
    }
    Ok(fd)
}

fn open_pidfd(pid: u32) -> Result<OwnedFd, ProcessError> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or(ProcessError::Gone(pid))?;
    pidfd_open(raw, PidfdFlags::empty()).map_err(|error| ProcessError::of(pid, error.into()))
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
pub mod tests;
