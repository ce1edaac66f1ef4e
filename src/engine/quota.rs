//! Quotas: how many leases a pool and a user may have, and how many descriptors holds may use.
//! Refused before the kernel refuses, and before anything is tried.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::books::{Limits, OverLimit, Share};
use super::grant::Asked;
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::domain::lease::Handover;

/// Leave for a request to grant so many leases. They count from now on, until this is dropped.
pub(super) struct Admission {
    service: Service,
    share: Share,
    count: usize,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut books = lock(&self.service.books);
        books.usage().settle(&self.share, self.count);
    }
}

impl Service {
    /// Lets a request for `missing` ports in, or says which quota it would pass. `ending` leases end
    /// once it has them, so that they count once.
    pub(super) fn admit(
        &self,
        asked: &Asked<'_>,
        missing: usize,
        ending: usize,
    ) -> Result<Admission, Refusal> {
        self.check_descriptors(asked, missing)?;
        let pool = &asked.plan.pool;
        let size = |limit: Option<NonZeroU32>| limit.map(|limit| limit.get() as usize);
        let limits = Limits {
            pool: size(pool.max_leases),
            user: size(pool.max_leases_per_user),
        };
        let share = (Arc::clone(&pool.name), asked.caller.uid);
        let count = missing * asked.plan.protocols.each().len();
        let count = count.saturating_sub(ending);
        let admitted = lock(&self.books).usage().admit(&share, count, limits);
        match admitted {
            Ok(()) => Ok(Admission {
                service: self.clone(),
                share,
                count,
            }),
            Err(over) => Err(Refusal::QuotaExceeded(describe(over, &share, count))),
        }
    }

    /// Refuses before descriptors run out: what is left is needed for clients and files.
    fn check_descriptors(&self, asked: &Asked<'_>, missing: usize) -> Result<(), Refusal> {
        let sockets = asked.plan.group.addresses().len() * asked.plan.protocols.each().len();
        // Listeners that are to be given away stand beside their holds.
        let sockets = match asked.plan.handover {
            Handover::Fd => sockets * 2,
            Handover::Gate | Handover::Release => sockets,
        };
        // And one to watch its owner with.
        let (held, wanted) = (self.held_descriptors(), (sockets + 1) * missing);
        let budget = self.descriptor_budget();
        if held + wanted <= budget {
            return Ok(());
        }
        Err(Refusal::QuotaExceeded(format!(
            "holding this needs {wanted} descriptors beside the {held} in use, and the limit \
             allows {budget} (RLIMIT_NOFILE): ask for fewer ports, release leases, or raise \
             LimitNOFILE of the service"
        )))
    }
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
