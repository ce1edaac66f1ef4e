//! Doors: the sockets on which the service accepts connections.
//!
//! They can be shut and opened again. Once [`Doors::shut`] returns no connection is accepted any more;
//! those that clients open from then on wait in the kernel's queues, which a successor shares.

mod guests;
mod listener;
mod traffic;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use tokio::task::JoinHandle;

use super::thread::OwnThread;
use guests::Guests;
pub(super) use listener::{Listener, Stream};
pub(super) use traffic::{Connection, Traffic};

/// Pause after a failed accept. No event tells of a free descriptor.
const BREATH: Duration = Duration::from_millis(100);

/// Uses of a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Api,
    Console,
    Descriptors,
    Portserver,
}

/// Work on one connection; must not block.
type Take = Arc<dyn Fn(Stream, Arc<Connection>) + Send + Sync>;

struct Door {
    kind: Kind,
    listener: Arc<Listener>,
    take: Take,
    /// Accepts. `None` while the doors are shut.
    task: Option<JoinHandle<()>>,
}

/// All doors, and the thread that accepts on them, so that no work of the service delays a client.
pub(super) struct Doors {
    list: Mutex<Vec<Door>>,
    thread: OwnThread,
    traffic: Arc<Traffic>,
    guests: Arc<Guests>,
}

impl Doors {
    /// Starts the thread, without any door.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            list: Mutex::default(),
            thread: OwnThread::start("portbook-accept")?,
            traffic: Arc::default(),
            guests: Guests::new(),
        }))
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        // No change of the list can panic halfway.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a door, which opens with the others.
    pub(super) fn add(
        &self,
        kind: Kind,
        listener: impl Into<Listener>,
        take: impl Fn(Stream, Arc<Connection>) + Send + Sync + 'static,
    ) {
        self.doors().push(Door {
            kind,
            listener: Arc::new(listener.into()),
            take: Arc::new(take),
            task: None,
        });
    }

    /// Puts another listener in place of those of a kind, and accepts on it.
    pub(super) fn replace(&self, kind: Kind, listener: impl Into<Listener>) {
        let listener = Arc::new(listener.into());
        let mut doors = self.doors();
        for door in doors.iter_mut().filter(|door| door.kind == kind) {
            door.listener = Arc::clone(&listener);
            if let Some(before) = door.task.take() {
                before.abort();
                door.task = Some(self.start(door));
            }
        }
    }

    /// Accepts on every door.
    pub(super) fn open(&self) {
        for door in self.doors().iter_mut() {
            if door.task.is_none() {
                door.task = Some(self.start(door));
            }
        }
    }

    fn start(&self, door: &Door) -> JoinHandle<()> {
        let (listener, take) = (Arc::clone(&door.listener), Arc::clone(&door.take));
        let (traffic, guests) = (Arc::clone(&self.traffic), Arc::clone(&self.guests));
        let kind = door.kind;
        let take = move |stream: Stream| {
            // A connection that is not admitted is closed.
            if let Ok(place) = guests.admit(kind, &stream) {
                take(stream, traffic.connection(place));
            }
        };
        self.thread.runtime().spawn(accept(listener, take))
    }

    /// Accepts on no door. When this returns every connection that was accepted is counted.
    pub(super) async fn shut(&self) {
        let tasks: Vec<_> = {
            let mut doors = self.doors();
            doors
                .iter_mut()
                .filter_map(|door| door.task.take())
                .collect()
        };
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // An aborted task ends with an error.
            drop(task.await);
        }
    }

    /// Notes that this process listens: the kernel names the last one that said so to clients
    /// (`SO_PEERCRED`), which look whether it lives.
    pub(super) fn sign(&self) -> io::Result<()> {
        self.doors()
            .iter()
            .try_for_each(|door| door.listener.listen())
    }

    /// Copies of the sockets, for a successor.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let copy = |door: &Door| Ok(fcntl_dupfd_cloexec(door.listener.as_fd(), 0)?);
        self.doors().iter().map(copy).collect()
    }

    /// Closes every door.
    pub(super) async fn close(&self) {
        self.shut().await;
        self.doors().clear();
    }
}

/// Accepts until it is aborted. It is aborted only while it waits, so that no connection is dropped.
async fn accept(listener: Arc<Listener>, take: impl Fn(Stream)) {
    let listener = match listener.watched() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, ?listener, "could not watch a socket; nothing is accepted on it");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok(stream) => take(stream),
            Err(error) => {
                // No descriptor is left, say. The listener stays readable: pause, so that the loop does
                // not spin.
                tracing::warn!(%error, ?listener, "could not accept a connection; trying again");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
