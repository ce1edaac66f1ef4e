//! Repair: books, guards, owners, the record and the kernel compared, and what disagrees mended.
//!
//! Nothing should ever be found here. What is, is logged, counted and told in the journal; a leak is
//! looked at three times before it is freed, because to leak a port for a while is better than to
//! grant it twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::gate::may_be_open;
use crate::domain::lease::{Guard, Lease, LeaseId, State};
use crate::domain::port::Port;
use crate::engine::books::Ticket;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Service, lock};
use crate::host::hold::Hold;
use crate::telemetry::span;

/// How often everything is compared.
const ROUND: Duration = Duration::from_secs(30);

/// How many looks in a row a leak must have been seen at.
const LOOKS: u8 = 3;

/// Something that two of those who should agree do not agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The books keep a port for a request that nobody answers any more.
    Reservation(Ticket, Port),
    /// A hold is kept for a lease that does not live.
    Hold(LeaseId),
    /// Nobody waits for the end of a lease's owner.
    Unwatched(LeaseId),
    /// A gate is open to nobody, or shut to the owner.
    Gate(LeaseId),
    /// A reserved lease has no hold.
    Unguarded(LeaseId),
    /// The record has another form of a lease than the books.
    Record(LeaseId),
    /// The record has a living lease that the books do not know.
    Unknown(LeaseId),
}

impl Fault {
    /// The word that it is counted under.
    const fn word(self) -> &'static str {
        match self {
            Self::Reservation(..) => "reservation",
            Self::Hold(_) => "hold",
            Self::Unwatched(_) => "unwatched",
            Self::Gate(_) => "gate",
            Self::Unguarded(_) => "unguarded",
            Self::Record(_) => "record",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether it may pass by itself, because somebody is at work on it right now. The others are
    /// looked at again in the lease's turn, when nobody is.
    const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Reservation(..) | Self::Hold(_) | Self::Record(_) | Self::Unknown(_)
        )
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(in crate::engine) struct Repairs {
    /// How often in a row each suspect was seen.
    suspects: HashMap<Fault, u8>,
    mended: BTreeMap<&'static str, u64>,
}

impl Repairs {
    /// Notes what was seen in this look, and gives what is to be mended now.
    pub(super) fn due(&mut self, seen: Vec<Fault>) -> Vec<Fault> {
        let before = std::mem::take(&mut self.suspects);
        let mut due = Vec::new();
        for fault in seen {
            let looks = before.get(&fault).map_or(1, |looks| looks + 1);
            if looks >= LOOKS || !fault.may_pass() {
                due.push(fault);
            } else {
                self.suspects.insert(fault, looks);
            }
        }
        due
    }
}

impl Service {
    /// Compares and mends from time to time, for as long as it is polled.
    pub async fn keep_in_repair(&self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.repair().await;
        }
    }

    /// Compares everything once, and mends what is ripe for it.
    pub async fn repair(&self) {
        let mut seen = self.faults_in_memory();
        match self.faults_on_record().await {
            Ok(more) => seen.extend(more),
            Err(error) => tracing::warn!(%error, "the record could not be compared"),
        }
        let due = lock(&self.repairs).due(seen);
        if due.is_empty() {
            return;
        }
        // Looks that find nothing are no story to tell.
        let mending = span::chore("repair");
        span::counted(&mending, due.len());
        self.mend_all(due).instrument(mending).await;
    }

    async fn mend_all(&self, due: Vec<Fault>) {
        for fault in due {
            match self.mend(fault).await {
                Ok(true) => self.note_mended(fault),
                Ok(false) | Err(Refusal::NotFound) => {}
                Err(error) => tracing::error!(%error, ?fault, "not mended"),
            }
        }
    }

    /// How many faults were mended since the start, by kind.
    pub fn repairs(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.repairs).mended.clone()
    }

    fn note_mended(&self, fault: Fault) {
        *lock(&self.repairs).mended.entry(fault.word()).or_default() += 1;
        self.journal.mended(fault, fault.word());
    }

    fn faults_in_memory(&self) -> Vec<Fault> {
        let reservations: Vec<(Ticket, Port)> = lock(&self.books).reservations().collect();
        let leases = self.leases();
        let holds: HashMap<LeaseId, Arc<Hold>> = self.holds_by_lease();
        let watched: HashSet<LeaseId> = lock(&self.watches).keys().copied().collect();
        let known: HashSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        let reservations = reservations.into_iter();
        let mut seen: Vec<Fault> = reservations
            .map(|(ticket, port)| Fault::Reservation(ticket, port))
            .collect();
        let unknown = holds.keys().filter(|id| !known.contains(id));
        seen.extend(unknown.map(|id| Fault::Hold(*id)));
        for lease in leases.iter().filter(|lease| !lease.state.is_ended()) {
            let hold = holds.get(&lease.id);
            seen.extend(faults_of(lease, hold, watched.contains(&lease.id)));
        }
        seen
    }

    fn holds_by_lease(&self) -> HashMap<LeaseId, Arc<Hold>> {
        let holds = lock(&self.holds);
        holds
            .all()
            .map(|(id, hold)| (id, Arc::clone(hold)))
            .collect()
    }

    async fn faults_on_record(&self) -> Result<Vec<Fault>, Refusal> {
        let recorded = self.store.living_revisions().await?;
        let books = lock(&self.books);
        let fault = |(id, revision): (LeaseId, u64)| match books.get(id) {
            None => Some(Fault::Unknown(id)),
            Some(lease) if lease.revision != revision => Some(Fault::Record(id)),
            Some(_) => None,
        };
        Ok(recorded.into_iter().filter_map(fault).collect())
    }

    /// Mends one fault, if it is still there; whether there was anything to mend.
    async fn mend(&self, fault: Fault) -> Result<bool, Refusal> {
        match fault {
            Fault::Reservation(ticket, port) => {
                Ok(lock(&self.books).cancel_everywhere(ticket, port))
            }
            Fault::Hold(id) => {
                if lock(&self.books).get(id).is_some() {
                    return Ok(false);
                }
                let hold = lock(&self.holds).remove(id);
                Ok(hold.is_some())
            }
            Fault::Unwatched(id) => self.mend_watch(id).await,
            Fault::Gate(id) => self.mend_gate(id).await,
            Fault::Unguarded(id) => self.mend_guard(id).await,
            Fault::Record(id) => {
                let _turn = self.turn(id).await;
                // Written once more, under a newer number than either has.
                self.change(id, |_| {}).await.map(|_| true)
            }
            Fault::Unknown(id) => self.mend_books(id).await,
        }
    }

    async fn mend_watch(&self, id: LeaseId) -> Result<bool, Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living_lease(id).ok_or(Refusal::NotFound)?;
        if lease.owner.is_none() || lock(&self.watches).contains_key(&id) {
            return Ok(false);
        }
        // An owner that has gone meanwhile is found out by the watch itself.
        self.watch(&lease);
        Ok(true)
    }

    async fn mend_gate(&self, id: LeaseId) -> Result<bool, Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living_lease(id).ok_or(Refusal::NotFound)?;
        let hold = self.hold_of(id).ok_or(Refusal::NotFound)?;
        if !is_gate_wrong(&lease, &hold) {
            return Ok(false);
        }
        if let Some(who) = self.fix_gate(&lease, &hold).await {
            self.lose(&lease, who).await?;
        }
        Ok(true)
    }

    async fn mend_guard(&self, id: LeaseId) -> Result<bool, Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living_lease(id).ok_or(Refusal::NotFound)?;
        if lease.state != State::Reserved || self.hold_of(id).is_some() {
            return Ok(false);
        }
        if self.hold_again(&lease).is_some() {
            self.change(id, |lease| lease.guard = Guard::Hold).await?;
            return Ok(true);
        }
        match self.stranger_on(&lease).await {
            Some(who) => self.lose(&lease, who).await.map(|()| true),
            // A closing connection, or an address that has gone: the next look may have more luck.
            None => Ok(false),
        }
    }

    /// Takes up a lease that is on record and not in the books.
    async fn mend_books(&self, id: LeaseId) -> Result<bool, Refusal> {
        let _turn = self.turn(id).await;
        if self.lease(id).is_some() {
            return Ok(false);
        }
        let stored = self.store.lease(id).await?;
        let Some(stored) = stored.filter(|stored| stored.lease.ended_at.is_none()) else {
            return Ok(false);
        };
        let lease = self.rebased(stored);
        let (group, protocol, port) = (&lease.addresses, lease.protocol, lease.port);
        if let Err(taken) = lock(&self.books).reserve(group, protocol.into(), port) {
            tracing::error!(lease = %id, %port, ?taken, "on record for a port that another has");
            return Ok(false);
        }
        lock(&self.books).enter(Arc::new(lease.clone()));
        self.adopt(lease).await.map(|_| true)
    }
}

/// What of one lease looks wrong.
fn faults_of(lease: &Lease, hold: Option<&Arc<Hold>>, watched: bool) -> Vec<Fault> {
    let me = std::process::id();
    let mut faults = Vec::new();
    let has_owner = lease.owner.as_ref().is_some_and(|owner| owner.pid != me);
    if has_owner && !watched {
        faults.push(Fault::Unwatched(lease.id));
    }
    match hold {
        None if lease.state == State::Reserved => faults.push(Fault::Unguarded(lease.id)),
        Some(hold) if is_gate_wrong(lease, hold) => faults.push(Fault::Gate(lease.id)),
        _ => {}
    }
    faults
}

/// Whether a gate is open to nobody, or shut to an owner that may bind.
fn is_gate_wrong(lease: &Lease, hold: &Hold) -> bool {
    // A lost lease is nobody's to bind; its gate is set right when the port comes back.
    let settled = lease.protocol.has_no_listeners() || lease.state == State::Lost;
    !settled && hold.is_open().is_ok_and(|open| open != may_be_open(lease))
}
