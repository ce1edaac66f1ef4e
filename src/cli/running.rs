//! Running a command: its runtime, its trace, and the service or record that it works on.

use std::future::Future;

use tracing::Instrument;

use super::trace::Trace;
use super::{Failure, Global};
use crate::config::Loaded;
use crate::library::backend::Backend;

/// Makes the runtime of a command: one thread is enough for one question.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
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
    let loaded = global.load()?;
    let trace = Trace::begin(&loaded, name);
    let working = with_backend(&loaded, command);
    let done = block_on(working.instrument(trace.span.clone()));
    trace.end(done.as_ref().err());
    done
}

/// Does some work on a service or a record, and closes it even if the work failed.
pub(super) async fn with_backend<T, E>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Backend) -> Result<T, E>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let backend = Backend::open(loaded).await?;
    let done = work(&backend).await;
    backend.close().await;
    Ok(done?)
}
