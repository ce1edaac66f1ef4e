//! portbook inside another program: ports as sockets, in three lines.
//!
//! The types are those of the crate's first page. They speak to the running service, or do what the
//! command line does without one: the same engine on the same record, under the data directory's
//! lock for the moment of each question, so that any number of programs and commands share it.
//!
//! The pieces: [`Portbook`] is where it is asked, [`PortRequest`] what is asked, [`Bound`] and
//! [`Lease`] what comes back, [`Error`] what else may come.

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

/// Where ports come from: the running service, or this process itself.
///
/// Clones are the same. Each question is answered on a thread that portbook has for it, so it can be
/// asked inside a tokio runtime and without any; the methods that end in `_async` do not block.
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

    /// The service of this user or host where one runs, else this process itself on the user's
    /// record: what the command `portbook` would do, with the same configuration files and
    /// `PORTBOOK_…` variables. Looked up anew for each question, so a service may come and go.
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

    /// This process itself, on a record of its own in `data_dir`, which is made where it is
    /// missing. No configuration file and no variable counts.
    ///
    /// Any number of processes may use the same directory at once. A service that has it answers in
    /// their place (`portbook serve --data-dir`).
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

    /// The service that answers on this socket, and nothing else.
    ///
    /// ```
    /// use portbook::{Error, Portbook};
    /// let nobody = Portbook::connect("/nonexistent/portbook.sock");
    /// assert!(matches!(nobody, Err(Error::Unreachable { .. })));
    /// ```
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, Error> {
        let socket = std::path::absolute(socket).map_err(Error::system("the service's socket"))?;
        let beside = socket.parent().unwrap_or(Path::new("/")).to_owned();
        let book = Self::at(target(beside, Some(socket))?)?;
        book.service()?;
        Ok(book)
    }

    /// Adds a pool for requests that name it, with the rules of the default pool but for its ranges.
    /// A running service has pools of its own instead, in its configuration.
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

    /// A request for any port.
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

    /// A request for this port, or the next one above: [`PortRequest::prefer`].
    pub fn prefer(&self, port: u16) -> PortRequest {
        self.request().prefer(port)
    }

    /// A request for exactly this port: [`PortRequest::port`].
    pub fn port(&self, port: u16) -> PortRequest {
        self.request().port(port)
    }

    /// The socket of the service that answers right now; none where this process does the work.
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

    /// Every living lease, this program's or not, newest first. Of other users' leases only port and
    /// user are told.
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

    /// A lease, living or ended, as it is now.
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

    /// Makes a lease last `ttl` from now on, or its own lifetime again where none is given; see
    /// [`Lease::renew`].
    pub fn renew(&self, id: LeaseId, ttl: Option<Duration>) -> Result<LeaseDocument, Error> {
        self.ask(async move |backend| backend.renew(id, ttl).await)
    }

    /// Gives a lease back; see [`Lease::release`].
    pub fn release(&self, id: LeaseId) -> Result<(), Error> {
        self.ask(async move |backend| backend.release(id).await)
    }

    /// Why an allocation came out as it did, also one that was refused; see [`Lease::explain`].
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
        // Whoever gave up waiting has no use for it: a lease is given back by being dropped.
        let tell = move |answer| drop(tell.send(answer));
        self.desk.put(Arc::clone(&self.target), work, tell);
        told.await.unwrap_or_else(|_| Err(desk::gone()))
    }

    /// Gives a lease back without anybody waiting for it.
    fn release_some_time(&self, id: LeaseId) {
        let work = async move |backend: &Backend| backend.release(id).await;
        let tell = move |released: Result<(), Error>| {
            if let Err(error) = released {
                tracing::warn!(%error, lease = %id, "a lease was not given back; it ends with this process");
            }
        };
        self.desk.put(Arc::clone(&self.target), work, tell);
    }
}

/// Where it looks; every setting would be too much to read in a failed `unwrap`.
impl fmt::Debug for Portbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portbook")
            .field("data_dir", &self.target.settings.data_dir)
            .field("socket", &self.target.settings.socket)
            .finish_non_exhaustive()
    }
}

/// What nothing but the program says: no file, no variable.
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
