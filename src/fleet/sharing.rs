//! Sharing of what hosts know of their ports, beside the session loop: once a day each of them.
//!
//! A host tells which of its ports are not always free, at a time of day that follows from its name, and reads
//! what some others tell. What it has read is on record, so that neither a restart nor an outage of the engine
//! loses it, and is forgotten after a week. No request waits for any of that.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::claiming::Open;
use super::counter::Standing;
use super::draw::{DAY_MS, next_time, point};
use super::engine::{Answer, Compare, Engine, EngineError, Outcome, Step};
use super::key::Keys;
use super::member::Member;
use super::prior::{decode, encode};
use super::telling::measured;
use crate::domain::fleet::HostName;
use crate::domain::lease::BootTime;
use crate::domain::prior::{MOST_HOSTS, Prior, PriorSharing, Report};
use crate::engine::service::Service;
use crate::host::clock::Clock;
use crate::store::{PriorRecord, Store, StoreError};

/// Time after which what was read is forgotten, in milliseconds.
const KEEP_MS: i64 = 7 * DAY_MS;

/// Maximum number of hosts that are asked for a document: some have none.
const MOST_ASKED: usize = 2 * MOST_HOSTS;

/// Pause after a failure, and the longest one after several of them.
const PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The history of a host, as far as the fleet shares it.
pub trait Learner: Send + Sync + 'static {
    /// Returns what other hosts may learn. `commands`: with the names of programs.
    fn report(&self, commands: bool) -> Report;

    /// Sets what other hosts have seen.
    fn set_prior(&self, prior: &Prior);
}

impl Learner for Service {
    fn report(&self, commands: bool) -> Report {
        self.report_for_fleet(commands)
    }

    fn set_prior(&self, prior: &Prior) {
        self.set_fleet_prior(prior);
    }
}

/// Failure of one round.
#[derive(Debug, thiserror::Error)]
pub(super) enum SharingError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A host with its engine and its record.
#[derive(Debug)]
pub(super) struct Place<E, L> {
    pub(super) engine: E,
    pub(super) keys: Keys,
    pub(super) host: HostName,
    pub(super) learner: L,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

/// The sharing of one host.
pub(super) struct Sharing<E, L> {
    place: Place<E, L>,
    what: PriorSharing,
    /// Documents of other hosts, as they are on record.
    known: BTreeMap<String, PriorRecord>,
    /// Time of the last document of this host. `None` if there is none.
    told_ms: Option<i64>,
    /// Time of the last reading. `None` before the first.
    read_ms: Option<i64>,
    /// Whether the engine has no document of this host, as nothing is to be shared.
    is_withdrawn: bool,
    failures: u32,
    /// Time of the next try after a failure.
    again_at: BootTime,
    rng: fastrand::Rng,
}

impl<E: Engine, L: Learner> Sharing<E, L> {
    pub(super) fn new(place: Place<E, L>, what: PriorSharing) -> Self {
        Self {
            again_at: place.clock.boot(),
            place,
            what,
            known: BTreeMap::new(),
            told_ms: None,
            read_ms: None,
            is_withdrawn: false,
            failures: 0,
            rng: fastrand::Rng::new(),
        }
    }

    /// Shares while a session is open, for as long as it is polled.
    pub(super) async fn serve(mut self, mut standing: watch::Receiver<Standing>) {
        if let Err(error) = self.remember().await {
            tracing::warn!(%error, "could not read what other hosts know of their ports; it is read from the fleet again");
        }
        loop {
            let now = standing.borrow_and_update().clone();
            let wait = match now {
                Standing::In(open) => self.round(&open).await,
                Standing::Joining | Standing::Out => self.wait_out().await,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = standing.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }

    /// Takes up what is on record.
    pub(super) async fn remember(&mut self) -> Result<(), SharingError> {
        if self.what == PriorSharing::Nothing {
            return Ok(());
        }
        for record in self.place.store.fleet_priors().await? {
            if record.host == self.place.host.as_str() {
                self.told_ms = Some(record.at_ms);
            } else {
                self.read_ms = self.read_ms.max(Some(record.at_ms));
                self.known.insert(record.host.clone(), record);
            }
        }
        self.forget_old();
        self.apply();
        Ok(())
    }

    /// Does what is due. Returns the time until the next round.
    pub(super) async fn round(&mut self, open: &Open) -> Duration {
        let now = self.place.clock.boot();
        if now < self.again_at {
            return self.again_at.since(now);
        }
        // One that fails does not keep the other from being done.
        let read = self.read_if_due().await;
        let told = self.tell_if_due(open).await;
        match read.and(told) {
            Ok(()) => {
                self.failures = 0;
                self.until_due()
            }
            Err(error) => self.pause_after(&error),
        }
    }

    /// Forgets what is old while the engine is away. Returns the time until that is due again.
    async fn wait_out(&mut self) -> Duration {
        if self.forget_old() {
            self.apply();
            if let Err(error) = self.record().await {
                tracing::debug!(%error, "could not delete old documents of other hosts; the next reading does it");
            }
        }
        let oldest = self.known.values().map(|record| record.at_ms).min();
        oldest.map_or(Duration::MAX, |at_ms| {
            self.until(at_ms.saturating_add(KEEP_MS))
        })
    }

    fn pause_after(&mut self, error: &SharingError) -> Duration {
        if self.failures == 0 {
            tracing::warn!(%error, "could not share with the fleet which ports are busy; that is tried again within two minutes, and then less often");
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        // Hosts that failed together do not come back together.
        let pause = pause.min(LONGEST_PAUSE).mul_f64(1.0 + self.rng.f64());
        self.again_at = self.place.clock.boot().after(pause);
        pause
    }

    fn now_ms(&self) -> i64 {
        self.place.clock.now().as_millisecond()
    }

    /// Time at which something is to be done again that was done last at `last_ms`.
    fn due_ms(&self, last_ms: Option<i64>) -> i64 {
        let now_ms = self.now_ms();
        // A clock that went back makes no host wait for more than a day.
        last_ms.map_or(now_ms, |last| next_time(&self.place.host, last.min(now_ms)))
    }

    fn is_due(&self, last_ms: Option<i64>) -> bool {
        self.due_ms(last_ms) <= self.now_ms()
    }

    fn until(&self, at_ms: i64) -> Duration {
        let left = at_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or_default().max(1))
    }

    fn until_due(&self) -> Duration {
        if self.what == PriorSharing::Nothing {
            return Duration::MAX;
        }
        self.until(self.due_ms(self.told_ms).min(self.due_ms(self.read_ms)))
    }

    async fn tell_if_due(&mut self, open: &Open) -> Result<(), SharingError> {
        if self.what == PriorSharing::Nothing {
            return self.withdraw().await;
        }
        if !self.is_due(self.told_ms) {
            return Ok(());
        }
        let at_ms = self.now_ms();
        let report = self
            .place
            .learner
            .report(self.what == PriorSharing::Commands);
        // With nothing to tell yet it waits for the next time.
        if !report.is_empty() {
            let document = encode(report);
            self.tell(open, document.clone()).await?;
            let record = PriorRecord {
                host: self.place.host.to_string(),
                document,
                at_ms,
            };
            self.place.store.note_told_prior(record).await?;
        }
        self.told_ms = Some(at_ms);
        Ok(())
    }

    async fn tell(&self, open: &Open, document: Vec<u8>) -> Answer<()> {
        let Place { keys, host, .. } = &self.place;
        let put = Step::Put {
            key: keys.prior(host),
            value: document,
            session: None,
        };
        // A host that has left tells nothing late.
        let compare = vec![Compare::present(keys.session(host, &open.session))];
        let sent = self.place.engine.commit(compare, vec![put]);
        match measured(1, &[tracing::Span::current()], sent).await.0? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { .. } => Err(EngineError::Fault(
                "the session of this host has ended".into(),
            )),
        }
    }

    /// Takes back what an earlier start has told and read.
    async fn withdraw(&mut self) -> Result<(), SharingError> {
        if !self.is_withdrawn {
            let host = self.place.host.to_string();
            forget(&self.place.engine, &self.place.keys, &self.place.host).await?;
            self.place.store.forget_told_prior(host.clone()).await?;
            self.place.store.set_fleet_priors(host, Vec::new()).await?;
            self.is_withdrawn = true;
        }
        Ok(())
    }

    async fn read_if_due(&mut self) -> Result<(), SharingError> {
        if self.what == PriorSharing::Nothing || !self.is_due(self.read_ms) {
            return Ok(());
        }
        let now_ms = self.now_ms();
        self.read(now_ms).await?;
        self.forget_old();
        self.forget_surplus();
        self.apply();
        self.record().await?;
        self.read_ms = Some(now_ms);
        tracing::debug!(
            hosts = self.known.len(),
            "read which ports are busy on other hosts"
        );
        Ok(())
    }

    /// Reads the documents of living hosts, in the order of their places from that of the day on.
    async fn read(&mut self, now_ms: i64) -> Answer<()> {
        let (hosts, are_all) = self.hosts(now_ms).await?;
        if are_all {
            let told = |host: &String| hosts.iter().any(|other| other.as_str() == host);
            self.known.retain(|host, _| told(host));
        }
        let mut count = 0;
        for other in hosts {
            let Some(document) = self.document_of(&other).await? else {
                self.known.remove(other.as_str());
                continue;
            };
            let record = PriorRecord {
                host: other.to_string(),
                document,
                at_ms: now_ms,
            };
            self.known.insert(record.host.clone(), record);
            count += 1;
            if count == MOST_HOSTS {
                break;
            }
        }
        Ok(())
    }

    /// Other hosts with a document that are to be read on a day, and whether these are all.
    async fn hosts(&self, now_ms: i64) -> Answer<(Vec<HostName>, bool)> {
        let Place {
            engine, keys, host, ..
        } = &self.place;
        let (priors, point) = (keys.priors(), keys.priors_at(point(host, now_ms)));
        let mut found = engine.list_keys(&priors, Some(&point), MOST_ASKED).await?;
        // Behind the last place comes the first one.
        let mut are_all = false;
        if !found.more {
            let first = engine.list_keys(&priors, None, MOST_ASKED).await?;
            are_all = !first.more;
            let before = first.entries.into_iter();
            found
                .entries
                .extend(before.take_while(|entry| entry.key < point));
        }
        let hosts = found.entries.iter();
        let hosts = hosts.filter_map(|entry| keys.read_prior(&entry.key));
        let others = hosts.filter(|other| other != host);
        Ok((others.take(MOST_ASKED).collect(), are_all))
    }

    /// Document of a host. `None` if it has none that holds, or does not live.
    async fn document_of(&self, host: &HostName) -> Answer<Option<Vec<u8>>> {
        let Place { engine, keys, .. } = &self.place;
        let sessions = engine.list_keys(&keys.sessions_of(host), None, 1).await?;
        if sessions.entries.is_empty() {
            return Ok(None);
        }
        let key = keys.prior(host);
        let page = engine.list(&key, None, 1).await?;
        let mut entries = page.entries.into_iter().filter(|entry| entry.key == key);
        let document = entries.next().map(|entry| entry.value);
        Ok(document.filter(|document| decode(document).is_some()))
    }

    /// Forgets documents that were read too long ago. `true` if there were some.
    fn forget_old(&mut self) -> bool {
        let (now_ms, before) = (self.now_ms(), self.known.len());
        let is_young = |record: &PriorRecord| now_ms.saturating_sub(record.at_ms) < KEEP_MS;
        self.known.retain(|_, record| is_young(record));
        self.known.len() < before
    }

    /// Keeps as many documents as count, those that were read last.
    fn forget_surplus(&mut self) {
        let known = std::mem::take(&mut self.known);
        let mut records: Vec<PriorRecord> = known.into_values().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.at_ms));
        records.truncate(MOST_HOSTS);
        let named = records
            .into_iter()
            .map(|record| (record.host.clone(), record));
        self.known = named.collect();
    }

    fn apply(&self) {
        let reports = self.known.values();
        let reports: Vec<Report> = reports
            .filter_map(|record| decode(&record.document))
            .collect();
        self.place.learner.set_prior(&Prior::of(&reports));
    }

    async fn record(&self) -> Result<(), StoreError> {
        let records = self.known.values().cloned().collect();
        let own = self.place.host.to_string();
        self.place.store.set_fleet_priors(own, records).await
    }
}

/// Deletes the document of this host.
async fn forget<E: Engine>(engine: &E, keys: &Keys, host: &HostName) -> Answer<()> {
    let step = Step::Delete {
        key: keys.prior(host),
    };
    engine.commit(Vec::new(), vec![step]).await?;
    Ok(())
}

impl<E: Engine> Member<E> {
    /// Deletes what this host has told others of its ports.
    pub(super) async fn forget_told_prior(&self) -> Result<(), SharingError> {
        let host = &self.identity.host;
        forget(&self.engine, &self.keys, host).await?;
        let store = self.service.store();
        Ok(store.forget_told_prior(host.to_string()).await?)
    }
}
