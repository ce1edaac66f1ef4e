//! Origin of a program, noted while it lives, and the search for processes that it left behind.
//!
//! A process whose parent ends becomes a child of init or of a nearer ancestor (a subreaper,
//! `PR_SET_CHILD_SUBREAPER(2const)`). So all that a program left behind is among the children of its
//! ancestors, which the kernel lists (`proc_tid_children(5)`): a few reads, on a host with thousands
//! of processes too.

use std::collections::BTreeSet;

use super::{Directory, Mark, Owner, ProcessError, Stat, lineage, mark_of, owner};

/// Maximum number of processes that one program can leave behind and that are found.
const MOST: usize = 4096;

/// Maximum age of a process without an environment that counts as left behind by a program that
/// has just ended, in clock ticks.
const RECENT_TICKS: u64 = 200;

/// Maximum number of looks for what one program left behind.
const LOOKS: usize = 16;

/// Looks for what a program left behind.
#[derive(Default)]
struct Search {
    found: Vec<Owner>,
    /// Processes that ended between the list of them and the look at them. Such a one, for instance
    /// the first of the two forks of a daemon, may have left another behind in its turn.
    ended: BTreeSet<u32>,
}

impl Search {
    /// Notes a process that is found to have ended, and passes on all else.
    fn read<T>(&mut self, pid: u32, looked: Result<T, ProcessError>) -> Option<T> {
        if matches!(looked, Err(ProcessError::Gone(_))) {
            self.ended.insert(pid);
        }
        looked.ok()
    }
}

/// Facts of a program that outlast it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pid: u32,
    start_ticks: u64,
    uid: u32,
    parent: u32,
    session: u32,
    /// Control group, if it is that of one systemd service.
    unit: Option<String>,
}

impl Origin {
    /// Notes the origin of an owner that may live. `None` if it is gone.
    pub fn of(owner: &Owner) -> Option<Self> {
        let directory = Directory::open(owner.pid).ok()?;
        let stat = directory.stat().ok()?;
        (stat.start_ticks == owner.start_ticks).then(|| Self {
            pid: owner.pid,
            start_ticks: owner.start_ticks,
            uid: owner.uid,
            parent: stat.parent,
            session: stat.session,
            unit: unit_of(&directory),
        })
    }

    /// Finds the living processes that descend from the program, which has ended: those with the mark
    /// of the lease, those that share its group, session or unit and hide their environment, and all
    /// that descend from these. Oldest first.
    pub fn left_behind(&self, lease: &str) -> Vec<Owner> {
        let mut search = Search::default();
        for _ in 0..LOOKS {
            let ended = search.ended.len();
            search.found = self.look(lease, &mut search);
            if search.ended.len() == ended {
                break;
            }
        }
        search
            .found
            .sort_by_key(|owner| (owner.start_ticks, owner.pid));
        search.found
    }

    fn look(&self, lease: &str, search: &mut Search) -> Vec<Owner> {
        let mut found = BTreeSet::new();
        let mut next = self.orphans().unwrap_or_else(super::all);
        next.retain(|pid| search.read(*pid, self.is_kin(*pid, lease)) == Some(true));
        while let Some(pid) = next.pop() {
            if pid != self.pid && found.len() < MOST && found.insert(pid) {
                next.extend(children(pid).unwrap_or_default());
            }
        }
        let owners = found.into_iter().map(|pid| (pid, owner(pid)));
        owners
            .filter_map(|(pid, owner)| search.read(pid, owner))
            .collect()
    }

    /// Lists children of the ancestors that are younger than the program. `None` if the kernel does
    /// not list children, or no ancestor is known any more.
    fn orphans(&self) -> Option<Vec<u32>> {
        let ancestors = self.ancestors()?.into_iter();
        let listed: Vec<BTreeSet<u32>> = ancestors.map(children).collect::<Option<_>>()?;
        // Read after the lists: a pid in them is not newer, and an old one is no longer taken for new.
        let last = last_pid()?;
        let listed = listed.into_iter().flatten();
        Some(
            listed
                .filter(|pid| is_between(*pid, self.pid, last))
                .collect(),
        )
    }

    /// Processes that may have become the parent of what the program left behind.
    fn ancestors(&self) -> Option<BTreeSet<u32>> {
        let known = |pid: u32| {
            let older = super::stat(pid).is_ok_and(|stat| stat.start_ticks <= self.start_ticks);
            older.then(|| lineage(pid))
        };
        let above = known(self.parent).or_else(|| known(self.session))?;
        Some(above.chain([1]).collect())
    }

    fn is_kin(&self, pid: u32, lease: &str) -> Result<bool, ProcessError> {
        let mark = mark_of(pid);
        if let Mark::Leases(_) = &mark {
            return Ok(mark.names(lease));
        }
        let directory = Directory::open(pid)?;
        let stat = directory.stat()?;
        if stat.is_zombie() || stat.is_exiting() {
            return Err(ProcessError::Gone(pid));
        }
        let shares = match mark {
            _ if stat.start_ticks < self.start_ticks => false,
            Mark::Leases(_) | Mark::Absent => self.leads(&stat),
            Mark::Blank => {
                self.leads(&stat)
                    || self.is_in_unit(&directory)
                    || self.is_daemon(&stat, &directory)
            }
            Mark::Hidden => self.leads(&stat) || self.is_in_unit(&directory),
        };
        Ok(shares)
    }

    /// Whether the program was the leader of the group or session of a process.
    const fn leads(&self, stat: &Stat) -> bool {
        stat.group == self.pid || stat.session == self.pid
    }

    /// Whether a process without an environment has just left the session, as daemons do.
    fn is_daemon(&self, stat: &Stat, directory: &Directory) -> bool {
        let has_left = stat.session != self.session;
        has_left && is_recent(stat) && directory.uid().ok() == Some(self.uid)
    }

    fn is_in_unit(&self, directory: &Directory) -> bool {
        self.unit.is_some() && unit_of(directory) == self.unit
    }
}

/// Control group of a process if it is that of a service, which has no other processes than what
/// the service started (`systemd.service(5)`).
fn unit_of(directory: &Directory) -> Option<String> {
    let group = directory.read("cgroup").ok()?;
    let group = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    group.ends_with(".service").then(|| group.to_owned())
}

fn is_recent(stat: &Stat) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let now = seconds.saturating_mul(rustix::param::clock_ticks_per_second());
    stat.start_ticks.saturating_add(RECENT_TICKS) >= now
}

/// Whether a pid was given out after `first` and not after `last`: the kernel gives them out in
/// ascending order, and begins again at the end.
const fn is_between(pid: u32, first: u32, last: u32) -> bool {
    if first <= last {
        first < pid && pid <= last
    } else {
        first < pid || pid <= last
    }
}

/// The pid that was given out last (`proc_loadavg(5)`).
fn last_pid() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Maximum number of reads of the children of a process.
const READS: usize = 16;

/// Children of all threads of a process. `None` if the kernel does not list them
/// (`CONFIG_PROC_CHILDREN`).
///
/// The kernel may leave a child out when another one ends during the read
/// (`proc_tid_children(5)`), so they are read until two reads are equal.
fn children(pid: u32) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    let mut before = read_children(pid)?;
    for _ in 1..READS {
        let now = read_children(pid)?;
        let is_settled = now == before;
        all.extend(std::mem::replace(&mut before, now));
        if is_settled {
            break;
        }
    }
    all.extend(before);
    Some(all)
}

fn read_children(pid: u32) -> Option<Vec<u32>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut children = Vec::new();
    for task in tasks.flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).ok()?;
        let pids = text.split_ascii_whitespace();
        children.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Some(children)
}

#[cfg(test)]
mod tests;
