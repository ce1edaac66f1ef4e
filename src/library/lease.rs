//! A lease of this program; released when dropped.

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
/// Dropping it releases the port, unless it has a [name](super::PortRequest::name), which keeps it
/// until it is [released](Self::release). A drop does not wait for the release and hides its errors;
/// [`release`](Self::release) waits and returns them. If the process is killed, the kernel frees the
/// port at once, and the next request finds it free in the books.
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
#[must_use = "a lease is released when it is dropped"]
pub struct Lease {
    book: Portbook,
    document: LeaseDocument,
    conflicts: Vec<AttemptDocument>,
    skipped: Vec<Skipped>,
    moved: Option<Moved>,
    notes: Vec<String>,
    /// Whether dropping it releases the port.
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

    /// Id, for [`Portbook::lease`].
    pub fn id(&self) -> LeaseId {
        self.document.id
    }

    /// Port number.
    pub fn port(&self) -> u16 {
        self.document.port.get()
    }

    /// URL of the port, with the address that a client on this host should use:
    /// `http://127.0.0.1:8888`.
    pub fn url(&self) -> &str {
        &self.document.url
    }

    /// Addresses that the port is held on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.document.addresses.iter();
        addresses.filter_map(|text| text.parse().ok()).collect()
    }

    /// The API's document of the lease, as it was granted or last renewed.
    pub fn document(&self) -> &LeaseDocument {
        &self.document
    }

    /// The refused attempts before the grant, each with its occupant.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = occupant.local_addr()?.port();
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

    /// The move from the preferred port, or from the name's last one, to this port, with its reason.
    /// `None` if the port did not move.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = occupant.local_addr()?.port();
    /// let lease = book.prefer(busy).lease()?;
    /// let moved = lease.moved().expect("a reason");
    /// println!("{moved}"); // 40123 is in use by node (pid 7), so it is 40124
    /// assert_eq!((moved.from.get(), moved.to.get()), (busy, lease.port()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn moved(&self) -> Option<&Moved> {
        self.moved.as_ref()
    }

    /// The ports before this one in the order of precedence, each with the reason that excludes it: in
    /// use, leased, excluded, cooling down and so on.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Notes for the user, such as the reason for the move of a name.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Explains the choice: excluded ports, the cost of each candidate, the attempts. Its `story` is a
    /// summary in a few sentences.
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

    /// Renews it for `ttl` from now on, or for its own lifetime if `None`.
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

    /// Releases the port and the name's claim to it, and waits until the record has it.
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

    /// Keeps the lease until this process ends or its time is up, and returns the document.
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
