//! The session of this host: opened, renewed, resumed after a restart, and given up to an older twin.
//!
//! All times are those of this host. The record comes before the engine: a session that the engine may
//! have is on record, so that the next start renews it instead of leaving it behind.

use std::net::IpAddr;
use std::time::Duration;

use super::claiming::Open;
use super::engine::{
    Answer, Compare, Engine, EngineError, Entry, Outcome, Renewed, SessionId, Step,
};
use super::key::Keys;
use super::value::{self, MOST_ADDRESSES, SessionValue};
use crate::domain::claim::guard;
use crate::domain::fleet::HostName;
use crate::store::FleetRecord;

/// Maximum number of sessions of one host that are looked at; there should be one.
pub const MOST_TWINS: usize = 16;

/// This host, as others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub host: HostName,
    /// Boot of this host.
    pub boot: String,
    pub addresses: Vec<IpAddr>,
    /// Whether its kernel has a fence.
    pub is_fenced: bool,
}

/// A reason not to be in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another data directory has the name of this host.
    #[error(
        "another portbook is in the fleet as {host}, at {addresses}; set fleet.host to a name of this host's own"
    )]
    Twin { host: HostName, addresses: String },
    /// A session of this host's name cannot be read.
    #[error(
        "a session of {host} in the fleet cannot be read: if no other portbook has that name, delete it with `etcdctl del {key}`"
    )]
    Unreadable { host: HostName, key: String },
}

/// The session of this host, open or not.
#[derive(Debug)]
pub struct Session<E> {
    engine: E,
    keys: Keys,
    identity: Identity,
    ttl: Duration,
    record: FleetRecord,
}

impl<E: Engine> Session<E> {
    /// Returns the session on record. It is not known yet whether the engine still has it.
    pub fn on_record(
        engine: E,
        keys: Keys,
        identity: Identity,
        ttl: Duration,
        record: FleetRecord,
    ) -> Self {
        Self {
            engine,
            keys,
            identity,
            ttl,
            record,
        }
    }

    /// Session as the record has to have it.
    pub fn record(&self) -> &FleetRecord {
        &self.record
    }

    /// Id of the session. `None` if none is open.
    pub fn id(&self) -> Option<&str> {
        self.record.session.as_deref()
    }

    /// Session with the engine's number of it. `None` if none is open.
    pub fn open_session(&self) -> Option<Open> {
        Some(Open {
            session: self.record.session.clone()?,
            id: SessionId(self.record.engine_session?),
        })
    }

    /// Key of the session. `None` if none is open.
    pub fn key(&self) -> Option<String> {
        let id = self.id()?;
        Some(self.keys.session(&self.identity.host, id))
    }

    /// Sets the addresses that others are told, from the next start of the session on.
    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.identity.addresses = addresses;
    }

    /// Takes note of a revision. `true` if the engine went back: it has lost changes.
    ///
    /// A member that lags behind the others tells a lower revision too, so that a lower one is compared
    /// with what a majority has.
    pub async fn has_lost(&mut self, revision: u64) -> Answer<bool> {
        if revision >= self.record.revision {
            self.record.revision = revision;
            return Ok(false);
        }
        self.has_gone_back().await
    }

    /// Asks a majority for its revision. `true` if it is lower than the highest that is known.
    pub async fn has_gone_back(&mut self) -> Answer<bool> {
        let sessions = self.keys.sessions_of(&self.identity.host);
        let now = self.engine.list(&sessions, None, 1).await?.revision;
        let is_lower = now < self.record.revision;
        self.record.revision = now;
        Ok(is_lower)
    }

    /// Renews the session on record. `false` if there is none of this boot, or it has ended.
    pub async fn resume(&mut self, now_ms: i64) -> Result<bool, JoinError> {
        let known = (self.record.session.is_some(), self.record.engine_session);
        let (true, Some(id)) = known else {
            return Ok(false);
        };
        if self.record.boot != self.identity.boot
            || self.engine.renew(SessionId(id)).await? == Renewed::Gone
        {
            return Ok(false);
        }
        let found = self.written().await?;
        self.write(SessionId(id), found, now_ms).await?;
        self.give_way_to_older().await?;
        Ok(true)
    }

    /// Opens a session of this id. The caller puts it on record, and then calls [`Self::enter`].
    pub async fn open(&mut self, id: String) -> Result<(), JoinError> {
        // A session of an earlier boot ends by itself within its time. If it does not, another machine
        // has a copy of this record, and renews it.
        for (entry, value) in self.sessions().await? {
            if !value.as_ref().is_some_and(|value| self.is_left_over(value)) {
                return Err(self.twin(&entry.key, value.as_ref()));
            }
            let steps = vec![Step::Delete { key: entry.key }];
            self.engine.commit(Vec::new(), steps).await?;
        }
        let opened = self.engine.session(self.ttl).await?;
        self.record = FleetRecord {
            session: Some(id),
            engine_session: Some(opened.0),
            boot: self.identity.boot.clone(),
            ..self.record.clone()
        };
        Ok(())
    }

    /// Tells the fleet of the session that was opened. Returns the revision at which its key was made, as far as it
    /// is known.
    pub async fn enter(&mut self, now_ms: i64) -> Result<Option<u64>, JoinError> {
        let Some(id) = self.record.engine_session else {
            return Ok(None);
        };
        // An id never comes twice: there is no key of it.
        let made = self.write(SessionId(id), None, now_ms).await?;
        self.give_way_to_older().await?;
        Ok(made)
    }

    /// Renews the session.
    pub async fn renew(&self) -> Answer<Renewed> {
        match self.record.engine_session {
            Some(id) => self.engine.renew(SessionId(id)).await,
            None => Ok(Renewed::Gone),
        }
    }

    /// Ends the session.
    pub async fn leave(&mut self) -> Answer<()> {
        if let Some(id) = self.record.engine_session {
            self.engine.end(SessionId(id)).await?;
        }
        self.forget();
        Ok(())
    }

    /// Forgets a session that the engine has ended.
    pub fn forget(&mut self) {
        self.record.session = None;
        self.record.engine_session = None;
    }

    /// Key of the session, as the engine has it.
    async fn written(&self) -> Answer<Option<Entry>> {
        let Some(key) = self.key() else {
            return Ok(None);
        };
        let page = self.engine.list(&key, None, 1).await?;
        Ok(page.entries.into_iter().find(|entry| entry.key == key))
    }

    /// Writes the session's key, unless it says the same already. Returns the revision of that.
    async fn write(
        &mut self,
        id: SessionId,
        found: Option<Entry>,
        now_ms: i64,
    ) -> Result<Option<u64>, JoinError> {
        let Some(key) = self.key() else {
            return Ok(None);
        };
        let is_new = found.is_none();
        let before = found.as_ref().and_then(value::session);
        let addresses = self.identity.addresses.iter().take(MOST_ADDRESSES);
        let value = SessionValue {
            instance: self.record.instance.clone(),
            boot: self.identity.boot.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: addresses.map(ToString::to_string).collect(),
            fence: guard(self.identity.is_fenced).to_owned(),
            since_ms: before.as_ref().map_or(now_ms, |before| before.since_ms),
        };
        if before.as_ref() == Some(&value) {
            return Ok(None);
        }
        // Plain values: this cannot fail.
        let value = serde_json::to_vec(&value).unwrap_or_default();
        // A new key is put once: an id never comes twice.
        let new = Compare::absent(key.clone());
        let compare = if is_new { vec![new] } else { Vec::new() };
        let session = Some(id);
        let put = Step::Put {
            key,
            value,
            session,
        };
        let outcome = self.engine.commit(compare, vec![put]).await?;
        let (Outcome::Done { revision } | Outcome::Refused { revision, .. }) = outcome;
        self.record.revision = self.record.revision.max(revision);
        // Refused is a put whose answer was lost: it is there.
        Ok(matches!(outcome, Outcome::Done { .. }).then_some(revision))
    }

    /// Ends this session if an older one of the same host lives: of two the younger leaves.
    async fn give_way_to_older(&mut self) -> Result<(), JoinError> {
        let sessions = self.sessions().await?;
        let own = self.key().unwrap_or_default();
        let created = sessions.iter().find(|(entry, _)| entry.key == own);
        let Some(created) = created.map(|(entry, _)| entry.created) else {
            return Err(EngineError::Fault(
                "the session that was just written is not there".into(),
            )
            .into());
        };
        let older = sessions
            .iter()
            .find(|(entry, _)| entry.key != own && entry.created < created);
        let Some((entry, value)) = older else {
            return Ok(());
        };
        let twin = self.twin(&entry.key, value.as_ref());
        self.leave().await?;
        Err(twin)
    }

    /// Sessions of this host's name.
    async fn sessions(&self) -> Answer<Vec<(Entry, Option<SessionValue>)>> {
        let prefix = self.keys.sessions_of(&self.identity.host);
        let page = self.engine.list(&prefix, None, MOST_TWINS).await?;
        let read = page.entries.into_iter().map(|entry| {
            // A value that does not hold is another's all the same.
            let value = value::session(&entry);
            (entry, value)
        });
        Ok(read.collect())
    }

    /// Whether a session is this data directory's own, of this boot.
    fn is_left_over(&self, value: &SessionValue) -> bool {
        value.instance == self.record.instance && value.boot == self.identity.boot
    }

    fn twin(&self, key: &str, value: Option<&SessionValue>) -> JoinError {
        let host = self.identity.host.clone();
        let Some(value) = value else {
            let key = key.to_owned();
            return JoinError::Unreadable { host, key };
        };
        let parsed = value.addresses.iter().take(MOST_ADDRESSES);
        let parsed = parsed.filter_map(|text| text.parse::<IpAddr>().ok());
        let addresses: Vec<String> = parsed.map(|ip| ip.to_string()).collect();
        JoinError::Twin {
            host,
            addresses: if addresses.is_empty() {
                "unknown addresses".to_owned()
            } else {
                addresses.join(" and ")
            },
        }
    }
}
