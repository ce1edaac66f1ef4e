//! Waiting for a port where none is left: first come, first served.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Sleep;

use crate::domain::pool::DEFAULT_POOL;
use crate::domain::request::Request;
use crate::engine::{
    allocated::Allocated, caller::Caller, engine::Engine, grant, line::Ended, measures,
    refusal::Refusal,
};
use crate::telemetry::Stopwatch;

/// Time between two looks. The end of a lease wakes the line, but there is no event for an outsider that
/// leaves.
const ROUND: Duration = Duration::from_secs(1);

/// Answers a request for ports. What is returned is committed; what is refused is on record
/// with its attempts.
pub(super) async fn allocate(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
) -> Result<Allocated, Refusal> {
    let begun = Stopwatch::start();
    let answer = match request.wait {
        Some(limit) => allocate_in_turn(engine, caller, request, limit).await,
        None => grant::allocate_now(engine, caller, request).await,
    };
    let outcome = measures::outcome(&answer);
    let strategy = measures::strategy(engine, request);
    engine.journal.answered(outcome, strategy, begun.elapsed());
    answer
}

/// Answers a request as soon as it can be granted, in its turn, within `limit`.
pub(super) async fn allocate_in_turn(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
    limit: Duration,
) -> Result<Allocated, Refusal> {
    let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
    if !engine.settings().pools.contains_key(pool) {
        return grant::allocate_now(engine, caller, request).await;
    }
    let _waiting = engine.line.wait();
    let turn = engine.line.head_of(pool);
    // One port by number, or several in a row, may take long to come free; a request for just
    // any port does not stand behind that.
    let in_line = request.port.is_none() && request.block.is_none();
    let time_is_up = tokio::time::sleep(limit);
    tokio::pin!(time_is_up);
    // The semaphore is never closed.
    let _head = if in_line {
        tokio::select! {
            biased;
            ended = engine.line.ended() => return Err(ended.into()),
            head = turn.acquire() => head.ok(),
            () = &mut time_is_up => {
                let others = format!("others wait for pool {pool} as well");
                return Err(in_vain(engine, caller, limit, Refusal::QuotaExceeded(others)));
            }
        }
    } else {
        None
    };
    until_granted(engine, caller, request, limit, time_is_up).await
}

/// Tries until a port is granted or the time is up. A try that has begun is finished: its attempts go
/// on record.
async fn until_granted(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
    limit: Duration,
    mut time_is_up: Pin<&mut Sleep>,
) -> Result<Allocated, Refusal> {
    loop {
        let freed = engine.leases.freed();
        tokio::pin!(freed);
        // Before trying, so that nothing ends unheard in between.
        freed.as_mut().enable();
        let trying = engine.line.may_try().await?;
        let refusal = match grant::allocate_now(engine, caller, request).await {
            Err(refusal) if refusal.may_pass() => refusal,
            answer => return answer,
        };
        drop(trying);
        tokio::select! {
            biased;
            ended = engine.line.ended() => return Err(ended.into()),
            () = &mut time_is_up => return Err(in_vain(engine, caller, limit, refusal)),
            // Early is as good as told: the next try finds out.
            _ = tokio::time::timeout(ROUND, freed) => {}
        }
    }
}

impl From<Ended> for Refusal {
    fn from(_: Ended) -> Self {
        Self::Ending
    }
}

fn in_vain(engine: &Engine, caller: &Caller, limit: Duration, last: Refusal) -> Refusal {
    let refusal = Box::new(last);
    let mut refusal = Refusal::WaitedInVain { limit, refusal };
    let said = refusal.for_readers(caller.uid);
    engine.journal.waited_in_vain(caller.uid, said);
    refusal
}
