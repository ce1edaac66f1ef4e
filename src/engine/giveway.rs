//! Unused names give way if there is no room: the least recently used first, the caller's own
//! before others', and others' only after a time that the pool sets. Names reserved by hand, the
//! console's own and names in use never give way.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::choice::assigned::browser_blocked;
use crate::domain::attempt::{Attempt, printable};
use crate::domain::lease::{Lease, Name, Scope, State};
use crate::domain::port::Port;
use crate::engine::{
    allocator::Wish, context::RequestContext, engine::Engine, keeper::ending,
    keeper::ending::GAVE_WAY, leases::Admission, leases::books::OverLimit, quota, quota::Over,
    refusal::Refusal, search, search::Searched,
};

/// Maximum number of leases that end beside one for each wanted port. A freed port that cannot be
/// bound after all makes room for no request.
const SPARE: usize = 8;

/// Of what there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Free ports, in the ranges and on the addresses of the request.
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

/// Lets a request in, with room made for it where a quota leaves none; and tells who gave way.
pub(super) async fn admit_with_room<'e>(
    engine: &'e Arc<Engine>,
    asked: &RequestContext<'_>,
    missing: usize,
    ending: usize,
) -> Result<(Admission<'e>, Vec<String>), Refusal> {
    let mut notes = Vec::new();
    let count = missing * asked.plan.protocols.each().len();
    for _ in 0..=missing + SPARE {
        let over = match quota::admit(engine, asked, missing, ending) {
            Ok(admission) => return Ok((admission, notes)),
            Err(over) => over,
        };
        match make_room(engine, asked, Need::Quota(over, count)).await {
            Some(note) => notes.push(note),
            None => break,
        }
    }
    let admission = quota::admit(engine, asked, missing, ending);
    let admission = admission.map_err(|over| quota::over_quota(engine, over, asked, missing))?;
    Ok((admission, notes))
}

/// Searches, and once more for each name that gives way where the pool is full.
pub(super) async fn search_with_room(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
    mut notes: Vec<String>,
) -> Searched {
    let missing = wishes.len();
    let mut searched = search::search(engine, asked, wishes).await;
    for _ in 0..missing + SPARE {
        if !matches!(searched.result, Err(Refusal::PoolExhausted { .. })) {
            break;
        }
        let need = Need::Ports(missing - got(&searched.attempts).min(missing));
        let Some(note) = make_room(engine, asked, need).await else {
            break;
        };
        notes.push(note);
        let earlier = std::mem::take(&mut searched.attempts);
        searched = search::search(engine, asked, wishes).await;
        searched.attempts.splice(0..0, earlier);
    }
    searched.explanation.notes.splice(0..0, notes);
    searched
}

/// Ends what gives way first, and says what it was; `None` where all that may is not enough.
async fn make_room(engine: &Arc<Engine>, asked: &RequestContext<'_>, need: Need) -> Option<String> {
    // A number that gives way is not free in the fleet before its claim is withdrawn.
    let is_in_vain = asked.plan.pool.is_unique() && matches!(need, Need::Ports(_));
    if asked.request.dry_run || is_in_vain {
        return None;
    }
    let all = yielding(engine, asked, need);
    if !suffices(engine, &all, need) {
        return None;
    }
    for yielding in all {
        // A name that a request asks for at this moment stays.
        let names = yielding.keys();
        let names = names.iter().filter_map(|(uid, scope, name)| {
            let name = name.as_ref()?.as_str();
            Some((*uid, scope, name))
        });
        let Some(_turn) = engine.leases.try_names_turn(names) else {
            continue;
        };
        if end_yielding(engine, &yielding).await {
            return Some(tell_given_way(asked, &yielding));
        }
    }
    None
}

async fn end_yielding(engine: &Arc<Engine>, yielding: &Yielding) -> bool {
    let mut all = true;
    for lease in &yielding.leases {
        let ended = ending::end(engine, lease.id, State::Expired, GAVE_WAY, Lease::is_idle);
        all &= ended.await.is_ok() && engine.leases.get(lease.id).is_none();
    }
    all
}

/// Returns the names that may give way, in the order in which they do.
fn yielding(engine: &Arc<Engine>, asked: &RequestContext<'_>, need: Need) -> Vec<Yielding> {
    let leases = engine.leases.all();
    let now = engine.clock.now();
    let mut names: HashMap<Key, Yielding> = HashMap::new();
    for lease in leases.iter().filter(|lease| lease.name.is_some()) {
        let of_name = names.entry(key(lease)).or_default();
        of_name.leases.push(Arc::clone(lease));
    }
    // All of a name, or none of it.
    names.retain(|_, name| {
        name.leases
            .iter()
            .all(|lease| may_yield(engine, asked, lease, now))
    });
    let mut found = match need {
        Need::Ports(_) => by_port(engine, asked, &leases, &names),
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
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    leases: &[Arc<Lease>],
    names: &HashMap<Key, Yielding>,
) -> Vec<Yielding> {
    let protocols = asked.plan.protocols.each();
    let in_the_way = leases.iter().filter(|lease| {
        protocols.contains(&lease.protocol)
            && lease.addresses.overlaps(&asked.plan.group)
            && may_be_granted(engine, asked, lease.port)
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

fn may_be_granted(engine: &Arc<Engine>, asked: &RequestContext<'_>, port: Port) -> bool {
    let plan = asked.plan;
    let forbidden = plan.excludes(port)
        || plan.pool.static_band.contains(port)
        || engine.rules.now().kernel.reserved.contains(port)
        || (plan.pool.browser_safe && browser_blocked().contains(port));
    plan.ranges.contains(port) && !forbidden
}

fn may_yield(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    lease: &Lease,
    now: Timestamp,
) -> bool {
    let own = lease.uid == asked.caller.uid;
    let is_wanted = own
        && lease.scope == asked.request.scope
        && lease
            .name
            .as_ref()
            .is_some_and(|name| asked.request.names.contains(name));
    let idle = now.duration_since(lease.last_used());
    let settings = engine.settings();
    let idle_enough = || {
        let pool = settings.pools.get(&*lease.pool);
        let pool = pool.unwrap_or(&asked.plan.pool);
        idle.try_into()
            .is_ok_and(|idle: std::time::Duration| idle >= pool.names_idle)
    };
    let kept = lease.is_console() || lease.by_hand || is_wanted;
    lease.is_idle() && !kept && (own || idle_enough())
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

/// Returns the number of ports that a search had found before it failed.
fn got(attempts: &[Attempt]) -> usize {
    let (bound, refused): (Vec<&Attempt>, Vec<&Attempt>) =
        attempts.iter().partition(|it| it.outcome.is_success());
    let refused: HashSet<Port> = refused.iter().map(|attempt| attempt.port).collect();
    let bound: HashSet<Port> = bound.iter().map(|attempt| attempt.port).collect();
    bound.difference(&refused).count()
}

/// Whether it helps if all of these give way: none of them does so in vain.
fn suffices(engine: &Engine, all: &[Yielding], need: Need) -> bool {
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
            freed + engine.descriptor_budget() >= engine.leases.descriptor_count() + wanted
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
        // All readers of the caller's requests see the note, so it names no other user's lease; the
        // log names all.
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
