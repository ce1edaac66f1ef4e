//! The engine in this process, on the record of the data directory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Error;
use crate::answers::document::LeaseDocument;
use crate::answers::operation::{Answered, Context};
use crate::answers::problem::Problem;
use crate::answers::viewer::Viewer;
use crate::config::Settings;
use crate::domain::lease::{Guard, Lease, LeaseId};
use crate::domain::port::{Port, Protocol};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Mode, Service, Terms};
use crate::host::clock::Clock;
use crate::host::hold::{Hold, Shape};
use crate::host::process;
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreOptions};

/// The engine in this process, with the data directory's lock.
pub(crate) struct Embedded {
    pub(super) service: Service,
    caller: Caller,
    writer: JoinHandle<()>,
    _lock: Lock,
}

/// Lets the program that this process becomes inherit the hold; it closes it by ending.
fn keep_through_exec(hold: Hold) {
    if let Err(error) = hold.survive_exec() {
        tracing::error!(%error, port = %hold.port(), "the program cannot inherit the hold; others may take the port");
    }
    let descriptors = hold.into_descriptors().into_iter();
    descriptors.for_each(std::mem::forget);
}

impl Embedded {
    pub(super) async fn open(settings: &Settings, lock: Lock) -> Result<Self, Error> {
        let directory = DataDirectory::open(&settings.data_dir)?;
        let options = StoreOptions {
            boot_id: process::boot_id().map_err(Error::system("no boot id"))?,
            machine_id: process::machine_id(),
            batch_max: settings.store.batch_max.get() as usize,
            checkpoint_interval: None,
        };
        let (store, writer) = Store::open(&directory.database()?, options).await?;
        let settings = Arc::new(settings.clone());
        let rng = fastrand::Rng::new();
        let service = Service::new(Mode::Embedded, settings, store, Clock::system(), rng);
        service.restore().await?;
        // A process that listens by now claims what was granted before.
        service.observe().await;
        service.act_on_deadlines().await;
        Ok(Self {
            service,
            caller: Caller::user(rustix::process::geteuid().as_raw()),
            writer,
            _lock: lock,
        })
    }

    /// Answers an operation for the user of this process.
    pub(super) async fn answer<O: Answered>(&self, input: O::Input) -> Result<O::Output, Problem> {
        let viewer = Viewer::Known(self.caller.clone());
        let context = Context {
            service: &self.service,
            viewer: &viewer,
        };
        O::answer(context, input).await
    }

    /// The living leases on a port, without a look at its sockets.
    pub(super) fn leases_on(&self, protocol: Protocol, port: Port) -> Vec<LeaseDocument> {
        let leases = self.service.leases_on(protocol, port);
        let document = |lease: &Arc<Lease>| LeaseDocument::of(lease, self.service.clock());
        leases.iter().map(document).collect()
    }

    /// The sockets of a lease, which guard it from now on.
    pub(super) async fn give(&self, id: LeaseId) -> Result<Vec<OwnedFd>, Error> {
        let (_, sockets) = self
            .service
            .give_sockets(&self.caller, id, Terms::default())
            .await?;
        self.service.leave_to(Guard::Owner, id);
        Ok(sockets)
    }

    /// Closes the hold of a lease, which only the books keep from now on.
    pub(super) fn let_go(&self, id: LeaseId) {
        self.service.leave_to(Guard::None, id);
    }

    /// The listeners that were made for a lease, or its hold if that cannot stay beneath them.
    pub(super) fn sockets(&self, id: LeaseId, shape: Shape) -> Result<Vec<OwnedFd>, Error> {
        let Some(hold) = self.service.take_hold(id) else {
            return Ok(Vec::new());
        };
        if !hold.stays_beneath() {
            return Ok(hold.into_descriptors());
        }
        if !hold.has_listeners(shape) {
            let made = hold.prepare_listeners(self.service.clock(), shape);
            made.map_err(|attempt| Refusal::PortInUse {
                port: hold.port(),
                attempts: vec![*attempt],
            })?;
        }
        let listeners = hold.take_listeners();
        keep_through_exec(hold);
        Ok(listeners)
    }

    /// Lets the program that this process becomes inherit the hold of a lease.
    pub(crate) fn bequeath(&self, id: LeaseId) {
        if let Some(hold) = self.service.take_hold(id) {
            keep_through_exec(hold);
        }
    }

    /// Writes everything that waits, and closes the record.
    pub(super) async fn close(self) {
        self.service.settle_history().await;
        self.service.store().close().await;
        drop(self.writer.await);
    }
}
