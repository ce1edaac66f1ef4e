//! Copies of the holds, and of the guard and the mappings in the kernel, at a supervisor that keeps descriptors for the next
//! start (systemd's file descriptor store), so that not even a crash of the service frees a port.
//!
//! Each hold has one short name for all its sockets: the names come back in one environment
//! variable, which has room for some 20,000 of them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use crate::domain::lease::LeaseId;
use crate::engine::HoldNews;
use crate::engine::service::Service;
use crate::host::handover;
use crate::host::hold::GivenSockets;
use crate::host::readiness::Readiness;
use crate::host::supervisor::{self, Supervisor};

/// Limit on the supervisor's time to close a copy.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prefix of the names of holds, which tells them from other sockets of the unit.
const PREFIX: char = 'h';

/// Prefix of the names of links: those of the guard in the kernel, and of mappings.
const OF_LINKS: char = 'b';

/// Takes the holds and the guard out of the descriptors that a supervisor passed.
pub(super) fn holds_among(passed: Vec<(String, OwnedFd)>) -> GivenSockets {
    let mut given = GivenSockets::default();
    for (name, descriptor) in passed {
        if name.starts_with(PREFIX) {
            given.add(Some(name.into()), descriptor);
        } else if name.starts_with(OF_LINKS) {
            given.add_link(name.into(), descriptor);
        }
    }
    given
}

/// Returns the last number among the names of what a supervisor passed: a new name must be no old one.
pub(super) fn last_among(passed: &[(String, OwnedFd)]) -> u64 {
    let numbers = passed.iter().map(|(name, _)| number(name));
    numbers.max().unwrap_or(0)
}

/// Has the supervisor, if there is one, keep copies of all holds, and of the guard. `last` is the last number of a name that it knows.
pub(super) fn keep_copies(service: &Service, supervisor: Option<&Supervisor>, last: u64) {
    let Some(supervisor) = supervisor else { return };
    match supervisor.socket().and_then(UnixDatagram::from_std) {
        Ok(socket) => {
            let (tell, news) = mpsc::unbounded_channel();
            service.tell_of_holds(tell);
            tokio::spawn(keep(socket, news, last));
        }
        Err(error) => {
            tracing::warn!(%error, "could not reach the supervisor; it keeps no copies of holds");
        }
    }
}

/// Keeps the supervisor's copies equal to the holds, for as long as it is polled.
async fn keep(socket: UnixDatagram, mut news: mpsc::UnboundedReceiver<HoldNews>, last: u64) {
    let mut copies = Copies {
        socket,
        names: HashMap::new(),
        of_guard: None,
        of_mapped: HashMap::new(),
        last,
    };
    while let Some(next) = news.recv().await {
        if let Err(error) = copies.follow(next).await {
            tracing::warn!(%error, "could not update the supervisor's copies of the holds; they are incomplete");
        }
    }
}

struct Copies {
    socket: UnixDatagram,
    names: HashMap<LeaseId, Arc<str>>,
    of_guard: Option<Arc<str>>,
    /// By cgroup.
    of_mapped: HashMap<PathBuf, Arc<str>>,
    last: u64,
}

impl Copies {
    async fn follow(&mut self, news: HoldNews) -> io::Result<()> {
        match news {
            HoldNews::Restored(id, name) => {
                self.last = self.last.max(number(&name));
                self.names.insert(id, name);
                Ok(())
            }
            HoldNews::Taken(id, sockets) => {
                let name = self.store(PREFIX, &sockets).await?;
                self.names.insert(id, name);
                Ok(())
            }
            HoldNews::Guarded(links) => {
                self.of_guard = Some(self.store(OF_LINKS, &links).await?);
                Ok(())
            }
            HoldNews::Mapped(cgroup, links) => {
                let name = self.store(OF_LINKS, &links).await?;
                self.of_mapped.insert(cgroup, name);
                Ok(())
            }
            HoldNews::Unmapped(cgroup) => match self.of_mapped.remove(&cgroup) {
                Some(name) => self.remove(&name).await,
                None => Ok(()),
            },
            HoldNews::Unguarded => match self.of_guard.take() {
                Some(name) => self.remove(&name).await,
                None => Ok(()),
            },
            HoldNews::Unknown(name) => {
                self.last = self.last.max(number(&name));
                self.remove(&name).await
            }
            HoldNews::Gone(id, told) => {
                let Some(name) = self.names.remove(&id) else {
                    return Ok(());
                };
                self.remove(&name).await?;
                if told.is_closed() {
                    // No caller waits for it.
                    return Ok(());
                }
                let gone = self.until_read().await;
                let _ = told.send(());
                gone
            }
        }
    }

    /// Has the supervisor keep copies, under a new name.
    async fn store(&mut self, prefix: char, copies: &[OwnedFd]) -> io::Result<Arc<str>> {
        self.last += 1;
        let name: Arc<str> = format!("{prefix}{:x}", self.last).into();
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        let copies: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
        self.tell(&text, &copies).await?;
        Ok(name)
    }

    /// Has the supervisor close its copies.
    async fn remove(&self, name: &str) -> io::Result<()> {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={name}");
        self.tell(&text, &[]).await
    }

    /// Waits until the supervisor has acted on all earlier messages.
    async fn until_read(&self) -> io::Result<()> {
        let (here, there) = supervisor::barrier()?;
        self.tell("BARRIER=1", &[there.as_fd()]).await?;
        drop(there);
        let closed = Readiness::of(here)?;
        tokio::time::timeout(PATIENCE, closed.readable()).await?
    }

    async fn tell(&self, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = || handover::send(&self.socket, text.as_bytes(), sockets);
        let told = self.socket.async_io(Interest::WRITABLE, message).await;
        told.map(drop)
    }
}

fn number(name: &str) -> u64 {
    let digits = name.strip_prefix([PREFIX, OF_LINKS]).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}
