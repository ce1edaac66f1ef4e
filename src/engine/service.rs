//! The façade that every face calls: what can be asked of portbook, and by whom.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::books::Books;
pub use super::caller::{Caller, Mode};
use super::holds::{HoldNews, Holds};
use super::journal::Journal;
use super::keeper::{Folders, Repairs};
use super::learning::Learning;
use super::observer::Inodes;
use super::queue::Queue;
use super::refusal::Refusal;
use super::rules::RulesInForce;
use super::turns::{self, KeyedLocks};
use crate::config::Settings;
use crate::domain::exclusion::Exclusions;
use crate::domain::lease::{Handover, Lease, LeaseId};
use crate::domain::port::{Port, Protocol};
use crate::host::clock::Clock;
use crate::host::hold::{GivenSockets, Hold};
use crate::host::interface::Interfaces;
use crate::host::kernel;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The engine behind every face. Clones share one state.
#[derive(Debug, Clone)]
pub struct Service(Arc<Inner>);

/// What the parts of the engine share. Locks are held for plain memory work only.
#[derive(Debug)]
pub struct Inner {
    pub(super) mode: Mode,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) interfaces: Interfaces,
    pub(super) journal: Journal,
    pub(super) books: Mutex<Books>,
    pub(super) learning: Learning,
    pub(super) holds: Mutex<Holds>,
    pub(super) given: Mutex<GivenSockets>,
    pub(super) watches: Mutex<HashMap<LeaseId, AbortHandle>>,
    pub(super) repairs: Mutex<Repairs>,
    pub(super) folders: Mutex<Folders>,
    /// Told of each lease that belongs to a folder.
    pub(super) folder_news: Notify,
    /// The listening sockets that were found to be the owner's, by inode.
    pub(super) listeners: Mutex<HashMap<LeaseId, Inodes>>,
    pub(super) deadlines_moved: Notify,
    pub(super) queue: Queue,
    pub(super) names: KeyedLocks,
    pub(super) transitions: KeyedLocks,
    pub(super) rng: Mutex<fastrand::Rng>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Whether somebody waits for the kernel's news of interfaces.
    pub(super) watching: AtomicBool,
    pub(super) descriptor_limit: u64,
    pub(super) rules: RulesInForce,
}

impl std::ops::Deref for Service {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held leaves plain values, each of them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of locks that the transitions of leases share. One in unit tests, where all leases collide,
/// so that a turn that is taken while having another shows: it waits for itself.
const TRANSITIONS: u64 = if cfg!(test) { 1 } else { turns::LOCKS };

/// Descriptors that holds leave to clients, files and the runtime.
const KEPT_FREE: u64 = 256;

/// The limit on open descriptors. A service raises its own as far as it may; a command leaves its
/// own alone, because the program that it becomes would inherit it.
fn descriptor_limit(mode: Mode) -> u64 {
    let limit = match mode {
        Mode::Serving => kernel::raise_fd_limit().ok(),
        Mode::Embedded => None,
    };
    limit.unwrap_or(1024)
}

impl Service {
    /// A service over an open record. Must be called on the runtime that is to watch owners.
    pub fn new(
        mode: Mode,
        settings: Arc<Settings>,
        store: Store,
        clock: Clock,
        rng: fastrand::Rng,
    ) -> Self {
        Self(Arc::new(Inner {
            mode,
            learning: Learning::new(store.clone(), clock.clone(), settings.history.half_life),
            watching: AtomicBool::new(false),
            interfaces: Interfaces::open(),
            journal: Journal::new(clock.clone(), Metrics::new(store.metrics())),
            clock,
            store,
            books: Mutex::default(),
            holds: Mutex::default(),
            given: Mutex::default(),
            watches: Mutex::default(),
            repairs: Mutex::default(),
            folders: Mutex::default(),
            folder_news: Notify::new(),
            listeners: Mutex::default(),
            deadlines_moved: Notify::new(),
            queue: Queue::default(),
            names: KeyedLocks::default(),
            transitions: KeyedLocks::new(TRANSITIONS),
            rng: Mutex::new(rng),
            runtime: tokio::runtime::Handle::current(),
            descriptor_limit: descriptor_limit(mode),
            rules: RulesInForce::new(settings),
        }))
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.rules.settings()
    }

    /// Puts other settings in force. Existing leases stay as they are.
    pub fn reconfigure(&self, settings: Arc<Settings>) {
        self.learning.set_half_life(settings.history.half_life);
        self.rules.set_settings(settings);
    }

    /// Reads the ports that the kernel sets aside again; there is no event for a changed sysctl.
    pub fn reread_kernel_rules(&self) {
        self.rules.reread_kernel();
    }

    /// Returns the ports that are excluded by hand.
    pub fn exclusions(&self) -> Arc<Exclusions> {
        Arc::clone(&self.rules.now().exclusions)
    }

    /// The record.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What happened.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The host's interfaces.
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Every living lease, oldest first.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        let mut leases: Vec<Arc<Lease>> = lock(&self.books).leases().cloned().collect();
        leases.sort_unstable_by_key(|lease| lease.id);
        leases
    }

    /// A living lease.
    pub fn lease(&self, id: LeaseId) -> Option<Arc<Lease>> {
        lock(&self.books).get(id).cloned()
    }

    /// The living leases on a port.
    pub fn leases_on(&self, protocol: Protocol, port: Port) -> Vec<Arc<Lease>> {
        lock(&self.books).on_port(protocol, port).cloned().collect()
    }

    /// The inodes of the sockets on a port that are portbook's alone: its holds are in nobody's way.
    /// One that is handed over as a descriptor may be its client's too, and is not among them.
    pub fn own_sockets(&self, protocol: Protocol, port: Port) -> HashSet<u64> {
        let leases = self.leases_on(protocol, port);
        let leases = leases.iter().filter(|lease| lease.handover != Handover::Fd);
        let holds: Vec<Arc<Hold>> = leases.filter_map(|lease| self.hold_of(lease.id)).collect();
        holds.iter().flat_map(|hold| hold.inodes()).collect()
    }

    /// A living lease that the caller may change.
    pub fn lease_of(&self, caller: &Caller, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
        let lease = self.lease(id).filter(|lease| !lease.state.is_ended());
        let lease = lease.ok_or(Refusal::NotFound)?;
        if caller.may_act_for(lease.uid) {
            return Ok(lease);
        }
        Err(Refusal::Forbidden(format!(
            "lease {id} belongs to uid {}: only that user or root may change it",
            lease.uid
        )))
    }

    /// How many descriptors holds and the watching of owners keep open.
    pub fn held_descriptors(&self) -> usize {
        lock(&self.holds).descriptor_count() + lock(&self.watches).len()
    }

    /// How many descriptors holds may keep open.
    pub fn descriptor_budget(&self) -> usize {
        let budget = self.descriptor_limit.saturating_sub(KEPT_FREE);
        usize::try_from(budget).unwrap_or(usize::MAX)
    }

    /// Every hold, to be passed on to the service that takes over.
    pub fn all_holds(&self) -> Vec<Arc<Hold>> {
        let holds = lock(&self.holds);
        holds.all().map(|(_, hold)| Arc::clone(hold)).collect()
    }

    /// Tells of every hold from now on.
    pub fn tell_of_holds(&self, news: mpsc::UnboundedSender<HoldNews>) {
        lock(&self.holds).tell(news);
    }

    /// Writes what was learned every few seconds, for as long as it is polled.
    pub async fn keep_history(&self) {
        self.learning.run_writing().await;
    }

    /// Writes what was learned before the record is closed.
    pub async fn settle_history(&self) {
        match self.mode {
            Mode::Serving => self.learning.settle().await,
            Mode::Embedded => self.learning.settle_if_many().await,
        }
    }

    /// Writes what was learned now.
    pub async fn write_history(&self) -> Result<(), StoreError> {
        self.learning.write().await
    }

    /// Writes the snapshots that are not on record yet, if there are any.
    pub async fn write_sightings(&self) -> Result<(), StoreError> {
        self.learning.write_snapshots().await
    }

    pub(super) fn hold_of(&self, id: LeaseId) -> Option<Arc<Hold>> {
        lock(&self.holds).get(id).cloned()
    }
}
