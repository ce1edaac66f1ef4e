//! Asking again after an answer that got lost, for requests without a name.
//!
//! A named request is safe to repeat by its name. One without can carry a key of the client's: as long
//! as what it was granted lives, the same key gets the same leases, also after a restart.

use std::sync::Arc;

use crate::domain::lease::Lease;
use crate::domain::request::Request;
use crate::domain::retry::RetryKey;
use crate::engine::{
    allocated::Allocated, context::RequestContext, engine::Engine, refusal::Refusal,
};

/// More leases than one request can be granted, on both protocols.
const MOST: u32 = 512;

impl Request {
    /// The key that this request is repeated by, where it needs one: it has no name, and it is more
    /// than a question.
    pub(super) fn repeated_by(&self) -> Option<&RetryKey> {
        let key = self.retry_key.as_ref();
        key.filter(|_| self.names.is_empty() && !self.dry_run)
    }
}

/// Returns the living leases of an earlier request with this key. `None` if there is none, or if
/// all of them have ended. In the turn of the key.
pub(super) async fn granted_before(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
) -> Result<Option<Allocated>, Refusal> {
    let Some(key) = asked.request.repeated_by() else {
        return Ok(None);
    };
    let uid = asked.caller.uid;
    let Some(id) = engine.store.granted_by_key(uid, key.as_str()).await? else {
        return Ok(None);
    };
    let granted = engine.store.leases_of(id, MOST).await?;
    let living = granted.iter();
    let living = living.filter_map(|stored| engine.leases.living(stored.lease.id));
    let leases: Vec<Arc<Lease>> = living.collect();
    if leases.is_empty() {
        return Ok(None);
    }
    if leases.len() != granted.len() {
        return refuse(key, "some of what it was granted has ended");
    }
    if !is_what_was_asked(asked, &leases) {
        return refuse(key, "it was used for another request");
    }
    Ok(Some(Allocated::again(asked, id, leases)))
}

fn refuse<T>(key: &RetryKey, why: &str) -> Result<T, Refusal> {
    Err(Refusal::InvalidRequest(format!(
        "Idempotency-Key \"{key}\": {why}; take a fresh key for a new request"
    )))
}

/// Whether the leases could be the answer to this request. Its wishes for the choice of a port do not
/// count: the choice was made.
fn is_what_was_asked(asked: &RequestContext<'_>, leases: &[Arc<Lease>]) -> bool {
    let (request, plan) = (asked.request, asked.plan);
    let protocols = plan.protocols.each();
    leases.len() == request.port_count() * protocols.len()
        && leases.iter().all(|lease| {
            lease.pool == plan.pool.name
                && protocols.contains(&lease.protocol)
                && request.port.is_none_or(|port| port == lease.port)
        })
}
