//! The sweep: what ended sessions had is marked, and freed once its time is over.
//!
//! No clock of a host has a say in it. A session id never comes twice, so one that is absent stays absent;
//! and the time from the mark to the freeing is that of a key, `gone/SESSION/SECONDS`, which the engine
//! lets go by itself. Every commit compares what was read, and that the session is absent. So any number
//! of hosts may sweep at once, and a sweep that stops anywhere is simply done again.
//!
//! The engine's lease of such a key is never ended, not even after a commit that was refused or had no
//! answer: that commit may have been done, and without the key the number would be free at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::engine::{Answer, Compare, Engine, Entry, MOST_STEPS, Outcome, SessionId, Step};
use super::key::Keys;
use super::value;
use super::view;
use crate::domain::claim::Number;
use crate::domain::fleet::HostName;
use crate::domain::port::PortSet;

/// Number of conditions of a commit beside its keys: the session, the key of its time, and the hold.
const OTHERS: usize = 3;

/// Number of entries that are read and swept together.
const PAGE: usize = 500;

/// Maximum number of keys of one commit.
const MOST_KEYS: usize = MOST_STEPS - OTHERS;

/// Time after which a name is deleted whose host is gone.
const NAMES_KEPT: Duration = Duration::from_hours(24);

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Claims that were marked.
    pub marked: usize,
    /// Claims that were freed.
    pub freed: usize,
    /// Names that were marked or deleted.
    pub names: usize,
    /// Whether there was something to do.
    has_tried: bool,
}

/// Keys that a sweep has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Claims, if something has ended since the last sweep.
    Claims,
    /// All claims; and names as well, which are many more, and whose marks and ends are in no hurry.
    All,
}

/// A key whose session has ended.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) entry: Entry,
    pub(super) is_claim: bool,
    is_marked: bool,
}

/// Keys that share a session and a time: host of the session, its id, and seconds until they are freed.
/// `None` if no clock frees them.
pub(super) type Group = (HostName, String, Option<u64>);

/// Keys that ended sessions had.
type Leftovers = BTreeMap<Group, Vec<Left>>;

/// What was read before the keys of a sweep: the keys of living sessions, and those of running times.
#[derive(Debug, Clone)]
struct Known {
    sessions: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// What a sweep leaves to the next one of this host.
#[derive(Debug, Default)]
pub struct Last {
    /// `None` if claims are to be read again whatever has ended.
    known: Option<Known>,
    /// Number of pages that the last sweep of all keys read.
    pub pages: u32,
}

impl Last {
    /// Whether claims may be to be marked or freed: only then a sweep reads them. A claim is made in a living
    /// session, which lasts for two sweeps at least; so what is to be marked belongs to a session that an earlier
    /// sweep saw. Sessions of other settings and late sweeps may break that rule, and wait for a sweep of all keys.
    fn has_ended(&self, now: &Known) -> bool {
        self.known.as_ref().is_none_or(|known| {
            !known.sessions.is_subset(&now.sessions) || !known.gone.is_subset(&now.gone)
        })
    }
}

/// A host that may sweep.
#[derive(Debug, Clone)]
pub struct Sweeper<E> {
    pub engine: E,
    pub keys: Keys,
    pub host: HostName,
}

impl<E: Engine> Sweeper<E> {
    /// Takes or keeps the duty, which ends with the session. `false` if another host has it.
    pub async fn take_duty(&self, session: &str, id: SessionId) -> Answer<bool> {
        let key = self.keys.duty();
        let page = self.engine.list(&key, None, 1).await?;
        let duty = page.entries.iter().find(|entry| entry.key == key);
        // A commit writes to the engine's disk even if it is refused, and every host of the fleet asks.
        if let Some(duty) = duty {
            return Ok(duty.value == session.as_bytes());
        }
        let compare = vec![
            Compare::absent(self.keys.duty()),
            Compare::present(self.keys.session(&self.host, session)),
        ];
        let put = Step::Put {
            key: self.keys.duty(),
            value: session.into(),
            session: Some(id),
        };
        match self.engine.commit(compare, vec![put]).await? {
            Outcome::Done { .. } => Ok(true),
            Outcome::Refused { found, .. } => {
                let duty = found.into_iter().next().flatten();
                Ok(duty.is_some_and(|duty| duty.value == session.as_bytes()))
            }
        }
    }

    /// Marks and frees what is due, page by page. A session that begins meanwhile is looked for before the first
    /// change; each commit compares that it is absent.
    pub async fn sweep(&self, what: Sweep, last: &mut Last) -> Answer<Swept> {
        let mut known = Known {
            sessions: self.sessions().await?,
            gone: view::keys_of(&self.engine, &self.keys.all_gone()).await?,
        };
        let mut swept = Swept::default();
        if what == Sweep::Claims && !last.has_ended(&known) {
            last.known = Some(known);
            return Ok(swept);
        }
        let read = known.clone();
        // One that fails on its way is done again.
        last.known = None;
        let (claims, names) = (self.keys.claims(), self.keys.names());
        let mut pages = self
            .sweep_prefix(&claims, true, &mut known, &mut swept)
            .await?;
        let is_settled = !swept.has_tried;
        if what == Sweep::All {
            pages += self
                .sweep_prefix(&names, false, &mut known, &mut swept)
                .await?;
            last.pages = pages;
        }
        last.known = is_settled.then_some(read);
        Ok(swept)
    }

    /// Number of sessions that live.
    pub async fn count_sessions(&self) -> Answer<usize> {
        let sessions = self.keys.sessions();
        Ok(self.engine.list_keys(&sessions, None, 1).await?.total)
    }

    /// Claims without a mark whose sessions have ended, by key and revision; and the number of sessions
    /// that live. For hosts that watch over the one that has the duty.
    pub async fn unmarked(&self) -> Answer<(BTreeSet<(String, u64)>, usize)> {
        let claims = view::entries_of(&self.engine, &self.keys.claims()).await?;
        let sessions = self.sessions().await?;
        let left = self.leftovers(claims, true, &sessions).into_values();
        let unmarked = left.flatten().filter(|left| !left.is_marked);
        let keys = unmarked.map(|left| (left.entry.key, left.entry.modified));
        Ok((keys.collect(), sessions.len()))
    }

    /// Deletes the claims of a host at once. `None` if its session lives.
    pub async fn evict(&self, host: &HostName) -> Answer<Option<Vec<Number>>> {
        // A session that begins after this look claims again what is still there, and loses the rest.
        let sessions = self.keys.sessions_of(host);
        if !self
            .engine
            .list(&sessions, None, 1)
            .await?
            .entries
            .is_empty()
        {
            return Ok(None);
        }
        let claims = view::entries_of(&self.engine, &self.keys.claims()).await?;
        let mut evicted = Vec::new();
        for ((owner, session, _), keys) in self.leftovers(claims, true, &BTreeSet::new()) {
            if owner != *host {
                continue;
            }
            let claims: Vec<&Left> = keys.iter().collect();
            for batch in claims.chunks(MOST_KEYS) {
                let session = Compare::absent(self.keys.session(host, &session));
                let done = self.delete(batch, &[session]).await?;
                let keys = done.iter().map(|left| &left.entry.key);
                evicted.extend(keys.filter_map(|key| self.keys.read_claim(key)));
            }
        }
        Ok(Some(evicted))
    }

    /// Deletes claims on these ports, or all, that nothing else takes, since their values do not hold. One that a host has
    /// written anew since it was read stays.
    pub async fn evict_unreadable(&self, ports: Option<&PortSet>) -> Answer<Vec<Number>> {
        let claims = view::entries_of(&self.engine, &self.keys.claims()).await?;
        let is_meant = |entry: &Entry| {
            let number = self.keys.read_claim(&entry.key);
            number.is_some_and(|number| ports.is_none_or(|ports| ports.contains(number.port)))
                && value::holder(entry).is_none()
        };
        let meant = claims.into_iter().filter(is_meant);
        let claims: Vec<Left> = meant
            .map(|entry| Left {
                entry,
                is_claim: true,
                is_marked: false,
            })
            .collect();
        let mut evicted = Vec::new();
        for batch in claims.chunks(MOST_KEYS) {
            let batch: Vec<&Left> = batch.iter().collect();
            let done = self.delete(&batch, &[]).await?;
            let keys = done.iter().map(|left| &left.entry.key);
            evicted.extend(keys.filter_map(|key| self.keys.read_claim(key)));
        }
        Ok(evicted)
    }

    async fn sessions(&self) -> Answer<BTreeSet<String>> {
        view::keys_of(&self.engine, &self.keys.sessions()).await
    }

    async fn sweep_prefix(
        &self,
        prefix: &str,
        is_claim: bool,
        known: &mut Known,
        swept: &mut Swept,
    ) -> Answer<u32> {
        let mut after: Option<String> = None;
        let mut pages = 0;
        loop {
            pages += 1;
            let page = self.engine.list(prefix, after.as_deref(), PAGE).await?;
            after = page.entries.last().map(|entry| entry.key.clone());
            let left = self.leftovers(page.entries, is_claim, &known.sessions);
            for (group, keys) in &left {
                self.sweep_group(group, keys, known, swept).await?;
            }
            if !page.more || after.is_none() {
                return Ok(pages);
            }
        }
    }

    async fn sweep_group(
        &self,
        group: &Group,
        keys: &[Left],
        known: &mut Known,
        swept: &mut Swept,
    ) -> Answer<()> {
        let (marked, unmarked): (Vec<&Left>, Vec<&Left>) =
            keys.iter().partition(|left| left.is_marked);
        let time = group.2.map(|seconds| self.keys.gone(&group.1, seconds));
        let is_over = |gone: &BTreeSet<String>| time.as_ref().is_some_and(|it| !gone.contains(it));
        if unmarked.is_empty() && !is_over(&known.gone) {
            return Ok(());
        }
        swept.has_tried = true;
        if self.has_begun(group, known).await? {
            return Ok(());
        }
        for batch in unmarked.chunks(MOST_KEYS) {
            self.mark(group, batch, &mut known.gone, swept).await?;
        }
        if is_over(&known.gone) {
            for batch in marked.chunks(MOST_KEYS) {
                self.free(group, batch, swept).await?;
            }
        }
        Ok(())
    }

    /// Whether the session of a group began after the sessions were read. In a fleet that has just started many do;
    /// each would cost a refused commit a key, and a time that is left to run in the engine.
    async fn has_begun(&self, group: &Group, known: &mut Known) -> Answer<bool> {
        let session = self.keys.session(&group.0, &group.1);
        let page = self.engine.list_keys(&session, None, 1).await?;
        let has_begun = page.entries.iter().any(|entry| entry.key == session);
        if has_begun {
            known.sessions.insert(session);
        }
        Ok(has_begun)
    }

    /// Those of the entries whose sessions have ended.
    fn leftovers(
        &self,
        entries: Vec<Entry>,
        is_claim: bool,
        sessions: &BTreeSet<String>,
    ) -> Leftovers {
        let mut left = Leftovers::new();
        for entry in entries {
            let Some((group, is_marked)) = self.group(&entry, is_claim) else {
                continue;
            };
            if !sessions.contains(&self.keys.session(&group.0, &group.1)) {
                left.entry(group).or_default().push(Left {
                    entry,
                    is_claim,
                    is_marked,
                });
            }
        }
        left
    }

    /// Group of a key, and whether it is marked. `None` if its value does not hold.
    fn group(&self, entry: &Entry, is_claim: bool) -> Option<(Group, bool)> {
        let bound = value::bound(entry)?;
        let (host, seconds) = if is_claim {
            let reclaim = value::claim_value(entry)?.reclaim_s();
            (bound.host.parse().ok()?, reclaim)
        } else {
            let (_, host, _) = self.keys.read_name(&entry.key)?;
            (host, Some(NAMES_KEPT.as_secs()))
        };
        let is_marked = bound.is_marked(is_claim);
        Some(((host, bound.session, seconds), is_marked))
    }
}
