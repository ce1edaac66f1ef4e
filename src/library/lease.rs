//! A lease in the hands of the program that asked for it; given back when dropped.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Error, Portbook};
use crate::answers::document::{
    AllocationDocument, AllocationRecordDocument, AttemptDocument, LeaseDocument,
};
use crate::domain::lease::LeaseId;
use crate::domain::precedence::{Moved, Skipped};

/// A port that is leased to this process, with what was tried to get it.
///
/// Dropping it gives the port back, but for one with a [name](super::PortRequest::name), which is
/// kept for that name until somebody [releases](Self::release) it. Nobody waits for a lease that is
/// dropped: [`release`](Self::release) does, and says what went wrong. If the process is killed the
/// port is free in the kernel at once, and in the books for whoever asks next.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let book = portbook::Portbook::embedded(folder.path())?;
/// let lease = book.request().range(21_000..=21_099).lease()?;
/// println!("{} on {:?}, after {} busy ports", lease.url(), lease.addresses(), lease.conflicts().len());
/// lease.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a lease that is dropped is given back"]
pub struct Lease {
    book: Portbook,
    document: LeaseDocument,
    conflicts: Vec<AttemptDocument>,
    skipped: Vec<Skipped>,
    moved: Option<Moved>,
    notes: Vec<String>,
    /// Whether dropping it gives the port back.
    ends_with_drop: bool,
}

impl Lease {
    pub(super) fn new(book: Portbook, document: LeaseDocument, of: AllocationDocument) -> Self {
        Self {
            book,
            ends_with_drop: document.name.is_none(),
            document,
            notes: of.moves_in_words().into_iter().chain(of.notes).collect(),
            conflicts: of.conflicts,
            skipped: of.skipped,
            moved: of.moved,
        }
    }

    /// Its id, under which [`Portbook::lease`] knows it.
    pub fn id(&self) -> LeaseId {
        self.document.id
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.document.port.get()
    }

    /// The port as a URL, on the address that a client on this host is told to use:
    /// `http://127.0.0.1:8888`.
    pub fn url(&self) -> &str {
        &self.document.url
    }

    /// Where the port is held.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.document.addresses.iter();
        addresses.filter_map(|text| text.parse().ok()).collect()
    }

    /// Everything about it, as it was when it was granted: the API's document.
    pub fn document(&self) -> &LeaseDocument {
        &self.document
    }

    /// The binds that were refused on the way, each with who was in the way.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = stranger.local_addr()?.port();
    /// let lease = book.prefer(busy).lease()?;
    /// for attempt in lease.conflicts() {
    ///     if let Some(occupant) = &attempt.occupant {
    ///         println!("port {} is held by {occupant}", attempt.port);
    ///     }
    /// }
    /// assert_eq!(lease.conflicts()[0].port, busy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn conflicts(&self) -> &[AttemptDocument] {
        &self.conflicts
    }

    /// The way to this port from the one that was preferred or that its name had, with the true
    /// reason; `None` if it is that very port.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = stranger.local_addr()?.port();
    /// let lease = book.prefer(busy).lease()?;
    /// let moved = lease.moved().expect("a reason");
    /// println!("{moved}"); // 40123 is in use by node (pid 7), so it is 40124
    /// assert_eq!((moved.from.get(), moved.to.get()), (busy, lease.port()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn moved(&self) -> Option<&Moved> {
        self.moved.as_ref()
    }

    /// The ports that came before this one in the order of precedence, each with the reason why it
    /// is none of them: tried and in use, leased, excluded, cooling down and so on.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Sentences that its user should read, such as why a name had to move.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why it is this port: what was ruled out, what each candidate would cost, what was tried. Its
    /// `story` says it in a few sentences.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let lease = book.request().range(21_100..=21_199).lease()?;
    /// let why = lease.explain()?;
    /// assert_eq!(why.explanation.granted[0].get(), lease.port());
    /// println!("{}", why.story);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self) -> Result<AllocationRecordDocument, Error> {
        self.book.explain(self.document.allocation)
    }

    /// Makes it last `ttl` from now on, or its own lifetime again where none is given.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let minute = Duration::from_mins(1);
    /// let mut lease = book.request().range(21_200..=21_299).ttl(minute).lease()?;
    /// lease.renew(None)?;
    /// assert!(lease.document().expires_at.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn renew(&mut self, ttl: Option<Duration>) -> Result<(), Error> {
        self.document = self.book.renew(self.id(), ttl)?;
        Ok(())
    }

    /// Gives the port back, the name's claim to it included, and waits until that is on record.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let lease = book.request().name("web").range(21_300..=21_399).lease()?;
    /// lease.release()?;
    /// assert!(book.leases()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(mut self) -> Result<(), Error> {
        self.ends_with_drop = false;
        self.book.release(self.id())
    }

    /// Lets the lease last as long as this process, or its time, and gives the document.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let id = book.request().range(21_400..=21_499).lease()?.keep().id;
    /// assert_eq!(book.leases()?[0].id, id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keep(mut self) -> LeaseDocument {
        self.ends_with_drop = false;
        self.document.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ends_with_drop {
            self.book.release_some_time(self.id());
        }
    }
}
