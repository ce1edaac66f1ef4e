//! The part of a service in its own succession: it passes on all that it has, and goes on as if nothing
//! had happened unless its successor answers.
//!
//! Requests that come meanwhile wait in the queues of the listening sockets, which both have. The record
//! is paused: nothing is written between the passing and the outcome.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tokio::time::timeout;

use crate::protocol::succession::{Link, Step};
use crate::store::Paused;

use super::{Daemon, GRACE, console};

/// Time limit for a successor to take up the leases, and to answer then. Clients wait meanwhile, and most
/// wait for 30 seconds.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Passes everything on. Returns the pause of the record, which must last, if the successor answers; if
/// not, this service does again.
pub(super) async fn hand_over(daemon: &mut Daemon, mut successor: Link) -> Option<Paused> {
    tracing::info!(
        pid = successor.pid(),
        "another service takes over; requests wait for it"
    );
    let mut left = Left::default();
    match pass(daemon, &mut successor, &mut left).await {
        Ok(()) => {
            tracing::info!("the service that takes over answers; this one ends");
            left.paused
        }
        Err(error) => {
            tracing::warn!(%error, "the service that wanted to take over failed; this one goes on");
            if left.paused.is_none() {
                // It may be gone, which is a reason too.
                drop(successor.refuse(&error).await);
            }
            go_on(daemon, successor, left).await;
            None
        }
    }
}

/// What a service has left to its successor.
#[derive(Default)]
struct Left {
    /// While it lasts this service does not write.
    paused: Option<Paused>,
    /// Whether the successor may write to the record.
    record: bool,
}

async fn pass(daemon: &Daemon, successor: &mut Link, left: &mut Left) -> io::Result<()> {
    left.paused = Some(tokio::select! {
        biased;
        gone = successor.gone() => return Err(gone),
        paused = prepare(daemon) => paused?,
    });
    let holds = daemon.state.service.all_holds();
    let doors = daemon.entrance.doors.copies()?;
    let lock = daemon.lock.copies()?;
    let sockets = lock.iter().chain(&doors).map(AsFd::as_fd);
    let sockets = sockets.chain(holds.iter().flat_map(|hold| hold.descriptors()));
    let sockets: Vec<BorrowedFd<'_>> = sockets.collect();
    let talking = async {
        successor.pass(&sockets).await?;
        successor.hear(Step::Received).await?;
        left.record = true;
        successor.say(Step::Proceed).await?;
        successor.hear(Step::Ready).await?;
        successor.say(Step::Go).await?;
        successor.hear(Step::Answering).await
    };
    timeout(READY_WITHIN, talking).await?
}

/// Accepts no more, answers what was accepted, and stops writing.
async fn prepare(daemon: &Daemon) -> io::Result<Paused> {
    let service = &daemon.state.service;
    daemon.entrance.doors.traffic().leave(true);
    daemon.entrance.doors.shut().await;
    service.fleet().leave_waiting(true);
    if timeout(GRACE, service.stop_line()).await.is_err() {
        tracing::warn!("a search takes too long; its request ends with this service");
    }
    let waiting = || service.waiting();
    if !daemon
        .entrance
        .doors
        .traffic()
        .settled(waiting, GRACE)
        .await
    {
        tracing::warn!("some requests take too long; they end with this service");
    }
    service.settle_history().await;
    service.store().pause().await.map_err(io::Error::other)
}

/// Waits for the end of the successor, and answers again.
async fn go_on(daemon: &mut Daemon, successor: Link, left: Left) {
    let service = daemon.state.service.clone();
    service.fleet().leave_waiting(false);
    if let Some(paused) = left.paused.filter(|_| left.record) {
        if let Err(error) = successor.end_other().await {
            tracing::error!(%error, "the service that wanted to take over failed and lives on; it may write to the record");
        }
        if let Err(error) = service.store().resume(paused).await {
            tracing::error!(%error, "could not take the record back after a take-over; grants are refused until it can be read");
        }
        if let Err(error) = service.resume().await {
            tracing::error!(%error, "could not compare the record after a take-over; it is compared again soon");
        }
        daemon.lock.sign(&daemon.settings.socket);
        console::restore(&daemon.state, &daemon.directory);
        if let Err(error) = daemon.entrance.doors.sign() {
            tracing::warn!(%error, "could not listen again; clients may take this service for an ended one");
        }
    }
    service.resume_line();
    daemon.entrance.doors.traffic().leave(false);
    daemon.entrance.doors.open();
}
