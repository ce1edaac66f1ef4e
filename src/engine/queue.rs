//! Waiting for a port where none is left: first come, first served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::caller::Caller;
use super::grant::Allocated;
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::request::Request;

/// A lease that ends is told of; a stranger that leaves is not, so look so often all the same.
const ROUND: Duration = Duration::from_secs(1);

/// Who waits for which pool.
#[derive(Debug, Default)]
pub struct Queue {
    /// One turn a pool; whoever has it tries, the others stand in line (the semaphore is fair).
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Told of each lease that ends.
    freed: Notify,
}

impl Queue {
    /// A lease has ended.
    pub fn notify_freed(&self) {
        self.freed.notify_waiters();
    }

    fn turn(&self, pool: &str) -> Arc<Semaphore> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(pool) {
            return Arc::clone(turn);
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(pool.to_owned(), Arc::clone(&turn));
        turn
    }
}

impl Service {
    /// Answers a request as soon as it can be granted, in its turn, within `limit`.
    pub(super) async fn allocate_in_turn(
        &self,
        caller: &Caller,
        request: &Request,
        limit: Duration,
    ) -> Result<Allocated, Refusal> {
        let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
        if !self.settings().pools.contains_key(pool) {
            return self.allocate_now(caller, request).await;
        }
        let turn = self.queue.turn(pool);
        let mut last = None;
        // One port by number, or several in a row, may take long to come free; whoever wants just
        // any port does not stand behind that.
        let in_line = request.port.is_none() && request.block.is_none();
        let waiting = async {
            // The semaphore is never closed, so this is only about time.
            let _turn = if in_line {
                turn.acquire().await.ok()
            } else {
                None
            };
            self.until_granted(caller, request, &mut last).await
        };
        if let Ok(answer) = tokio::time::timeout(limit, waiting).await {
            return answer;
        }
        let others = || Refusal::QuotaExceeded(format!("others wait for pool {pool} as well"));
        let refusal = Box::new(last.unwrap_or_else(others));
        let mut refusal = Refusal::WaitedInVain { limit, refusal };
        let said = refusal.for_readers(caller.uid);
        self.journal.waited_in_vain(caller.uid, said);
        Err(refusal)
    }

    async fn until_granted(
        &self,
        caller: &Caller,
        request: &Request,
        last: &mut Option<Refusal>,
    ) -> Result<Allocated, Refusal> {
        loop {
            let freed = self.queue.freed.notified();
            tokio::pin!(freed);
            // Before trying, so that nothing ends unheard in between.
            freed.as_mut().enable();
            match self.allocate_now(caller, request).await {
                Err(refusal) if refusal.may_pass() => *last = Some(refusal),
                answer => return answer,
            }
            // Early is as good as told: the next try finds out.
            drop(tokio::time::timeout(ROUND, freed).await);
        }
    }
}
