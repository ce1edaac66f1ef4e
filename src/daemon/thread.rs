//! Threads with a runtime of their own, for work that no other work of the service may delay.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs tasks, one at a time. It ends, with all of its tasks, when this is dropped.
#[derive(Debug)]
pub(super) struct OwnThread {
    runtime: Handle,
    /// Held for its drop alone.
    _end: oneshot::Sender<()>,
}

impl OwnThread {
    /// Starts it. `name` has at most 15 bytes (`pthread_setname_np(3)`).
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.into());
        thread.spawn(move || runtime.block_on(ended))?;
        Ok(Self {
            runtime: handle,
            _end: end,
        })
    }

    /// The runtime on which its tasks are spawned.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}
