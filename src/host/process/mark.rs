//! The mark of a lease: a variable that `portbook run` gives to its program, and that everything
//! that the program starts inherits (`proc_pid_environ(5)`).
//!
//! It is a hint, as any environment is: a process of the lease's own user may set it at will.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::{Directory, ProcessError, Stat};

/// Name of the variable. Its value is the ids of the program's leases, separated by commas.
pub const MARK: &str = "PORTBOOK_LEASE";

/// Maximum length of an environment that is read.
const ENVIRONMENT_BYTES: usize = 1024 * 1024;

/// The mark of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Ids of leases, separated by commas.
    Leases(String),
    /// It has an environment without the mark.
    Absent,
    /// It has no environment: it began with none, wrote its title over it (`setproctitle(3)`), or is
    /// ending.
    Blank,
    /// The kernel does not show its environment to portbook's user, or it is gone.
    Hidden,
}

impl Mark {
    /// Whether it names this lease.
    pub fn names(&self, lease: &str) -> bool {
        matches!(self, Self::Leases(ids) if ids.split(',').any(|id| id == lease))
    }

    fn of(environment: &[u8]) -> Self {
        let mut entries = environment.split(|byte| *byte == 0);
        let prefix = [MARK.as_bytes(), b"="].concat();
        match entries.find_map(|entry| entry.strip_prefix(&prefix[..])) {
            Some(ids) => Self::Leases(String::from_utf8_lossy(ids).into_owned()),
            None if environment.contains(&b'=') => Self::Absent,
            None => Self::Blank,
        }
    }
}

/// Reads the mark of a process.
pub fn mark_of(pid: u32) -> Mark {
    let environment = environment(pid);
    environment.map_or(Mark::Hidden, |environment| Mark::of(&environment))
}

/// Pause between two looks at a process whose program is being loaded, and their number. The kernel
/// has no event for the end of it; it takes microseconds, or as long as a busy host lets it wait.
const PAUSE: Duration = Duration::from_millis(1);
const LOOKS: usize = 1000;

/// Reads the environment that a process began with. It waits for a process whose program is being
/// loaded (`execve(2)`): that one has a new memory already, and no environment in it yet.
fn environment(pid: u32) -> Result<Vec<u8>, ProcessError> {
    Directory::open(pid)?.in_memory(environment_in)
}

fn environment_in(directory: &Directory) -> Result<Vec<u8>, ProcessError> {
    for _ in 0..LOOKS {
        let before = directory.stat()?;
        let environment = directory.read_at_once("environ", ENVIRONMENT_BYTES)?;
        if !environment.is_empty() || before.is_settled(&directory.stat()?) {
            return Ok(environment);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Vec::new())
}

impl Stat {
    /// Whether the process had one memory between two looks, with its program in it, or none.
    fn is_settled(&self, later: &Self) -> bool {
        let is_loaded = self.memory == 0 || self.code_end != 0;
        let is_same = self.environment == later.environment && self.code_end == later.code_end;
        later.memory == 0 || (is_loaded && is_same)
    }
}

/// Reads a variable of the environment that a process began with.
pub(super) fn variable(pid: u32, name: &str) -> Option<OsString> {
    let prefix = [name.as_bytes(), b"="].concat();
    let environment = environment(pid).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(&prefix[..]))?;
    Some(OsString::from_vec(value.to_vec()))
}

/// Finds every process with a mark, by lease, among those that started no earlier than `since`, in clock
/// ticks since boot. It reads the environments of these, which takes some ten microseconds each.
pub fn marked(since: u64) -> HashMap<String, Vec<u32>> {
    let mut by_lease: HashMap<String, Vec<u32>> = HashMap::new();
    for pid in super::all() {
        if let Some(ids) = leases_since(pid, since) {
            for id in ids.split(',') {
                by_lease.entry(id.to_owned()).or_default().push(pid);
            }
        }
    }
    by_lease
}

/// Ids in the mark of a process, if it is none of the kernel's and started no earlier than this.
fn leases_since(pid: u32, since: u64) -> Option<String> {
    let directory = Directory::open(pid).ok()?;
    let stat = directory.stat().ok()?;
    if stat.is_of_kernel() || stat.start_ticks < since {
        return None;
    }
    let environment = directory.in_memory(environment_in).ok()?;
    match Mark::of(&environment) {
        Mark::Leases(ids) => Some(ids),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::tests::running;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn mark_is_found_among_other_variables() {
        let mark = Mark::of(b"PATH=/bin\0PORTBOOK_LEASE=a,b\0HOME=/\0");
        assert!(mark.names("a") && mark.names("b"));
        assert!(!mark.names("c") && !mark.names("a,b"));
        assert_eq!(Mark::of(b"PATH=/bin\0X_PORTBOOK_LEASE=a\0"), Mark::Absent);
        for blank in [&b""[..], b"\0\0\0", b"nginx: worker process\0\0"] {
            assert_eq!(Mark::of(blank), Mark::Blank);
        }
    }

    #[test]
    fn mark_of_a_child_is_read() {
        let mut command = Command::new("cat");
        command.env(MARK, "one,two");
        let mut child = running(command);
        let start = crate::host::process::start_ticks(child.id()).unwrap();
        let (mark, marked, later) = (mark_of(child.id()), marked(start), marked(start + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mark.names("two"));
        assert_eq!(marked["one"], [child.id()]);
        assert_eq!(later.get("one"), None);
        assert_eq!(mark_of(u32::MAX), Mark::Hidden);
    }

    /// A program that begins again and again has a mark at every moment.
    #[test]
    fn mark_is_read_while_its_program_is_being_loaded() {
        let mut command = Command::new("sh");
        command.args(["-c", "read _; exec sh -c \"$AGAIN\""]);
        command
            .env("AGAIN", "exec sh -c \"$AGAIN\"")
            .env(MARK, "again");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let missed = (0..20_000).filter(|_| !mark_of(child.id()).names("again"));
        let missed = missed.count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(missed, 0);
    }
}
