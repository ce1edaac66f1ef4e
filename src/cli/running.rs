//! Running a command: its runtime, its trace, and the service or record that it works on.

use std::future::Future;

use futures_executor::block_on as poll_here;
use tokio::runtime::Runtime;
use tracing::{Instrument, Span};

use super::trace::Trace;
use super::{Failure, Global, note};
use crate::config::Loaded;
use crate::library::Error;
use crate::library::backend::Backend;
use crate::library::find;

/// The service or the record that a command works on.
pub(super) struct Source {
    pub(super) backend: Backend,
    /// Runtime of the engine. `None` with a service, whose client blocks.
    runtime: Option<Runtime>,
}

impl Source {
    /// Finds the service, or opens the record. A runtime is made for the record alone: it costs more
    /// than the question to the service.
    pub(super) fn find(loaded: &Loaded, span: &Span) -> Result<Self, Failure> {
        if let Some(client) = find::blocking(loaded)? {
            let backend = Backend::Service(client);
            return Ok(Self {
                backend,
                runtime: None,
            });
        }
        let runtime = runtime()?;
        let opening = open(loaded).instrument(span.clone());
        Ok(Self {
            backend: runtime.block_on(opening)?,
            runtime: Some(runtime),
        })
    }

    /// Does some work on the backend.
    pub(super) fn work<T>(&self, work: impl Future<Output = T>, span: &Span) -> T {
        let work = work.instrument(span.clone());
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => poll_here(work),
        }
    }

    /// Ends the work; everything is written when this returns.
    pub(super) fn close(self) {
        if let Some(runtime) = self.runtime {
            runtime.block_on(self.backend.close());
        }
    }
}

/// Makes the runtime of a command: one thread is enough for one question.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("cannot start the command's runtime: {error}")))
}

/// Runs a command's future on this thread.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.block_on(command)
}

/// Runs a command on a service or a record, as a trace if a collector is configured.
pub(super) fn traced<T>(
    global: &Global,
    name: &'static str,
    command: impl AsyncFnOnce(&Backend) -> Result<T, Failure>,
) -> Result<T, Failure> {
    traced_on(&global.load()?, name, command)
}

/// [`traced`], on a configuration that is loaded already.
pub(super) fn traced_on<T>(
    loaded: &Loaded,
    name: &'static str,
    command: impl AsyncFnOnce(&Backend) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let trace = Trace::begin(loaded, name);
    let done = Source::find(loaded, &trace.span).and_then(|source| {
        let done = source.work(command(&source.backend), &trace.span);
        source.close();
        done
    });
    trace.end(done.as_ref().err());
    done
}

/// Finds the service, or opens the record. Tells a user whom a service does not admit that its leases are not in there.
async fn open(loaded: &Loaded) -> Result<Backend, Failure> {
    let opened = Backend::open(loaded).await;
    if matches!(opened, Ok(Backend::Service(_))) {
        return Ok(opened?);
    }
    match (opened, find::not_admitted(loaded)) {
        (Ok(record), Some(error)) => {
            note(&format!("{error}; this is your own record"));
            Ok(record)
        }
        // It may be the record of that service.
        (Err(Error::Record(_)), Some(error)) => Err(error.into()),
        (opened, _) => Ok(opened?),
    }
}

/// Does some work on a service or a record, and closes it even if the work failed.
pub(super) async fn with_backend<T, E>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Backend) -> Result<T, E>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let backend = open(loaded).await?;
    let done = work(&backend).await;
    backend.close().await;
    Ok(done?)
}

/// [`with_backend`] for work that a record cannot do in place of a service that does not admit this user.
#[cfg(feature = "fleet")]
pub(super) async fn with_service<T, E>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Backend) -> Result<T, E>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    if let Some(error) = find::not_admitted(loaded)
        && find::find(loaded).await?.is_none()
    {
        return Err(error.into());
    }
    with_backend(loaded, work).await
}
