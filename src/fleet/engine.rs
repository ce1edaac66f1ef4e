//! The engine that keeps what the hosts of a fleet tell each other: six operations, in words of no
//! product.
//!
//! A store of keys with revisions. Sessions end if they are not renewed, and take the keys that are
//! bound to them along. An engine has to answer from a majority of its disks; this host trusts nothing
//! else about it, and nothing that is in it.

use std::time::Duration;

use crate::domain::fleet::HostName;

/// Maximum number of compares, and of steps, of one commit.
pub const MOST_STEPS: usize = 64;

/// Result of one operation.
pub type Answer<T> = Result<T, EngineError>;

/// Failure of one operation. Texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine was not reached: nothing was done.
    #[error("etcd cannot be reached: {0}")]
    Away(String),
    /// No answer came: it may have been done.
    #[error("etcd gave no answer: {0}")]
    Unknown(String),
    /// The engine knows this host and refuses it.
    #[error("etcd refuses this host: {0}")]
    Denied(String),
    /// The engine takes no more data.
    #[error("etcd has no space left: {0}; compact and defragment it, or raise its quota")]
    Full(String),
    /// Anything else.
    #[error("etcd failed: {0}")]
    Fault(String),
}

impl EngineError {
    /// Adds the commands that give this host its rights to a refusal.
    #[must_use]
    pub fn with_way_out(self, host: &HostName) -> Self {
        match self {
            Self::Denied(reason) => Self::Denied(format!("{reason}; {}", way_to_rights(host))),
            other => other,
        }
    }

    /// Whether another address of the engine may do better.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unknown(_))
    }
}

/// The remedy for a host that the engine refuses.
pub fn way_to_rights(host: &HostName) -> String {
    format!("`portbook fleet role {host}` prints the commands that give it its rights")
}

/// The engine's own number of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Result of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The session lasts for its whole time again.
    Alive {
        /// Revision of the engine.
        revision: u64,
    },
    /// The session has ended, with its keys.
    Gone,
}

/// Condition of a key in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Absent,
    Present,
    /// The key was put last at this revision.
    Revision(u64),
}

/// A key and its condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    pub is: Condition,
}

impl Compare {
    /// The condition that a key has never been put, or was deleted.
    pub const fn absent(key: String) -> Self {
        let is = Condition::Absent;
        Self { key, is }
    }

    /// The condition that a key is there.
    pub const fn present(key: String) -> Self {
        let is = Condition::Present;
        Self { key, is }
    }

    /// The condition that a key is as it was put at `revision`.
    pub const fn unchanged(key: String, revision: u64) -> Self {
        let is = Condition::Revision(revision);
        Self { key, is }
    }
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Put {
        key: String,
        /// JSON, deflated or not.
        value: Vec<u8>,
        /// Session that the key ends with. `None` if it stays until it is deleted.
        session: Option<SessionId>,
    },
    Delete {
        key: String,
    },
}

impl Step {
    /// Key that it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Word of the result of a commit in spans and metrics.
pub const fn word(sent: &Answer<Outcome>) -> &'static str {
    match sent {
        Ok(Outcome::Done { .. }) => "done",
        Ok(Outcome::Refused { .. }) => "refused",
        Err(EngineError::Denied(_) | EngineError::Full(_)) => "denied",
        Err(_) => "failed",
    }
}

/// Result of a commit, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every step is done, as this revision.
    Done { revision: u64 },
    /// A condition did not hold.
    Refused {
        revision: u64,
        /// The compared keys as they were then, in the order of the conditions. `None` if one is absent.
        found: Vec<Option<Entry>>,
    },
}

/// A key with its value, as the engine has it. Both come from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    /// Revision at which the key was made.
    pub created: u64,
    /// Revision at which it was put last.
    pub modified: u64,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries in the order of their keys.
    pub entries: Vec<Entry>,
    pub revision: u64,
    /// Whether more keys follow.
    pub more: bool,
    /// Number of keys in all, with those that follow.
    pub total: usize,
}

/// News of a watched prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A key was put or deleted.
    Changed {
        /// Revision up to which the watch has told all changes.
        revision: u64,
    },
    /// Changes were missed: list again, and watch from there.
    Behind,
}

/// An engine. Clones share its connections.
pub trait Engine: Clone + Send + Sync + 'static {
    type Watch: Watch;

    /// Opens a session that ends `ttl` after its last renewal, or somewhat later.
    fn session(&self, ttl: Duration) -> impl Future<Output = Answer<SessionId>> + Send;

    /// Renews a session.
    fn renew(&self, id: SessionId) -> impl Future<Output = Answer<Renewed>> + Send;

    /// Ends a session with its keys. One that has ended already is no failure.
    fn end(&self, id: SessionId) -> impl Future<Output = Answer<()>> + Send;

    /// Does all steps if all conditions hold: [`MOST_STEPS`] of each at most.
    fn commit(
        &self,
        compare: Vec<Compare>,
        steps: Vec<Step>,
    ) -> impl Future<Output = Answer<Outcome>> + Send;

    /// Lists keys that begin with `prefix` and come after the key `after`, as a majority has them.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Answer<Page>> + Send;

    /// Lists keys as [`Self::list`] does, with empty values.
    fn list_keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Answer<Page>> + Send;

    /// Watches keys that begin with `prefix`, beginning with the change of revision `from`.
    fn watch(&self, prefix: &str, from: u64) -> impl Future<Output = Answer<Self::Watch>> + Send;

    /// Looks whether the engine refuses this host, after a refusal or if that is due, and tells it. An engine that
    /// notes no refusals does nothing.
    fn look_at_rights(&self, _is_due: bool) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A watch. It ends when it is dropped.
pub trait Watch: Send + 'static {
    /// Waits for news.
    fn next(&mut self) -> impl Future<Output = Answer<News>> + Send;
}
