//! The holds by lease, with a count of the descriptors that they keep open, and news of them for a
//! supervisor that keeps copies.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::domain::lease::LeaseId;
use crate::host::bpf::{Guard, Rewriter};
use crate::host::hold::Hold;

/// Every hold that guards a lease.
#[derive(Debug, Default)]
pub struct Holds {
    by_lease: HashMap<LeaseId, Arc<Hold>>,
    descriptors: usize,
    news: Option<mpsc::UnboundedSender<HoldNews>>,
}

/// News of one hold.
#[derive(Debug)]
pub enum HoldNews {
    /// A lease has one now: copies of its sockets, to be kept for the next start.
    Taken(LeaseId, Vec<OwnedFd>),
    /// The lease has a hold of sockets that the supervisor keeps already, under this name.
    Restored(LeaseId, Arc<str>),
    /// The lease has none any more; told back once no copy is left.
    Gone(LeaseId, oneshot::Sender<()>),
    /// Sockets that the supervisor has under this name belong to no lease.
    Unknown(Arc<str>),
    /// There is a guard in the kernel now: copies of its links.
    Guarded(Vec<OwnedFd>),
    /// There is none any more.
    Unguarded,
    /// A program in this cgroup is given other ports than it asks for: copies of the links.
    Mapped(PathBuf, Vec<OwnedFd>),
    /// The programs of this cgroup are given what they ask for.
    Unmapped(PathBuf),
}

impl Holds {
    /// Tells of every hold from now on.
    pub fn tell(&mut self, news: mpsc::UnboundedSender<HoldNews>) {
        self.news = Some(news);
    }

    /// Tells of sockets that belong to no lease.
    pub fn tell_unknown(&self, name: Arc<str>) {
        self.say(HoldNews::Unknown(name));
    }

    /// Tells of a guard in the kernel.
    pub fn tell_guard(&self, guard: &Guard) {
        if self.news.is_some() {
            self.say(HoldNews::Guarded(copies(guard.descriptors())));
        }
    }

    /// Tells of mappings for a cgroup.
    pub fn tell_mapped(&self, cgroup: &Path, rewriter: &Rewriter) {
        if self.news.is_some() {
            let copies = copies(rewriter.descriptors());
            self.say(HoldNews::Mapped(cgroup.to_owned(), copies));
        }
    }

    /// Tells that the mappings for a cgroup have ended.
    pub fn tell_unmapped(&self, cgroup: PathBuf) {
        self.say(HoldNews::Unmapped(cgroup));
    }

    /// Tells that the guard in the kernel has ended.
    pub fn tell_no_guard(&self) {
        self.say(HoldNews::Unguarded);
    }

    /// Puts a hold to its lease; the one it replaces, if any, is given back to be closed.
    pub fn insert(&mut self, id: LeaseId, hold: Arc<Hold>) -> Option<Arc<Hold>> {
        self.descriptors += hold.descriptor_count();
        if self.news.is_some() {
            if self.by_lease.contains_key(&id) {
                // No task waits for the answer.
                self.say(HoldNews::Gone(id, oneshot::channel().0));
            }
            self.say(taken(id, &hold));
        }
        let replaced = self.by_lease.insert(id, hold);
        self.forget(replaced.as_deref());
        replaced
    }

    /// Takes a lease's hold out, to be closed by the caller outside of any lock.
    pub fn remove(&mut self, id: LeaseId) -> Option<Arc<Hold>> {
        self.take(id).map(|(hold, _)| hold)
    }

    /// Takes a lease's hold out, with a receiver that hears when the supervisor's copies are gone.
    /// `None` without a supervisor.
    pub fn take(&mut self, id: LeaseId) -> Option<(Arc<Hold>, Option<oneshot::Receiver<()>>)> {
        let removed = self.by_lease.remove(&id)?;
        self.forget(Some(&removed));
        let gone = self.news.is_some().then(|| {
            let (told, gone) = oneshot::channel();
            self.say(HoldNews::Gone(id, told));
            gone
        });
        Some((removed, gone))
    }

    /// A lease's hold.
    pub fn get(&self, id: LeaseId) -> Option<&Arc<Hold>> {
        self.by_lease.get(&id)
    }

    /// Every one of them, with its lease.
    pub fn all(&self) -> impl Iterator<Item = (LeaseId, &Arc<Hold>)> {
        self.by_lease.iter().map(|(id, hold)| (*id, hold))
    }

    /// Returns the number of descriptors that all holds keep open.
    pub const fn descriptor_count(&self) -> usize {
        self.descriptors
    }

    fn forget(&mut self, hold: Option<&Hold>) {
        self.descriptors -= hold.map_or(0, Hold::descriptor_count);
    }

    fn say(&self, news: HoldNews) {
        if let Some(listener) = &self.news {
            // An error means that the service ends: the supervisor keeps the sockets that it has.
            let _ = listener.send(news);
        }
    }
}

/// Copies of links. Without them these end with this process, as without a supervisor.
fn copies<'l>(links: impl Iterator<Item = BorrowedFd<'l>>) -> Vec<OwnedFd> {
    let copies = links.map(|link| link.try_clone_to_owned());
    copies.collect::<Result<_, _>>().unwrap_or_default()
}

fn taken(id: LeaseId, hold: &Hold) -> HoldNews {
    if let Some(name) = hold.stored_as() {
        return HoldNews::Restored(id, Arc::clone(name));
    }
    let copies = hold.descriptors().map(|socket| socket.try_clone_to_owned());
    match copies.collect() {
        Ok(copies) => HoldNews::Taken(id, copies),
        Err(error) => {
            tracing::warn!(%error, port = %hold.port(), "the supervisor keeps no copy of a hold");
            HoldNews::Taken(id, Vec::new())
        }
    }
}
