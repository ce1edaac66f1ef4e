//! Sockets with the lease of their port.

use std::net::{TcpListener, UdpSocket};
use std::ops::{Deref, DerefMut};

use super::{Error, Lease};

/// A socket, or several, with the lease of the port that they are bound to.
///
/// It derefs to its socket. Dropped, it closes the socket and releases the [lease](Lease). For a server
/// that takes the socket itself there are [`into_parts`](Self::into_parts) and, if it serves until the
/// process ends, [`into_socket`](Self::into_socket).
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let book = portbook::Portbook::embedded(folder.path())?;
/// let listener = book.request().range(22_000..=22_099).listen()?;
/// assert_eq!(listener.local_addr()?.port(), listener.lease().port());
///
/// let (socket, lease) = listener.into_parts();
/// assert_eq!(socket.local_addr()?, lease.addresses()[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bound<S> {
    // Closed first: a released port must be free.
    socket: S,
    lease: Lease,
}

/// A [`TcpListener`] with the lease of its port.
pub type Listener = Bound<TcpListener>;

impl<S> Bound<S> {
    pub(super) const fn new(socket: S, lease: Lease) -> Self {
        Self { socket, lease }
    }

    /// The lease of the port.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The lease of the port, to be renewed.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let mut listener = book.request().listen()?;
    /// listener.lease_mut().renew(Some(std::time::Duration::from_mins(1)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn lease_mut(&mut self) -> &mut Lease {
        &mut self.lease
    }

    /// Splits the socket from the lease. Drop the socket first.
    pub fn into_parts(self) -> (S, Lease) {
        (self.socket, self.lease)
    }

    /// Returns the socket alone; its port is leased until this process ends.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let socket: std::net::TcpListener = book.request().range(22_100..=22_199).listen()?.into_socket();
    /// assert_eq!(book.leases()?[0].port.get(), socket.local_addr()?.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_socket(self) -> S {
        self.lease.keep();
        self.socket
    }

    /// Closes the socket, releases the lease and waits until the record has it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.request().name("web").range(22_200..=22_299).listen()?;
    /// listener.release()?;
    /// assert!(book.leases()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(self) -> Result<(), Error> {
        let (socket, lease) = self.into_parts();
        drop(socket);
        lease.release()
    }

    fn try_map<T>(self, change: impl FnOnce(S) -> Result<T, Error>) -> Result<Bound<T>, Error> {
        let (socket, lease) = self.into_parts();
        Ok(Bound::new(change(socket)?, lease))
    }
}

impl<S> Bound<Vec<S>> {
    /// The socket of a lease with one address.
    pub(super) fn into_one(self) -> Result<Bound<S>, Error> {
        let addresses = self.lease.document().addresses.clone();
        self.try_map(|mut sockets| match (sockets.pop(), sockets.is_empty()) {
            (Some(socket), true) => Ok(socket),
            _ => Err(Error::SeveralAddresses(addresses)),
        })
    }
}

impl<S> Deref for Bound<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S> DerefMut for Bound<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.socket
    }
}

impl Bound<TcpListener> {
    /// Moves the listener into the current tokio runtime, whose I/O must be enabled.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let book = portbook::Portbook::embedded(folder.path())?;
    /// let listener = book.request().range(22_300..=22_399).listen()?.into_tokio()?;
    /// let client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (_stream, peer) = listener.accept().await?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_tokio(self) -> Result<Bound<tokio::net::TcpListener>, Error> {
        self.try_map(tcp_in_tokio)
    }
}

impl Bound<Vec<TcpListener>> {
    /// Moves the listeners into the current tokio runtime, whose I/O must be enabled.
    pub fn into_tokio(self) -> Result<Bound<Vec<tokio::net::TcpListener>>, Error> {
        self.try_map(|sockets| sockets.into_iter().map(tcp_in_tokio).collect())
    }
}

impl Bound<UdpSocket> {
    /// Moves the socket into the current tokio runtime, whose I/O must be enabled.
    pub fn into_tokio(self) -> Result<Bound<tokio::net::UdpSocket>, Error> {
        self.try_map(udp_in_tokio)
    }
}

const NOT_IN_TOKIO: &str = "cannot move the socket into tokio";

/// An error outside a runtime, where tokio would panic.
fn in_runtime() -> Result<(), Error> {
    let runtime = tokio::runtime::Handle::try_current().map_err(std::io::Error::other);
    runtime.map(drop).map_err(Error::system(NOT_IN_TOKIO))
}

fn tcp_in_tokio(socket: TcpListener) -> Result<tokio::net::TcpListener, Error> {
    in_runtime()?;
    let quiet = socket.set_nonblocking(true);
    quiet
        .and_then(|()| tokio::net::TcpListener::from_std(socket))
        .map_err(Error::system(NOT_IN_TOKIO))
}

fn udp_in_tokio(socket: UdpSocket) -> Result<tokio::net::UdpSocket, Error> {
    in_runtime()?;
    let quiet = socket.set_nonblocking(true);
    quiet
        .and_then(|()| tokio::net::UdpSocket::from_std(socket))
        .map_err(Error::system(NOT_IN_TOKIO))
}
