//! Quotas: how many leases a pool and a user may have, and how many descriptors holds may use.
//! Refused before the kernel refuses, and before anything is tried.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::Pool;
use crate::domain::lease::{Handover, Lease};
use crate::engine::leases::books::{OverLimit, Share};
use crate::engine::{
    context::RequestContext, engine::Engine, leases::Admission, leases::books::Limits,
    refusal::Refusal,
};
use crate::host::bpf::Rewriter;

/// Number of leases in a pool that another user may have by default: far more than a person needs, and
/// a tenth of the default pool.
const LEASES_OF_A_GUEST: usize = 1000;

/// The quota that a request would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A limit on leases.
    Leases(OverLimit),
    /// The limit on open descriptors, of which so many are wanted.
    Descriptors(usize),
}

/// Lets a request for `missing` ports in, or says which quota it would pass. `ending` leases end
/// once it has them, so that they count once.
pub(super) fn admit<'e>(
    engine: &'e Engine,
    asked: &RequestContext<'_>,
    missing: usize,
    ending: usize,
) -> Result<Admission<'e>, Over> {
    check_descriptors(engine, asked, missing)?;
    let pool = &asked.plan.pool;
    let limits = limits(pool, asked.caller.uid);
    let share = (Arc::clone(&pool.name), asked.caller.uid);
    let count = missing * asked.plan.protocols.each().len();
    let count = count.saturating_sub(ending);
    engine
        .leases
        .admit(share, count, limits)
        .map_err(Over::Leases)
}

/// Lets a lease that has ended live again, or refuses it if a quota would be passed.
pub(super) fn admit_again<'e>(
    engine: &'e Engine,
    lease: &Lease,
) -> Result<Option<Admission<'e>>, Refusal> {
    let settings = engine.settings();
    // A pool that is configured no more has no quota.
    let Some(pool) = settings.pools.get(&*lease.pool) else {
        return Ok(None);
    };
    let share = (Arc::clone(&lease.pool), lease.uid);
    let admitted = engine
        .leases
        .admit(share.clone(), 1, limits(pool, lease.uid));
    let admitted = admitted.map_err(|over| Refusal::QuotaExceeded(describe(over, &share, 1)));
    admitted.map(Some)
}

fn limits(pool: &Pool, uid: u32) -> Limits {
    let size = |limit: Option<NonZeroU32>| limit.map(|limit| limit.get() as usize);
    Limits {
        pool: size(pool.max_leases),
        user: size(pool.max_leases_per_user).or_else(|| guests_limit(uid)),
    }
}

/// Maximum number of leases of a user who shares the service, unless the pool sets one. Root and the
/// service's own user have none.
fn guests_limit(uid: u32) -> Option<usize> {
    let is_guest = uid != 0 && uid != rustix::process::geteuid().as_raw();
    is_guest.then_some(LEASES_OF_A_GUEST)
}

/// The refusal of a request that would pass a quota.
pub(super) fn over_quota(
    engine: &Arc<Engine>,
    over: Over,
    asked: &RequestContext<'_>,
    missing: usize,
) -> Refusal {
    let pool = &asked.plan.pool;
    let share = (Arc::clone(&pool.name), asked.caller.uid);
    let count = missing * asked.plan.protocols.each().len();
    Refusal::QuotaExceeded(match over {
        Over::Leases(over) => describe(over, &share, count),
        Over::Descriptors(wanted) => {
            let (held, budget) = (engine.leases.descriptor_count(), engine.descriptor_budget());
            format!(
                "holding this needs {wanted} descriptors beside the {held} in use, and the \
                 limit allows {budget} (RLIMIT_NOFILE): ask for fewer ports, release leases, or \
                 raise LimitNOFILE of the service"
            )
        }
    })
}

/// Refuses before descriptors run out: what is left is needed for clients and files.
fn check_descriptors(
    engine: &Engine,
    asked: &RequestContext<'_>,
    missing: usize,
) -> Result<(), Over> {
    let sockets = asked.plan.group.addresses().len() * asked.plan.protocols.each().len();
    // Listeners that are to be given away stand beside their holds.
    let sockets = match asked.plan.handover {
        Handover::Fd => sockets * 2,
        Handover::Gate | Handover::Bind | Handover::Release => sockets,
    };
    let mapping = asked.request.map.map_or(0, |_| Rewriter::DESCRIPTORS);
    // And one to watch its owner with.
    let wanted = (sockets + 1 + mapping) * missing;
    let held = engine.leases.descriptor_count();
    if held + wanted <= engine.descriptor_budget() {
        return Ok(());
    }
    Err(Over::Descriptors(wanted))
}

fn describe(over: OverLimit, (pool, uid): &Share, count: usize) -> String {
    match over {
        OverLimit::Pool(there, limit) => format!(
            "pool {pool} has {there} leases and may have {limit} (max_leases), so {count} more \
             are too many: release some, or raise the limit"
        ),
        OverLimit::User(there, limit) => format!(
            "uid {uid} has {there} leases of pool {pool} and may have {limit} \
             (max_leases_per_user), so {count} more are too many: release some"
        ),
    }
}
