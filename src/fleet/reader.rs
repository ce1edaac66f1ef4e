//! The reader: it answers a question from the engine, within a limit.

use std::time::Duration;

use tokio::time::timeout;

use super::engine::{Answer, Engine, EngineError};
use super::key::Keys;
use super::view;
use crate::domain::fleet::{FleetView, HostName, Question};

/// Limit on one read with all of its pages.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A reader of the engine, which a task may own.
#[derive(Clone)]
pub(super) struct Reader<E> {
    pub(super) engine: E,
    pub(super) keys: Keys,
    pub(super) own: HostName,
}

impl<E: Engine> Reader<E> {
    /// Reads the answer to a question.
    pub(super) async fn read(&self, question: &Question) -> Answer<FleetView> {
        let read = view::read(&self.engine, &self.keys, &self.own, question);
        let late = |_| EngineError::Unknown("the fleet could not be read within 5 seconds".into());
        timeout(READ_WITHIN, read)
            .await
            .unwrap_or_else(|error| Err(late(error)))
    }
}
