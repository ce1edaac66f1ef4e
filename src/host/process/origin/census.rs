//! Processes and their children, each read once.

use std::collections::HashMap;

use crate::host::process::{self, Directory, Mark, ProcessError, Stat, mark_of};

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

/// Facts of processes, read when they are first asked for.
#[derive(Default)]
pub(super) struct Census {
    facts: HashMap<u32, Facts>,
    children: HashMap<u32, Option<Vec<u32>>>,
    all: Option<Vec<u32>>,
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

    /// Pids of all processes, ascending.
    pub(super) fn all(&mut self) -> &Vec<u32> {
        self.all.get_or_insert_with(process::all)
    }
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
