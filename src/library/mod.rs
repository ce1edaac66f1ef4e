//! portbook inside another program: ports as sockets, in three lines.
//!
//! It uses the running service or, if there is none, runs the same engine on the same record. It holds
//! the data directory's lock during each call only, so that programs and commands can share it.
//!
//! [`Portbook`] takes a [`PortRequest`] and returns a [`Bound`] socket, a [`Lease`] or an [`Error`].

pub(crate) mod backend;
mod bound;
mod desk;
mod embedded;
mod error;
pub(crate) mod find;
mod lease;
mod request;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

pub use crate::answers::document::{
    AllocationRecordDocument, AttemptDocument, LeaseDocument, OwnerDocument,
};
pub use crate::answers::problem::{Code, Problem};
pub use crate::domain::lease::{AllocationId, LeaseId, State};
pub use crate::domain::pool::Strategy;
pub use crate::domain::port::Protocol;
pub use bound::{Bound, Listener};
pub use error::Error;
pub use lease::Lease;
pub use request::PortRequest;

use crate::config::{self, Flags, Pool, Sources};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::{PortError, PortSet};
use crate::store::directory::DataDirectory;
use backend::Backend;
use desk::Worker;
use find::Target;

/// A source of ports: the running service, or this process itself.
///
/// Clones share one source. All work runs on a thread of portbook's own, so methods can be called with
/// or without a tokio runtime; those that end in `_async` do not block.
///
/// ```
/// use portbook::Portbook;
///
/// let folder = tempfile::tempdir()?;
/// let book = Portbook::embedded(folder.path())?;
/// let listener = book.prefer(25_000).listen()?;
/// println!("console on http://{}", listener.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Portbook {
    target: Arc<Target>,
    desk: Arc<Worker>,
}

impl Portbook {
    fn at(target: Target) -> Result<Self, Error> {
        Ok(Self {
            target: Arc::new(target),
            desk: Arc::new(Worker::open()?),
        })
    }

    /// Uses the service of this user or host if one runs, else this process on the user's record, with
    /// the configuration files and `PORTBOOK_…` variables of the command `portbook`. The service is
    /// looked up for each call, so it may start and stop meanwhile.
    ///
    /// ```no_run
    /// // It uses the user's own record, which an example should not touch.
    /// let book = portbook::Portbook::open()?;
    /// let listener = book.prefer(8888).name("console").listen()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open() -> Result<Self, Error> {
        let loaded = config::load(&Sources::from_process(Flags::default()))?;
        Self::at(Target::of(&loaded))
    }

    /// Uses this process, on a record of its own in `data_dir`, which is made if it is missing. No
    /// configuration file and no variable is read.
    ///
    /// Processes may share the directory. A service on it (`portbook serve --data-dir`) answers in
    /// their place.
    ///
    /// ```
    /// let folder = tempfile::tempdir()?;
    /// let one = portbook::Portbook::embedded(folder.path())?;
    /// let other = portbook::Portbook::embedded(folder.path())?;
    /// let (first, second) = (one.prefer(25_100).listen()?, other.prefer(25_100).listen()?);
    /// assert_ne!(first.local_addr()?, second.local_addr()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn embedded(data_dir: impl AsRef<Path>) -> Result<Self, Error> {
        let data_dir =
            std::path::absolute(data_dir).map_err(Error::system("the data directory"))?;
        DataDirectory::open(&data_dir)?;
        Self::at(target(data_dir, None)?)
    }

    /// Uses the service on this socket only.
    ///
    /// ```
    /// use portbook::{Error, Portbook};
    /// let absent = Portbook::connect("/nonexistent/portbook.sock");
    /// assert!(matches!(absent, Err(Error::Unreachable { .. })));
    /// ```
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, Error> {
        let socket = std::path::absolute(socket).map_err(Error::system("the service's socket"))?;
        let beside = socket.parent().unwrap_or(Path::new("/")).to_owned();
        let book = Self::at(target(beside, Some(socket))?)?;
        book.service()?;
        Ok(book)
    }

    /// Adds a pool for requests that name it, with its own range and the other rules of the default
    /// pool. A running service has the pools of its configuration instead.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let book = portbook::Portbook::embedded(folder.path())?.with_pool("ci", 25_200..=25_299)?;
    /// let listeners = book.request().pool("ci").listen_all()?;
    /// assert_eq!(listeners.lease().document().pool, "ci");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_pool(self, name: &str, range: RangeInclusive<u16>) -> Result<Self, Error> {
        let mut target = Target::clone(&self.target);
        let ranges = format!("{}-{}", range.start(), range.end());
        let ranges: Result<PortSet, PortError> = ranges.parse();
        let rules = target.settings.pools.get(DEFAULT_POOL);
        let pool = Pool {
            name: name.into(),
            ranges: ranges.map_err(|error| Error::InvalidRequest(error.to_string()))?,
            ..rules.map(|pool| Pool::clone(pool)).ok_or_else(desk::gone)?
        };
        target
            .settings
            .pools
            .insert(name.to_owned(), Arc::new(pool));
        Ok(Self {
            target: Arc::new(target),
            desk: self.desk,
        })
    }

    /// Starts a request for any port.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.request().range(25_300..=25_399).listen()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(&self) -> PortRequest {
        PortRequest::new(self.clone())
    }

    /// Starts a request for this port, or the next one above: [`PortRequest::prefer`].
    pub fn prefer(&self, port: u16) -> PortRequest {
        self.request().prefer(port)
    }

    /// Starts a request for exactly this port: [`PortRequest::port`].
    pub fn port(&self, port: u16) -> PortRequest {
        self.request().port(port)
    }

    /// The socket of the service that answers right now. `None` if this process does the work.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// assert_eq!(book.service()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn service(&self) -> Result<Option<PathBuf>, Error> {
        self.ask(async |backend| Ok(backend.socket()))
    }

    /// All living leases, of every program, newest first. Other users' leases show their port and user
    /// only.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.prefer(25_400).listen()?;
    /// let leases = book.leases()?;
    /// assert_eq!(leases[0].port.get(), listener.local_addr()?.port());
    /// assert_eq!(leases[0].owner.as_ref().unwrap().pid, std::process::id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leases(&self) -> Result<Vec<LeaseDocument>, Error> {
        self.ask(async |backend| backend.leases(false).await)
    }

    /// A lease, living or ended.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// use portbook::State;
    /// let lease = book.prefer(25_500).lease()?;
    /// let id = lease.id();
    /// lease.release()?;
    /// assert_eq!(book.lease(id)?.state, State::Released);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(&self, id: LeaseId) -> Result<LeaseDocument, Error> {
        self.ask(async move |backend| backend.lease(id).await)
    }

    /// Renews a lease for `ttl` from now on, or for its own lifetime if `None`; see [`Lease::renew`].
    pub fn renew(&self, id: LeaseId, ttl: Option<Duration>) -> Result<LeaseDocument, Error> {
        self.ask(async move |backend| backend.renew(id, ttl).await)
    }

    /// Releases a lease; see [`Lease::release`].
    pub fn release(&self, id: LeaseId) -> Result<(), Error> {
        self.ask(async move |backend| backend.release(id).await)
    }

    /// Explains an allocation, granted or refused; see [`Lease::explain`].
    pub fn explain(&self, id: AllocationId) -> Result<AllocationRecordDocument, Error> {
        self.ask(async move |backend| backend.allocation(id).await)
    }

    /// [`leases`](Self::leases) without blocking.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let lease = book.prefer(25_600).lease_async().await?;
    /// assert_eq!(book.leases_async().await?.len(), 1);
    /// assert_eq!(book.lease_async(lease.id()).await?.port.get(), lease.port());
    /// println!("{}", book.explain_async(lease.document().allocation).await?.story);
    /// book.release_async(lease.keep().id).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn leases_async(&self) -> Result<Vec<LeaseDocument>, Error> {
        self.ask_async(async |backend| backend.leases(false).await)
            .await
    }

    /// [`lease`](Self::lease) without blocking.
    pub async fn lease_async(&self, id: LeaseId) -> Result<LeaseDocument, Error> {
        self.ask_async(async move |backend| backend.lease(id).await)
            .await
    }

    /// [`renew`](Self::renew) without blocking.
    pub async fn renew_async(
        &self,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<LeaseDocument, Error> {
        self.ask_async(async move |backend| backend.renew(id, ttl).await)
            .await
    }

    /// [`release`](Self::release) without blocking.
    pub async fn release_async(&self, id: LeaseId) -> Result<(), Error> {
        self.ask_async(async move |backend| backend.release(id).await)
            .await
    }

    /// [`explain`](Self::explain) without blocking.
    pub async fn explain_async(&self, id: AllocationId) -> Result<AllocationRecordDocument, Error> {
        self.ask_async(async move |backend| backend.allocation(id).await)
            .await
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(&Backend) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = mpsc::sync_channel(1);
        let tell = move |answer| drop(tell.send(answer));
        self.desk.put(Arc::clone(&self.target), work, tell);
        told.recv().unwrap_or_else(|_| Err(desk::gone()))
    }

    async fn ask_async<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(&Backend) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        // A caller that gave up waiting has dropped the receiver: a lease is released by its drop.
        let tell = move |answer| drop(tell.send(answer));
        self.desk.put(Arc::clone(&self.target), work, tell);
        told.await.unwrap_or_else(|_| Err(desk::gone()))
    }

    /// Releases a lease without waiting for it.
    fn release_some_time(&self, id: LeaseId) {
        let work = async move |backend: &Backend| backend.release(id).await;
        let tell = move |released: Result<(), Error>| {
            if let Err(error) = released {
                tracing::warn!(%error, lease = %id, "could not release a dropped lease; it ends with this process");
            }
        };
        self.desk.put(Arc::clone(&self.target), work, tell);
    }
}

/// Shows the paths only; all settings would be too long for a failed `unwrap`.
impl fmt::Debug for Portbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portbook")
            .field("data_dir", &self.target.settings.data_dir)
            .field("socket", &self.target.settings.socket)
            .finish_non_exhaustive()
    }
}

/// The target of the program's own values, without files and variables.
fn target(data_dir: PathBuf, socket: Option<PathBuf>) -> Result<Target, Error> {
    let flags = Flags {
        data_dir: Some(data_dir),
        socket: socket.clone(),
        ..Flags::default()
    };
    let loaded = config::load(&Sources {
        flags,
        ..Sources::default()
    })?;
    Ok(Target {
        settings: loaded.settings,
        named: socket,
        setting: None,
        own: None,
        system: None,
    })
}
