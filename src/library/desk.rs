//! The thread that does all work for the program, one job after the other.
//!
//! It is a thread of its own because the engine and the client need a runtime: the program may have
//! none, or may call from within one, where blocking on another is forbidden. Jobs run in turn because
//! a release must come before the next request for its port, and no caller waits for a release.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tracing::{Instrument, Span};

use super::Error;
use super::backend::Backend;
use super::find::Target;

type Job = Box<dyn FnOnce() + Send>;

/// Queue of jobs. Once it is dropped, the thread ends after the last job.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn open() -> Result<Self, Error> {
        let (jobs, queue): (_, Receiver<Job>) = channel();
        let work = move || queue.into_iter().for_each(|job| job());
        let thread = thread::Builder::new().name("portbook".to_owned());
        let started = thread.spawn(work);
        started.map_err(Error::system("no thread for portbook"))?;
        Ok(Self { jobs })
    }

    /// Runs `work` with the backend that `target` has at that moment, and passes its result to `tell`.
    pub(super) fn put<T>(
        &self,
        target: Arc<Target>,
        work: impl AsyncFnOnce(&Backend) -> Result<T, Error> + Send + 'static,
        tell: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) {
        let span = Span::current();
        let job = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(Error::system("no runtime for portbook"));
            let doing = do_with_backend(&target, work).instrument(span);
            tell(runtime.and_then(|runtime| runtime.block_on(doing)));
        };
        // Fails only if the thread has ended; then `tell` is dropped, which the caller notices.
        let _ = self.jobs.send(Box::new(job));
    }
}

async fn do_with_backend<T>(
    target: &Target,
    work: impl AsyncFnOnce(&Backend) -> Result<T, Error>,
) -> Result<T, Error> {
    let backend = Backend::at(target).await?;
    let done = work(&backend).await;
    backend.close().await;
    done
}

/// The error if the thread has ended without an answer, by a defect of portbook.
pub(super) fn gone() -> Error {
    Error::system("portbook's thread ended")(io::ErrorKind::BrokenPipe.into())
}
