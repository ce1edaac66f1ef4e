//! Origin of a program, noted while it lives, and the search for processes that it left behind.
//!
//! A process whose parent ends becomes a child of init or of a nearer ancestor (a subreaper,
//! `PR_SET_CHILD_SUBREAPER(2const)`). So all that a program left behind is among the children of its
//! ancestors, which the kernel lists (`proc_tid_children(5)`): a few reads, on a host with thousands
//! of processes too. A program that ends soon after its start left behind some of the pids that were given
//! out since: where these are few, each is looked at, since a long list takes longer.

mod census;

use std::collections::BTreeSet;

use census::{Census, Facts, last_pid};
pub use census::{descendants, round_of_pids};

use super::{Directory, Mark, Owner, ProcessError, Stat, lineage, owner, parent};

/// Maximum number of processes that one program can leave behind and that are found.
const MOST: usize = 4096;

/// Maximum age of a process without an environment that counts as left behind by a program that
/// has just ended, in clock ticks.
const RECENT_TICKS: u64 = 200;

/// Maximum number of looks for what one program left behind.
const LOOKS: usize = 16;

/// Finds the living processes that descend from programs, each of which has ended: those with the mark
/// of its lease, those that share its group, session or unit and hide their environment, and all
/// that descend from these. Oldest first, in the order of the programs.
///
/// The programs are looked for at the same time, so that many that end at once cost little more than
/// one.
pub fn left_behind(programs: &[Orphaned<'_>]) -> Vec<Vec<Owner>> {
    let mut searches: Vec<_> = programs.iter().map(Search::new).collect();
    for _ in 0..LOOKS {
        // Made after the end of every program, so it has all that they left behind.
        let mut census = Census::default();
        let open = searches.iter_mut().filter(|search| !search.is_done);
        open.for_each(|search| search.look(&mut census));
        if searches.iter().all(|search| search.is_done) {
            break;
        }
    }
    searches.into_iter().map(Search::found).collect()
}

/// A program whose owner of the lease has ended.
#[derive(Debug, Clone, Copy)]
pub struct Orphaned<'p> {
    pub origin: &'p Origin,
    /// Id of its lease.
    pub lease: &'p str,
    /// The owner. What it left behind has another parent by now (`pidfd_open(2)` tells the end after
    /// that).
    pub pid: u32,
}

/// Looks for what a program left behind.
struct Search<'p> {
    origin: &'p Origin,
    lease: &'p str,
    /// The process that has ended.
    owner: u32,
    found: Vec<Owner>,
    /// Processes that ended between the list of them and the look at them. Such a one, for instance
    /// the first of the two forks of a daemon, may have left another behind in its turn.
    ended: BTreeSet<u32>,
    /// Whether the last look found one on its way out: its children change their parent.
    is_in_motion: bool,
    is_done: bool,
}

impl<'p> Search<'p> {
    const fn new(program: &Orphaned<'p>) -> Self {
        Self {
            origin: program.origin,
            lease: program.lease,
            owner: program.pid,
            found: Vec::new(),
            ended: BTreeSet::new(),
            is_in_motion: false,
            is_done: false,
        }
    }

    fn look(&mut self, census: &mut Census) {
        let ended = self.ended.len();
        self.is_in_motion = false;
        let mut found = BTreeSet::new();
        let orphans = self.origin.orphans(census);
        let mut candidates = orphans.unwrap_or_else(|| census.all().clone());
        let mut next = Vec::new();
        while let Some(pid) = candidates.pop() {
            if self.is_kin(pid, census) {
                next.push(pid);
            } else if matches!(census.facts(pid), Facts::Exiting) {
                candidates.extend(census.children(pid).into_iter().flatten());
            }
        }
        while let Some(pid) = next.pop() {
            if pid != self.origin.pid && found.len() < MOST && found.insert(pid) {
                next.extend(census.children(pid).into_iter().flatten());
            }
        }
        self.found.clear();
        for pid in found {
            match owner(pid) {
                Ok(owner) => self.found.push(owner),
                Err(ProcessError::Gone(_)) => drop(self.ended.insert(pid)),
                Err(_) => {}
            }
        }
        self.is_done = !self.is_in_motion && self.ended.len() == ended;
    }

    fn is_kin(&mut self, pid: u32, census: &mut Census) -> bool {
        match census.facts(pid) {
            Facts::Gone => {
                if pid != self.owner {
                    self.ended.insert(pid);
                }
                false
            }
            Facts::Exiting => {
                self.is_in_motion = true;
                false
            }
            Facts::Unreadable => false,
            Facts::Marked(mark) => mark.names(self.lease),
            Facts::Unmarked(mark, stat) => self.origin.is_kin(pid, mark, stat),
        }
    }

    fn found(mut self) -> Vec<Owner> {
        self.found
            .sort_by_key(|owner| (owner.start_ticks, owner.pid));
        self.found
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
    /// Round of pids in which the program started, or the next one. `None` if it is older than the note.
    round: Option<u64>,
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
            round: is_recent(&stat).then(round_of_pids).flatten(),
        })
    }

    /// Lists children of the ancestors that are younger than the program. `None` if the kernel does
    /// not list children, or no ancestor is known any more.
    fn orphans(&self, census: &mut Census) -> Option<Vec<u32>> {
        let ancestors = self.ancestors()?;
        if self.round.is_none() || self.round != round_of_pids() {
            return self.orphans_by_start(&ancestors, census);
        }
        if let Some(young) = census.younger_than(self.pid) {
            // One that ended meanwhile has no parent any more, and may have left another behind.
            let is_orphan = |pid: &u32| parent(*pid).map_or(true, |it| ancestors.contains(&it));
            return Some(young.into_iter().filter(is_orphan).collect());
        }
        for ancestor in &ancestors {
            census.children(*ancestor)?;
        }
        // Read after the lists: a pid in them is not newer, and an old one is no longer taken for new.
        let last = last_pid()?;
        let mut orphans = Vec::new();
        for ancestor in ancestors {
            let children = census.children(ancestor)?.iter().copied();
            orphans.extend(children.filter(|pid| is_between(*pid, self.pid, last)));
        }
        Some(orphans)
    }

    /// The same where pids do not tell what is younger.
    fn orphans_by_start(&self, ancestors: &BTreeSet<u32>, census: &mut Census) -> Option<Vec<u32>> {
        let mut orphans = Vec::new();
        for ancestor in ancestors {
            let children = census.children(*ancestor)?.clone();
            let is_younger = |pid: &u32| census.is_since(*pid, self.start_ticks);
            orphans.extend(children.into_iter().filter(is_younger));
        }
        Some(orphans)
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

    /// Whether a process without a mark is kin of the program.
    fn is_kin(&self, pid: u32, mark: &Mark, stat: &Stat) -> bool {
        if stat.start_ticks < self.start_ticks {
            return false;
        }
        self.leads(stat)
            || match mark {
                Mark::Leases(_) | Mark::Absent => false,
                Mark::Blank => self.is_in_unit(pid) || self.is_daemon(pid, stat),
                Mark::Hidden => self.is_in_unit(pid),
            }
    }

    /// Whether the program was the leader of the group or session of a process.
    const fn leads(&self, stat: &Stat) -> bool {
        stat.group == self.pid || stat.session == self.pid
    }

    /// Whether a process without an environment has just left the session, as daemons do.
    fn is_daemon(&self, pid: u32, stat: &Stat) -> bool {
        let has_left = stat.session != self.session;
        has_left && is_recent(stat) && super::uid(pid).ok() == Some(self.uid)
    }

    fn is_in_unit(&self, pid: u32) -> bool {
        let unit = || Directory::open(pid).ok().as_ref().and_then(unit_of);
        self.unit.is_some() && unit() == self.unit
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

#[cfg(test)]
mod tests;
