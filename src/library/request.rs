//! Building a request, and the ways to send it.

use std::fmt::Display;
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::backend::Backend;
use super::{Bound, Error, Lease, Listener, Portbook};
use crate::answers::document::{AllocationDocument, LeaseDocument, LeaseRequest, ScopeWord};
use crate::domain::duration::HumanDuration;
use crate::domain::lease::Handover;
use crate::domain::pool::Strategy;
use crate::domain::port::{PortSet, Protocol};

/// Address of a port without interfaces and without a pool: closed to the network.
const LOOPBACK: &str = "127.0.0.1";

/// A request for one port, sent by [`listen`](Self::listen), [`bind_udp`](Self::bind_udp) or
/// [`lease`](Self::lease).
///
/// The pool's rules apply to all that is not set, except that without a pool the port is held on
/// 127.0.0.1.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let book = portbook::Portbook::embedded(folder.path())?;
/// let listener = book
///     .prefer(23_000)            // this one, then upwards
///     .range(23_000..=23_099)    // within these
///     .attempts(20)              // trying 20 of them at most
///     .name("console")           // the same port next time
///     .listen()?;
/// assert!((23_000..23_100).contains(&listener.local_addr()?.port()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct PortRequest {
    book: Portbook,
    wanted: LeaseRequest,
    /// First error of a setter, returned when the request is sent.
    wrong: Option<String>,
}

impl PortRequest {
    pub(super) fn new(book: Portbook) -> Self {
        Self {
            book,
            wanted: LeaseRequest::default(),
            wrong: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut LeaseRequest)) -> Self {
        change(&mut self.wanted);
        self
    }

    /// Parses a text, or keeps the error for later.
    fn read<T: FromStr<Err: Display>>(&mut self, text: &str) -> Option<T> {
        let read = text.parse().map_err(|error: T::Err| error.to_string());
        read.map_err(|wrong| self.wrong.get_or_insert(wrong)).ok()
    }

    /// Prefers this port; then the [`prefer_span`](Self::prefer_span) numbers above it, then a port of
    /// the pool, or of the [range](Self::range) if one is set. A name returns to its preferred port as
    /// soon as that is free.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = occupant.local_addr()?.port();
    /// let listener = book.request().prefer(busy).listen()?;
    /// assert!(listener.local_addr()?.port() > busy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefer(self, port: u16) -> Self {
        self.with(|wanted| wanted.prefer = Some(port))
    }

    /// Sets the number of ports above the preferred one that are tried before the pool, from 0 on.
    /// Default: the pool's, which is 100 unless configured.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = occupant.local_addr()?.port();
    /// let listener = book.request().prefer(busy).prefer_span(0).listen()?;
    /// assert!((20_000..30_000).contains(&listener.lease().port()));
    /// let moved = listener.lease().moved().expect("a reason");
    /// assert_eq!((moved.from.get(), moved.to.get()), (busy, listener.lease().port()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefer_span(self, ports: u16) -> Self {
        self.with(|wanted| wanted.prefer_span = Some(ports))
    }

    /// Sets the time limit of the search. Default: the pool's `attempt_timeout`.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|wanted| wanted.timeout = Some(HumanDuration(timeout)))
    }

    /// Requires exactly this port; the error names the occupant. See [`Error`] for an example.
    pub fn port(self, port: u16) -> Self {
        self.with(|wanted| wanted.port = Some(port))
    }

    /// Sets a range, both ends included, in place of the pool's ranges.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.request().range(23_100..=23_199).listen()?;
    /// assert!((23_100..=23_199).contains(&listener.lease().port()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range(mut self, range: RangeInclusive<u16>) -> Self {
        let text = format!("{}-{}", range.start(), range.end());
        self.wanted.ranges = self.read::<PortSet>(&text);
        self
    }

    /// Takes a port of this pool, on its interfaces. The pool is one of the service's configuration, or
    /// of [`Portbook::with_pool`].
    pub fn pool(self, pool: impl Into<String>) -> Self {
        self.with(|wanted| wanted.pool = Some(pool.into()))
    }

    /// Names the lease. A name gets its port again, also after a restart of the program, the service or
    /// the host, and despite lingering connections of the last run. While the program is away its port
    /// is granted to no other request.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let first = book.request().name("web").range(23_200..=23_299).listen()?.lease().port();
    /// let again = book.request().name("web").range(23_200..=23_299).listen()?.lease().port();
    /// assert_eq!(first, again);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        self.wanted.name = self.read(name);
        self
    }

    /// Limits the name to a directory tree, given by its absolute path, such as a git work tree. Each
    /// tree has a port of its own.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let here = book.request().name("web").within("/srv/one").lease()?;
    /// let there = book.request().name("web").within("/srv/other").lease()?;
    /// assert_ne!(here.port(), there.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within(self, directory: impl Into<PathBuf>) -> Self {
        self.with(|wanted| {
            wanted.scope = Some(ScopeWord::Dir);
            wanted.directory = Some(directory.into());
        })
    }

    /// Sets the instance of the named service; each instance keeps a port of its own.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let first = book.request().name("web").lease()?;
    /// let second = book.request().name("web").instance("2").lease()?;
    /// assert_ne!(first.port(), second.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn instance(self, instance: &str) -> Self {
        self.with(|wanted| wanted.instance = Some(instance.to_owned()))
    }

    /// Refuses, rather than moves, a name whose port is in use by an outsider.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let port = book.request().name("web").strict().listen()?.lease().port();
    /// let occupant = std::net::TcpListener::bind(("127.0.0.1", port))?;
    /// assert!(book.request().name("web").strict().listen().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn strict(self) -> Self {
        self.with(|wanted| wanted.strict = true)
    }

    /// Sets the interfaces: a NIC by name or glob, an address, a network, or `any`, `all`, `loopback`,
    /// `private`, `public`, `ipv4`, `ipv6`; a leading `!` excludes. The port is free on every address
    /// of theirs; take several sockets with [`listen_all`](Self::listen_all).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.request().range(23_300..=23_399).interfaces(["0.0.0.0"]).listen()?;
    /// assert!(listener.local_addr()?.ip().is_unspecified());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn interfaces<I: AsRef<str>>(mut self, selectors: impl IntoIterator<Item = I>) -> Self {
        for selector in selectors {
            let read = self.read(selector.as_ref());
            self.wanted.interfaces.extend(read);
        }
        self
    }

    /// Sets the order in which ports are tried.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// use portbook::Strategy;
    /// let request = book.request().range(23_400..=23_499).strategy(Strategy::Random);
    /// let one = request.clone().lease()?;
    /// let other = request.lease()?;
    /// assert_ne!(one.port(), other.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.with(|wanted| wanted.strategy = Some(strategy))
    }

    /// Sets the maximum number of tried ports; beyond it the request ends with
    /// [`Code::AttemptsExhausted`](super::Code::AttemptsExhausted).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let busy = occupant.local_addr()?.port();
    /// let error = book.prefer(busy).attempts(1).listen().unwrap_err();
    /// assert_eq!(error.code(), Some(portbook::Code::AttemptsExhausted));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attempts(mut self, most: u32) -> Self {
        self.wanted.max_attempts = NonZeroU32::new(most);
        if most == 0 {
            let wrong = "0 attempts get no port: allow one at least";
            self.wrong.get_or_insert(wrong.to_owned());
        }
        self
    }

    /// Sets the lifetime of the lease unless it is [renewed](Lease::renew). The socket stays open after
    /// it; only the claim to the port ends.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|wanted| wanted.ttl = Some(HumanDuration(ttl)))
    }

    /// Adds a label to filter leases by.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let lease = book.request().range(23_500..=23_599).label("team", "web").lease()?;
    /// assert_eq!(book.leases()?[0].labels["team"], "web");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|wanted| drop(wanted.labels.insert(key.into(), value.into())))
    }

    /// Sets the protocol for [`lease`](Self::lease). Default: the pool's, which is TCP unless configured.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// use portbook::Protocol;
    /// let lease = book.request().protocol(Protocol::Udp).lease()?;
    /// assert_eq!(lease.document().protocol, Protocol::Udp);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.with(|wanted| wanted.protocol = Some(protocol.into()))
    }

    /// Returns a TCP listener on the port.
    ///
    /// No other process can take the port in between: the socket that holds it becomes the listener,
    /// and a service passes it over its own socket. Blocks for some milliseconds, also inside a tokio
    /// runtime; [`listen_async`](Self::listen_async) does not.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.prefer(23_600).listen()?;
    /// println!("console on http://{}", listener.local_addr()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen(self) -> Result<Listener, Error> {
        self.get(Protocol::Tcp)?.into_one()
    }

    /// Returns a TCP listener on each address of the lease, all on one port.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listeners = book.request().range(23_700..=23_799).interfaces(["any"]).listen_all()?;
    /// for listener in listeners.iter() {
    ///     assert_eq!(listener.local_addr()?.port(), listeners.lease().port());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_all(self) -> Result<Bound<Vec<TcpListener>>, Error> {
        self.get(Protocol::Tcp)
    }

    /// Returns a UDP socket bound to the port.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let socket = book.request().range(23_800..=23_899).bind_udp()?;
    /// socket.send_to(b"hello", socket.local_addr()?)?;
    /// let mut room = [0; 16];
    /// assert_eq!(socket.recv_from(&mut room)?.0, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bind_udp(self) -> Result<Bound<UdpSocket>, Error> {
        self.get(Protocol::Udp)?.into_one()
    }

    /// Returns the port without a socket, for a child process, say, that binds it itself.
    ///
    /// A service holds the port meanwhile, and lets this process and its descendants in. Without a
    /// service only the books keep it: a process that does not ask portbook may bind it first.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let lease = book.request().range(23_900..=23_999).lease()?;
    /// let status = std::process::Command::new("true").env("PORT", lease.port().to_string()).status()?;
    /// assert!(status.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(self) -> Result<Lease, Error> {
        let (book, wanted) = self.finished()?;
        book.clone()
            .ask(async move |backend| lease_from(backend, book, wanted).await)
    }

    /// [`listen`](Self::listen) from within a tokio runtime, without blocking it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.prefer(24_000).listen_async().await?;
    /// let address = listener.local_addr()?;
    /// tokio::spawn(async move { listener.accept().await });
    /// tokio::net::TcpStream::connect(address).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn listen_async(self) -> Result<Bound<tokio::net::TcpListener>, Error> {
        let sockets: Bound<Vec<TcpListener>> = self.get_async(Protocol::Tcp).await?;
        sockets.into_one()?.into_tokio()
    }

    /// [`listen_all`](Self::listen_all) from within a tokio runtime, without blocking it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listeners = book.request().interfaces(["any"]).listen_all_async().await?;
    /// let address = ("127.0.0.1", listeners.lease().port());
    /// let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listeners[0].accept());
    /// assert_eq!(client?.peer_addr()?.port(), accepted?.0.local_addr()?.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn listen_all_async(self) -> Result<Bound<Vec<tokio::net::TcpListener>>, Error> {
        let sockets: Bound<Vec<TcpListener>> = self.get_async(Protocol::Tcp).await?;
        sockets.into_tokio()
    }

    /// [`bind_udp`](Self::bind_udp) from within a tokio runtime, without blocking it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let socket = book.request().bind_udp_async().await?;
    /// socket.send_to(b"hello", socket.local_addr()?).await?;
    /// assert_eq!(socket.recv_from(&mut [0; 16]).await?.0, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn bind_udp_async(self) -> Result<Bound<tokio::net::UdpSocket>, Error> {
        let sockets: Bound<Vec<UdpSocket>> = self.get_async(Protocol::Udp).await?;
        sockets.into_one()?.into_tokio()
    }

    /// [`lease`](Self::lease) without blocking, in any runtime.
    pub async fn lease_async(self) -> Result<Lease, Error> {
        let (book, wanted) = self.finished()?;
        let asking = book.clone();
        let work = async move |backend: &Backend| lease_from(backend, book, wanted).await;
        asking.ask_async(work).await
    }

    fn get<S: From<OwnedFd> + Send + 'static>(
        self,
        protocol: Protocol,
    ) -> Result<Bound<Vec<S>>, Error> {
        let (book, wanted) = self.protocol(protocol).finished()?;
        let asking = book.clone();
        asking.ask(async move |backend| sockets_from(backend, book, wanted).await)
    }

    async fn get_async<S: From<OwnedFd> + Send + 'static>(
        self,
        protocol: Protocol,
    ) -> Result<Bound<Vec<S>>, Error> {
        let (book, wanted) = self.protocol(protocol).finished()?;
        let asking = book.clone();
        let work = async move |backend: &Backend| sockets_from(backend, book, wanted).await;
        asking.ask_async(work).await
    }

    /// The request of the API, completed by the library's own rules.
    fn finished(self) -> Result<(Portbook, LeaseRequest), Error> {
        if let Some(wrong) = self.wrong {
            return Err(Error::InvalidRequest(wrong));
        }
        let mut wanted = self.wanted;
        let free = wanted.pool.is_none();
        if free && wanted.interfaces.is_empty() {
            wanted.interfaces.extend(LOOPBACK.parse());
        }
        if wanted.prefer.is_some() && wanted.ranges.is_some() {
            wanted.strategy.get_or_insert(Strategy::Ordered);
        }
        wanted.owner_pid = Some(std::process::id());
        wanted.add_labels(&self.book.target.settings.client.labels);
        Ok((self.book, wanted))
    }
}

/// Asks for the port.
async fn granted(
    backend: &Backend,
    wanted: LeaseRequest,
) -> Result<(AllocationDocument, LeaseDocument), Error> {
    let granted = backend.allocate(wanted).await?;
    match &granted.leases[..] {
        [lease] => Ok((granted.clone(), lease.clone())),
        _ => Err(Error::InvalidRequest(
            "the pool is for TCP and UDP at once: say which with protocol".to_owned(),
        )),
    }
}

async fn lease_from(
    backend: &Backend,
    book: Portbook,
    wanted: LeaseRequest,
) -> Result<Lease, Error> {
    let (granted, lease) = granted(backend, wanted).await?;
    backend.let_go(lease.id);
    let lease = backend.lease(lease.id).await.unwrap_or(lease);
    Ok(Lease::new(book, lease, granted))
}

async fn sockets_from<S: From<OwnedFd>>(
    backend: &Backend,
    book: Portbook,
    mut wanted: LeaseRequest,
) -> Result<Bound<Vec<S>>, Error> {
    wanted.handover = Some(Handover::Fd);
    let (granted, lease) = granted(backend, wanted).await?;
    match backend.give(lease.id).await {
        Ok(sockets) => {
            let lease = backend.lease(lease.id).await.unwrap_or(lease);
            let sockets = sockets.into_iter().map(S::from).collect();
            Ok(Bound::new(sockets, Lease::new(book, lease, granted)))
        }
        Err(error) => {
            if granted.created {
                // The caller has to hear of the first error, not of this.
                let _ = backend.release(lease.id).await;
            }
            Err(error)
        }
    }
}
