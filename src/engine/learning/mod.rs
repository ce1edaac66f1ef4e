//! Learning: counts of what happened on each port, the log of occupancy snapshots, and the latest
//! reading of the host's sockets.
//!
//! Counts change at once and in memory. Rows are written later, in batches, so that no allocation
//! waits for them.

mod log;
mod occupants;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::log::Seen;
use self::log::SnapshotLog;
pub(super) use self::occupants::Occupants;
use self::occupants::SocketTables;
use super::lock::Guarded;
use crate::choice::bits::PortBits;
use crate::choice::history::{History, Page};
use crate::choice::policy::Penalties;
use crate::choice::weigh::Weigher;
use crate::domain::address::AddressGroup;
use crate::domain::attempt::Attempt;
use crate::domain::history::LateRow;
use crate::domain::lease::{Lease, LeaseId};
use crate::domain::outsider::Outsider;
use crate::domain::port::Protocol;
#[cfg(feature = "fleet")]
use crate::domain::prior::{Prior, Report, commonest};
use crate::domain::sighting::Sighting;
use crate::host::clock::Clock;
use crate::host::occupancy::Entry;
use crate::store::{Store, StoreError};

/// The owner of all that the engine learns.
#[derive(Debug)]
pub(super) struct Learning {
    clock: Clock,
    store: Store,
    state: Guarded<Knowledge>,
    tables: Arc<SocketTables>,
    /// Held for a round of writing: a later round says that the record covers what an earlier one took.
    round: tokio::sync::Mutex<()>,
}

/// The state of [`Learning`].
#[derive(Debug)]
struct Knowledge {
    history: History,
    snapshots: SnapshotLog,
    /// Late conflicts that are not on record yet.
    late: Vec<LateRow>,
    /// Descriptions of the outsiders that were told before this start.
    told_before: HashMap<LeaseId, Vec<String>>,
    /// Number of attempts that were replayed at the start, because no round had written them.
    replayed: usize,
}

impl Learning {
    /// Starts with no knowledge. Counts lose half of their weight in `half_life`.
    pub(super) fn new(store: Store, clock: Clock, half_life: Duration) -> Self {
        Self {
            clock,
            store,
            state: Guarded::new(Knowledge {
                history: History::new(half_life),
                snapshots: SnapshotLog::default(),
                late: Vec::new(),
                told_before: HashMap::new(),
                replayed: 0,
            }),
            tables: Arc::default(),
            round: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn set_half_life(&self, half_life: Duration) {
        let now_ms = self.now_ms();
        self.state
            .with(|learned| learned.history.set_half_life(half_life, now_ms));
    }

    /// Loads the recorded counts, and replays the attempts that they may lack.
    pub(super) async fn remember(&self) -> Result<(), StoreError> {
        let remembered = self.store.remembered().await?;
        self.state.with(|learned| {
            learned.history.load(remembered.pages, remembered.ports);
            learned.history.replay(&remembered.attempts);
            learned.replayed = remembered.attempts.len();
            learned.snapshots.begin_after(remembered.last_snapshot);
        });
        Ok(())
    }

    /// Learns from the attempts of one request. Must be called before they are committed:
    /// [`Self::write`] relies on it that the counts include every recorded attempt.
    pub(super) fn learn(&self, attempts: &[Attempt]) {
        self.state.with(|learned| learned.history.learn(attempts));
    }

    /// Learns that a lease has ended.
    pub(super) fn released(&self, lease: &Lease) {
        let (group, now_ms) = (&lease.addresses, self.now_ms());
        self.state.with(|learned| {
            let history = &mut learned.history;
            history.released(group, lease.protocol, lease.port, now_ms);
        });
    }

    /// Learns that an outsider was found on a leased port.
    pub(super) fn late_conflict(&self, lease: &Lease, outsider: &Outsider) {
        let now_ms = self.now_ms();
        let row = LateRow {
            at_ms: now_ms,
            lease: lease.id,
            protocol: lease.protocol,
            port: lease.port,
            addresses: lease.addresses.clone(),
            occupant: outsider.to_string(),
            occupant_uid: outsider.occupant.uid,
        };
        self.state.with(|learned| {
            let history = &mut learned.history;
            history.late(&lease.addresses, lease.protocol, lease.port, now_ms);
            learned.late.push(row);
        });
    }

    /// Reads which outsiders the service told of before its restart.
    pub(super) async fn remember_told(&self) -> Result<(), StoreError> {
        let told = self.store.reader().late_told().await?;
        self.state.with(|learned| learned.told_before = told);
        Ok(())
    }

    /// Whether the service told of this outsider on the port of a lease before its restart. Once asked, it is
    /// forgotten: an outsider that comes again is told again.
    pub(super) fn was_told_before(&self, id: LeaseId, outsider: &Outsider) -> bool {
        // The addresses, and whether portbook was away, may differ from one look to the next.
        let who = outsider.occupant.to_string();
        let is_same = |text: &String| {
            let rest = text.strip_prefix(&who);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
        };
        self.state.with(|learned| {
            let Some(told) = learned.told_before.get_mut(&id) else {
                return false;
            };
            let count = told.len();
            told.retain(|text| !is_same(text));
            told.len() < count
        })
    }

    /// Runs `act` with a weigher of ports for requests of these addresses and protocols.
    pub(super) fn weigh<R>(
        &self,
        group: &AddressGroup,
        protocols: &[Protocol],
        penalties: Penalties<'_>,
        act: impl FnOnce(&Weigher<'_>) -> R,
    ) -> R {
        let now_ms = self.now_ms();
        self.state.with(|learned| {
            let history = &learned.history;
            act(&Weigher::new(history, group, protocols, penalties, now_ms))
        })
    }

    /// Runs `read` on the history of one group and protocol. `None` if history does not know it.
    pub(super) fn read_page<R>(
        &self,
        group: &AddressGroup,
        protocol: Protocol,
        read: impl FnOnce(&Page) -> R,
    ) -> Option<R> {
        self.state
            .with(|learned| learned.history.page(group, protocol).map(read))
    }

    /// Returns what other hosts of a fleet may learn from this one. `commands`: with the names of programs.
    #[cfg(feature = "fleet")]
    pub(super) fn report(&self, commands: bool) -> Report {
        let now_ms = self.now_ms();
        self.state.with(|learned| {
            let groups = learned.history.report(now_ms);
            let names = learned.history.occupants();
            let names = names.chain(learned.snapshots.commands());
            let commands = if commands {
                commonest(names)
            } else {
                Vec::new()
            };
            Report { groups, commands }
        })
    }

    /// Sets what other hosts of a fleet have seen.
    #[cfg(feature = "fleet")]
    pub(super) fn set_prior(&self, prior: &Prior) {
        self.state.with(|learned| learned.history.set_prior(prior));
    }

    /// Returns a view of occupants for one search.
    pub(super) fn occupants(&self) -> Occupants {
        Occupants::new(Arc::clone(&self.tables), self.clock.clone())
    }

    /// Splits sightings into those that continue a run, with the run's program, and one socket for
    /// each new one.
    pub(super) fn split_known(
        &self,
        seen: HashMap<Sighting, Vec<Entry>>,
    ) -> (HashMap<Sighting, Seen>, HashMap<Sighting, Entry>) {
        self.state.with(|learned| learned.snapshots.known(seen))
    }

    /// Learns from one snapshot. It counts for the given groups whether or not a request has used
    /// them. Returns the number of the snapshot.
    pub(super) fn snapshot(
        &self,
        groups: &[(AddressGroup, Protocol)],
        seen: HashMap<Sighting, Seen>,
        at: jiff::Timestamp,
    ) -> i64 {
        let sightings: Vec<Sighting> = seen.keys().copied().collect();
        let at_ms = at.as_millisecond();
        self.state.with(|learned| {
            for (group, protocol) in groups {
                learned.history.open(group, *protocol, at_ms);
            }
            learned.history.snapshot(&sightings, at_ms);
            learned.snapshots.note(seen, at)
        })
    }

    /// Returns the time of the latest snapshot since the start.
    pub(super) fn last_snapshot_at(&self) -> Option<jiff::Timestamp> {
        self.state.with(|learned| learned.snapshots.last_at())
    }

    /// Returns the ports on which the latest snapshot saw sockets of others that overlap a group.
    pub(super) fn seen(&self, protocol: Protocol, group: &AddressGroup) -> PortBits {
        self.state
            .with(|learned| learned.snapshots.seen(protocol, group))
    }

    /// Returns the ports on which the latest snapshot saw sockets of others, by address.
    pub(super) fn seen_by_address(&self) -> Vec<(Sighting, PortBits)> {
        self.state.with(|learned| learned.snapshots.by_address())
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

#[cfg(test)]
mod tests;
