//! The lines in which requests wait for a port of a pool.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::lock::Guarded;

/// One line a pool. The request at its head tries; the semaphore is fair, so requests come in order.
#[derive(Debug, Default)]
pub(super) struct Line(Guarded<HashMap<String, Arc<Semaphore>>>);

impl Line {
    /// Returns the place at the head of a pool's line, to be waited for.
    pub(super) fn head_of(&self, pool: &str) -> Arc<Semaphore> {
        self.0.with(|lines| {
            if let Some(line) = lines.get(pool) {
                return Arc::clone(line);
            }
            let line = Arc::new(Semaphore::new(1));
            lines.insert(pool.to_owned(), Arc::clone(&line));
            line
        })
    }
}
