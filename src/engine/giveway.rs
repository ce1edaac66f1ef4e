//! Names that nobody uses give way where there is no room: the least recently used first, the
//! asker's own before others', and others' only after a time that the pool sets. What was reserved
//! by hand, the console's own and what is in use never do.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::allocator::{Found, Wish};
use super::books::OverLimit;
use super::grant::RequestContext;
use super::quota::{Admission, Over};
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::choice::assigned::browser_blocked;
use crate::domain::attempt::{Attempt, printable};
use crate::domain::explanation::Explanation;
use crate::domain::lease::{Lease, Name, Scope, State};
use crate::domain::port::Port;

/// How many leases are ended at most beside one for each port that is wanted: one that cannot be
/// bound after all leaves room for nobody.
const SPARE: usize = 8;

/// Why a lease ended, for the log and the event.
pub(super) const GAVE_WAY: &str = "nobody used it, and it gave way to another request";

/// What one search came to.
pub(super) struct Searched {
    pub(super) result: Result<Vec<Option<Found>>, Refusal>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) explanation: Explanation,
}

/// Of what there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// So many free ports, in the ranges and on the addresses asked for.
    Ports(usize),
    /// A quota, for so many leases.
    Quota(Over, usize),
}

/// Leases that end together: those of one name, or of all names on one port.
#[derive(Debug, Default)]
struct Yielding {
    leases: Vec<Arc<Lease>>,
}

/// Under what the leases of one name are found, TCP and UDP together.
type Key = (u32, Scope, Option<Name>);

impl Service {
    /// Lets a request in, with room made for it where a quota leaves none; and tells who gave way.
    pub(super) async fn admit_with_room(
        &self,
        asked: &RequestContext<'_>,
        missing: usize,
        ending: usize,
    ) -> Result<(Admission, Vec<String>), Refusal> {
        let mut notes = Vec::new();
        let count = missing * asked.plan.protocols.each().len();
        for _ in 0..=missing + SPARE {
            let over = match self.admit(asked, missing, ending) {
                Ok(admission) => return Ok((admission, notes)),
                Err(over) => over,
            };
            match self.make_room(asked, Need::Quota(over, count)).await {
                Some(note) => notes.push(note),
                None => break,
            }
        }
        let admission = self.admit(asked, missing, ending);
        let admission = admission.map_err(|over| self.over_quota(over, asked, missing))?;
        Ok((admission, notes))
    }

    /// Searches, and once more for each name that gives way where the pool is full.
    pub(super) async fn search_with_room(
        &self,
        asked: &RequestContext<'_>,
        wishes: &[Wish],
        mut notes: Vec<String>,
    ) -> Searched {
        let missing = wishes.len();
        let mut searched = self.search(asked, wishes);
        for _ in 0..missing + SPARE {
            if !matches!(searched.result, Err(Refusal::PoolExhausted { .. })) {
                break;
            }
            let need = Need::Ports(missing - got(&searched.attempts).min(missing));
            let Some(note) = self.make_room(asked, need).await else {
                break;
            };
            notes.push(note);
            let earlier = std::mem::take(&mut searched.attempts);
            searched = self.search(asked, wishes);
            searched.attempts.splice(0..0, earlier);
        }
        searched.explanation.notes.splice(0..0, notes);
        searched
    }

    /// Ends what gives way first, and says what it was; `None` where all that may is not enough.
    async fn make_room(&self, asked: &RequestContext<'_>, need: Need) -> Option<String> {
        if asked.request.dry_run {
            return None;
        }
        let all = self.yielding(asked, need);
        if !suffices(&all, need, self) {
            return None;
        }
        for yielding in all {
            // Somebody who asks for it this very moment keeps it.
            let names = yielding.keys();
            let names = names.iter().filter_map(|(uid, scope, name)| {
                let name = name.as_ref()?.as_str();
                Some((*uid, scope, name))
            });
            let Some(_turn) = self.names.try_take(names) else {
                continue;
            };
            if self.end_yielding(&yielding).await {
                return Some(tell_given_way(asked, &yielding));
            }
        }
        None
    }

    /// The lease of a name that is asked to be reserved: from now on it is kept by hand.
    pub(super) async fn reserved_by_hand(
        &self,
        asked: &RequestContext<'_>,
        lease: &Lease,
    ) -> Result<Arc<Lease>, Refusal> {
        if !asked.request.reserve || asked.request.dry_run || lease.by_hand {
            return self.lease(lease.id).ok_or(Refusal::NotFound);
        }
        let _turn = self.turn(lease.id).await;
        self.change(lease.id, |lease| lease.by_hand = true).await
    }

    async fn end_yielding(&self, yielding: &Yielding) -> bool {
        let mut all = true;
        for lease in &yielding.leases {
            let ended = self.end(lease.id, State::Expired, GAVE_WAY, Lease::is_idle);
            all &= ended.await.is_ok() && self.lease(lease.id).is_none();
        }
        all
    }

    /// What may give way, the first first.
    fn yielding(&self, asked: &RequestContext<'_>, need: Need) -> Vec<Yielding> {
        let leases: Vec<Arc<Lease>> = lock(&self.books).leases().cloned().collect();
        let now = self.clock.now();
        let mut names: HashMap<Key, Yielding> = HashMap::new();
        for lease in leases.iter().filter(|lease| lease.name.is_some()) {
            let of_name = names.entry(key(lease)).or_default();
            of_name.leases.push(Arc::clone(lease));
        }
        // All of a name, or none of it.
        names.retain(|_, name| {
            name.leases
                .iter()
                .all(|lease| self.may_yield(asked, lease, now))
        });
        let mut found = match need {
            Need::Ports(_) => self.by_port(asked, &leases, &names),
            Need::Quota(over, _) => {
                let counts = |name: &Yielding| name.leases.iter().any(|it| counts(asked, it, over));
                names.into_values().filter(counts).collect()
            }
        };
        found.sort_by_key(|yielding| yielding.order(asked.caller.uid));
        found
    }

    /// The ports that would be free if names gave way, each with all that is in the way there.
    fn by_port(
        &self,
        asked: &RequestContext<'_>,
        leases: &[Arc<Lease>],
        names: &HashMap<Key, Yielding>,
    ) -> Vec<Yielding> {
        let protocols = asked.plan.protocols.each();
        let in_the_way = leases.iter().filter(|lease| {
            protocols.contains(&lease.protocol)
                && lease.addresses.overlaps(&asked.plan.group)
                && self.may_be_granted(asked, lease.port)
        });
        let mut ports: HashMap<Port, Option<Yielding>> = HashMap::new();
        for lease in in_the_way {
            let port = ports
                .entry(lease.port)
                .or_insert_with(|| Some(Yielding::default()));
            let of_name = lease
                .name
                .is_some()
                .then(|| names.get(&key(lease)))
                .flatten();
            match (port.as_mut(), of_name) {
                (Some(yielding), Some(name)) => yielding.add(name),
                _ => *port = None,
            }
        }
        ports.into_values().flatten().collect()
    }

    fn may_be_granted(&self, asked: &RequestContext<'_>, port: Port) -> bool {
        let plan = asked.plan;
        let forbidden = plan.excludes(port)
            || plan.pool.static_band.contains(port)
            || self.rules.now().kernel.reserved.contains(port)
            || (plan.pool.browser_safe && browser_blocked().contains(port));
        plan.ranges.contains(port) && !forbidden
    }

    fn may_yield(&self, asked: &RequestContext<'_>, lease: &Lease, now: Timestamp) -> bool {
        let own = lease.uid == asked.caller.uid;
        let is_wanted = own
            && lease.scope == asked.request.scope
            && lease
                .name
                .as_ref()
                .is_some_and(|name| asked.request.names.contains(name));
        let idle = now.duration_since(lease.last_used());
        let settings = self.settings();
        let idle_enough = || {
            let pool = settings.pools.get(&*lease.pool);
            let pool = pool.unwrap_or(&asked.plan.pool);
            idle.try_into()
                .is_ok_and(|idle: std::time::Duration| idle >= pool.names_idle)
        };
        let kept = lease.is_console() || lease.by_hand || is_wanted;
        lease.is_idle() && !kept && (own || idle_enough())
    }
}

impl Yielding {
    fn add(&mut self, other: &Self) {
        for lease in &other.leases {
            if self.leases.iter().all(|known| known.id != lease.id) {
                self.leases.push(Arc::clone(lease));
            }
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.leases.iter().map(|lease| key(lease)).collect()
    }

    /// The asker's own first, then the longest unused; by port where that is equal.
    fn order(&self, uid: u32) -> (Reverse<bool>, Option<Timestamp>, Option<Port>) {
        let own = self.leases.iter().all(|lease| lease.uid == uid);
        let used = self.leases.iter().map(|lease| lease.last_used()).max();
        let port = self.leases.iter().map(|lease| lease.port).min();
        (Reverse(own), used, port)
    }
}

/// How many ports a search had got before it failed.
fn got(attempts: &[Attempt]) -> usize {
    let (bound, refused): (Vec<&Attempt>, Vec<&Attempt>) =
        attempts.iter().partition(|it| it.outcome.is_success());
    let refused: HashSet<Port> = refused.iter().map(|attempt| attempt.port).collect();
    let bound: HashSet<Port> = bound.iter().map(|attempt| attempt.port).collect();
    bound.difference(&refused).count()
}

/// Whether it helps if all of these give way: none of them does so in vain.
fn suffices(all: &[Yielding], need: Need, service: &Service) -> bool {
    let leases = || all.iter().flat_map(|yielding| &yielding.leases);
    match need {
        Need::Ports(count) => all.len() >= count.max(1),
        Need::Quota(
            Over::Leases(OverLimit::Pool(there, limit) | OverLimit::User(there, limit)),
            count,
        ) => leases().count() + limit >= there + count,
        Need::Quota(Over::Descriptors(wanted), _) => {
            let freed: usize = leases()
                .map(|lease| lease.addresses.addresses().len())
                .sum();
            freed + service.descriptor_budget() >= service.held_descriptors() + wanted
        }
    }
}

/// Tells the log and, in the note that is returned, the asker what gave way.
fn tell_given_way(asked: &RequestContext<'_>, yielding: &Yielding) -> String {
    let pool = &asked.plan.pool.name;
    let told = yielding.leases.iter().map(|lease| {
        let (called, since) = (lease.called(), lease.last_used());
        tracing::info!(
            lease = %lease.id, port = %lease.port, pool = %pool, uid = lease.uid,
            for_allocation = %asked.id, unused_since = %since,
            "{} gave way, as there was no room in pool {pool}", printable(&called)
        );
        // The note is for everybody who may read what the asker did; the log names all.
        let who = if asked.caller.uid == lease.uid {
            printable(&called)
        } else {
            format!("a name of uid {}", lease.uid)
        };
        format!("{who} with port {}, unused since {since:.0}", lease.port)
    });
    let told: Vec<String> = told.collect();
    format!(
        "there was no room in pool {pool}, so this gave way: {}",
        told.join(", ")
    )
}

/// Whether a lease counts against a quota.
fn counts(asked: &RequestContext<'_>, lease: &Lease, over: Over) -> bool {
    let of_pool = lease.pool == asked.plan.pool.name;
    match over {
        Over::Leases(OverLimit::Pool(..)) => of_pool,
        Over::Leases(OverLimit::User(..)) => of_pool && lease.uid == asked.caller.uid,
        Over::Descriptors(_) => true,
    }
}

fn key(lease: &Lease) -> Key {
    (lease.uid, lease.scope.clone(), lease.name.clone())
}
