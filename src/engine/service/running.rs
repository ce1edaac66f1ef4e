//! The part of the façade that runs the engine: its start, its periodic tasks, its end.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{Mode, Service};
use crate::config::Settings;
use crate::domain::lease::{Guard, Lease, LeaseId};
use crate::domain::port::Port;
use crate::engine::keeper::restart::{self, Restored};
use crate::engine::keeper::{
    address, deadline, folder, own, record, regain, repair, resume, stock,
};
use crate::engine::snapshots::{self, Look};
use crate::engine::{leases::HoldNews, refusal::Refusal};
use crate::engine::{observer, retention};
use crate::host::hold::{GivenSockets, Hold};
use crate::store::StoreError;

/// The start and the end.
impl Service {
    /// Reads the record and adopts every lease that has not ended. Must come before the first
    /// allocation, and under the data directory's lock.
    pub async fn restore(&self) -> Result<Restored, Refusal> {
        restart::restore(&self.0).await
    }

    /// Accepts sockets that this process was given, before it adopts the leases that they hold.
    pub fn accept_given(&self, given: GivenSockets) {
        self.0.leases.accept_given(given);
    }

    /// Sends news of every hold to this channel from now on.
    pub fn tell_of_holds(&self, news: mpsc::UnboundedSender<HoldNews>) {
        self.0.leases.tell_of_holds(news);
    }

    /// Returns every hold, to be passed on to the service that takes over.
    pub fn all_holds(&self) -> Vec<Arc<Hold>> {
        let holds = self.0.leases.all_holds();
        holds.into_iter().map(|(_, hold)| hold).collect()
    }

    /// Turns the hold of a lease of portbook's own into listeners, without letting go of the port.
    pub async fn listen(&self, lease: &Lease) -> Result<Vec<TcpListener>, Refusal> {
        own::listen(&self.0, lease).await
    }

    /// Gives a lease's hold away. Its new owner decides how long the kernel keeps the port.
    pub fn take_hold(&self, id: LeaseId) -> Option<Hold> {
        self.0.leases.take_hold(id).and_then(Arc::into_inner)
    }

    /// Lets go of the hold of a lease before the engine ends. `guard` keeps the port from then on.
    pub fn leave_to(&self, guard: Guard, id: LeaseId) {
        self.0.leases.leave_to(guard, id);
    }

    /// Takes over the console's lease on a port from a predecessor. `None` if there is none.
    pub async fn inherit_console(&self, port: Port) -> Result<Option<Arc<Lease>>, Refusal> {
        own::inherit(&self.0, port).await
    }

    /// Has the record say what the books say, after a take-over that failed.
    pub async fn resume(&self) -> Result<(), Refusal> {
        resume::resume(&self.0).await
    }

    /// Returns the number of requests that wait for a port.
    pub fn waiting(&self) -> usize {
        self.0.line.waiting()
    }

    /// Lets no request that waits try again for now, and waits for the tries under way.
    pub async fn stop_line(&self) {
        self.0.line.stop().await;
    }

    /// Lets requests that wait try again.
    pub fn resume_line(&self) {
        self.0.line.go_on();
    }

    /// Tells the requests that wait that this service ends.
    pub fn end_line(&self) {
        self.0.line.end();
    }

    /// Puts other settings in force. Existing leases stay as they are.
    pub fn reconfigure(&self, settings: Arc<Settings>) {
        let half_life = settings.history.half_life;
        self.0.learning.set_half_life(half_life);
        self.0.rules.set_settings(settings);
    }

    /// Reads the ports that the kernel sets aside again; there is no event for a changed sysctl.
    pub fn reread_kernel_rules(&self) {
        if self.0.rules.reread_kernel() {
            let kernel = &self.0.rules.now().kernel;
            let (reserved, ephemeral) = (&kernel.reserved, &kernel.ephemeral);
            tracing::info!(%reserved, %ephemeral, unprivileged_start = kernel.unprivileged_start, "the kernel's rules for ports changed; new grants obey them");
        }
    }

    /// Notes that a task listens to the kernel's news of interfaces.
    pub fn note_watching(&self) {
        self.0.is_watching.store(true, Ordering::Relaxed);
    }

    /// Writes what was learned, and which spares programs have taken, before the record is closed.
    pub async fn settle_history(&self) {
        stock::settle(&self.0).await;
        match self.0.mode {
            Mode::Serving => self.0.learning.settle().await,
            Mode::Embedded => self.0.learning.settle_if_many().await,
        }
    }
}

/// Periodic tasks, each for as long as it is polled.
impl Service {
    /// Looks for the first listeners of leases, and for outsiders.
    pub async fn run_observer(&self) {
        observer::run(&self.0).await;
    }

    /// Ends or parks leases whose deadline has passed.
    pub async fn run_deadlines(&self) {
        deadline::run(&self.0).await;
    }

    /// Ends leases whose folder has been gone for long.
    pub async fn keep_folders(&self) {
        folder::run(&self.0).await;
    }

    /// Takes lost holds again as soon as that is possible.
    pub async fn regain_holds(&self) {
        regain::run(&self.0).await;
    }

    /// Compares books, guards, owners and record, and mends faults.
    pub async fn keep_in_repair(&self) {
        repair::run(&self.0).await;
    }

    /// Takes occupancy snapshots.
    pub async fn run_snapshots(&self) {
        snapshots::run(&self.0).await;
    }

    /// Writes what was learned.
    pub async fn keep_history(&self) {
        self.0.learning.run_writing().await;
    }

    /// Checks the tables once.
    pub async fn look_for_damage(&self) {
        if let Err(error) = self.0.store.look_for_damage().await {
            tracing::warn!(%error, "could not check the tables of the record");
        }
    }

    /// Counts attempts and deletes old rows.
    pub async fn keep_record_short(&self) {
        retention::run(&self.0).await;
    }
}

/// One round of a task, now.
impl Service {
    /// Looks once for listeners on all leases that wait for one.
    pub async fn observe(&self) {
        observer::observe(&self.0).await;
    }

    /// Looks for the listener of a lease, if its program has not been seen to listen yet.
    pub async fn look_at(&self, id: LeaseId) {
        let engine = Arc::clone(&self.0);
        // What it finds has a trace of its own, and a client that hangs up does not stop it.
        let looked = tokio::spawn(async move { observer::observe_one(&engine, id).await });
        // An error means that the runtime ends.
        let _ = looked.await;
    }

    /// Ends or parks every lease whose deadline has passed.
    pub async fn act_on_deadlines(&self) {
        deadline::act(&self.0).await;
    }

    /// Returns the number of mended faults since the start, by kind.
    pub fn repairs(&self) -> BTreeMap<&'static str, u64> {
        self.0.repairs.with(|repairs| repairs.mended())
    }

    /// Looks at the record's files, and mends what can be mended. In the lock of their folder.
    pub async fn mend_record(&self) {
        record::mend(&self.0).await;
    }

    /// Compares every lease with the addresses that the host has now.
    pub async fn compare_addresses(&self) {
        address::compare_all(&self.0).await;
    }

    /// Takes an occupancy snapshot.
    pub async fn take_snapshot(&self) -> Result<Look, Refusal> {
        snapshots::take(&self.0).await
    }

    /// Writes what was learned.
    pub async fn write_history(&self) -> Result<(), StoreError> {
        self.0.learning.write().await
    }

    /// Writes the snapshots that are not on record yet, if there are any.
    pub async fn write_sightings(&self) -> Result<(), StoreError> {
        self.0.learning.write_snapshots().await
    }

    /// Brings the totals of attempts up to date.
    pub async fn count_attempts(&self) -> Result<(), StoreError> {
        retention::count_attempts(&self.0).await
    }
}
