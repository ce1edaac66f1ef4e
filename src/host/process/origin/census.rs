//! Processes and their children, each read once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::host::process::{self, Directory, Mark, ProcessError, Stat, mark_of, open_pidfd};

/// Facts of a process that tell the programs that it comes from.
pub(super) enum Facts {
    /// Ids of the leases in its environment.
    Marked(Mark),
    /// Reason for the lack of ids, and its state.
    Unmarked(Mark, Stat),
    /// It is on its way out. Its children have not become those of an ancestor yet.
    Exiting,
    /// It has ended.
    Gone,
    /// The kernel does not show it.
    Unreadable,
}

impl Facts {
    fn of(pid: u32) -> Self {
        let mark = mark_of(pid);
        if let Mark::Leases(_) = &mark {
            return Self::Marked(mark);
        }
        match Directory::open(pid).and_then(|directory| directory.stat()) {
            Ok(stat) if stat.is_zombie() => Self::Gone,
            Ok(stat) if stat.is_exiting() => Self::Exiting,
            Ok(stat) => Self::Unmarked(mark, stat),
            Err(ProcessError::Gone(_)) => Self::Gone,
            Err(_) => Self::Unreadable,
        }
    }
}

/// Maximum number of pids that one census asks for one by one: it takes as long as the list of some hundred
/// children.
const ASKED: u32 = 512;

/// Facts of processes, read when they are first asked for.
pub(super) struct Census {
    facts: HashMap<u32, Facts>,
    children: HashMap<u32, Option<Vec<u32>>>,
    starts: HashMap<u32, Option<u64>>,
    all: Option<Vec<u32>>,
    /// Number of pids that may still be asked for.
    may_ask: u32,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            facts: HashMap::new(),
            children: HashMap::new(),
            starts: HashMap::new(),
            all: None,
            may_ask: ASKED,
        }
    }
}

impl Census {
    pub(super) fn facts(&mut self, pid: u32) -> &Facts {
        self.facts.entry(pid).or_insert_with(|| Facts::of(pid))
    }

    /// Children of all threads of a process. `None` if the kernel does not list them
    /// (`CONFIG_PROC_CHILDREN`).
    pub(super) fn children(&mut self, pid: u32) -> Option<&Vec<u32>> {
        let read = || read_children(pid);
        self.children.entry(pid).or_insert_with(read).as_ref()
    }

    /// Whether a process started no earlier than this, in clock ticks since boot. True of one that is gone:
    /// that is for its facts to tell.
    pub(super) fn is_since(&mut self, pid: u32, start_ticks: u64) -> bool {
        let start = self.starts.entry(pid);
        let start = start.or_insert_with(|| process::start_ticks(pid).ok());
        start.is_none_or(|start| start >= start_ticks)
    }

    /// A census that asks for no pid.
    #[cfg(test)]
    pub(super) fn by_lists() -> Self {
        Self {
            may_ask: 0,
            ..Self::default()
        }
    }

    /// Living processes whose pids were given out after `first`. `None` if too many were, or if the kernel
    /// has begun again at the lowest.
    pub(super) fn younger_than(&mut self, first: u32) -> Option<Vec<u32>> {
        let (mut asked, mut found) = (first, Vec::new());
        // Until none is given out meanwhile: a process that ended before it was asked for may have started
        // another one.
        for _ in 0..READS {
            let last = last_pid()?;
            let new = last.checked_sub(asked)?;
            if new == 0 {
                return Some(found);
            }
            self.may_ask = self.may_ask.checked_sub(new)?;
            found.extend((asked + 1..=last).filter(|pid| is_process(*pid)));
            asked = last;
        }
        None
    }

    /// Pids of all processes, ascending.
    pub(super) fn all(&mut self) -> &Vec<u32> {
        self.all.get_or_insert_with(process::all)
    }
}

/// Whether a process has this pid, or has had it a moment ago.
pub(super) fn is_process(pid: u32) -> bool {
    exists(pid) && (open_pidfd(pid).is_ok() || !exists(pid))
}

/// Whether a process, or a thread of one, has this id (`kill(2)` with signal 0).
fn exists(id: u32) -> bool {
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    // EPERM: one of another user.
    raw.is_some_and(|raw| test_kill_process(raw) != Err(Errno::SRCH))
}

/// The pid that was given out last, and how often the kernel was seen to begin again at the lowest.
#[derive(Debug, Default)]
struct Rounds {
    last: u32,
    number: u64,
}

static ROUNDS: Mutex<Rounds> = Mutex::new(Rounds { last: 0, number: 0 });

/// Number of the round of pids: the kernel gives them out in ascending order, and begins again at the
/// lowest after the highest (`pid_max`, `proc(5)`). Within a round they tell which process is younger.
/// `None` if it cannot be read.
///
/// A round is seen if this is called in between, as a service does each second: 32,768 pids, the fewest
/// that a kernel has by default, last longer than that.
pub fn round_of_pids() -> Option<u64> {
    let mut rounds = ROUNDS.lock().unwrap_or_else(PoisonError::into_inner);
    // Read with the lock, so that no later reading of another thread passes for an earlier one.
    let last = last_pid()?;
    if last < rounds.last {
        rounds.number += 1;
    }
    rounds.last = last;
    Some(rounds.number)
}

/// The pid that was given out last (`proc_loadavg(5)`).
pub(super) fn last_pid() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Maximum number of reads of the children of a process.
const READS: usize = 16;

/// Children of all threads of a process, ascending. `None` if the kernel does not list them
/// (`CONFIG_PROC_CHILDREN`).
///
/// The kernel may leave a child out when another one ends during the read
/// (`proc_tid_children(5)`), so they are read until none of one read is missing in the next. Children that
/// are born meanwhile are at the end of the list, and hide none.
fn read_children(pid: u32) -> Option<Vec<u32>> {
    let mut all = read_children_once(pid)?;
    let mut before = all.clone();
    for _ in 1..READS {
        let now = read_children_once(pid)?;
        let is_settled = before.iter().all(|pid| now.binary_search(pid).is_ok());
        let new = now.iter().filter(|pid| all.binary_search(pid).is_err());
        let new: Vec<u32> = new.copied().collect();
        if !new.is_empty() {
            all.extend(new);
            all.sort_unstable();
        }
        if is_settled {
            break;
        }
        before = now;
    }
    Some(all)
}

/// A process and the living processes that descend from it, `most` at most.
pub fn descendants(pid: u32, most: usize) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied().filter(|_| found.len() < most) {
        found.extend(read_children_once(parent).unwrap_or_default());
        next += 1;
    }
    found.truncate(most);
    found
}

/// Ascending.
fn read_children_once(pid: u32) -> Option<Vec<u32>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut children = Vec::new();
    for task in tasks.flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).ok()?;
        let pids = text.split_ascii_whitespace();
        children.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children.sort_unstable();
    Some(children)
}
