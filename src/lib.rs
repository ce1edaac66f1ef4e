//! **portbook**: book a port, keep it, and know why it was chosen.
//!
//! ```no_run
//! # // It would touch the user's own record; examples/console.rs does the same, and is run.
//! use portbook::Portbook;
//!
//! let book = Portbook::open()?;                  // the running service, or this process itself
//! let listener = book.prefer(8888).listen()?;    // a std::net::TcpListener, bound and recorded
//! println!("console on http://{}", listener.local_addr()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If 8888 is taken, the port is 8889, or the next one up to 8988. No other program can take it in
//! between: the socket that was bound to find out becomes the listener. Dropping the listener gives
//! the port back; if the process is killed, the kernel does.
//!
//! # More than three lines
//!
//! [`PortRequest`] describes the port: a [name](PortRequest::name) gets the same port next time,
//! [`port`](PortRequest::port) is that port or an error that names its occupant,
//! [`range`](PortRequest::range) and [`attempts`](PortRequest::attempts) bound the search,
//! [`interfaces`](PortRequest::interfaces) are the addresses, 127.0.0.1 by default.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let book = portbook::Portbook::embedded(folder.path())?;
//! let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let busy = occupant.local_addr()?.port();
//!
//! let listener = book.prefer(busy).attempts(20).name("console").listen()?;
//! for attempt in listener.lease().conflicts() {
//!     println!("port {} is taken", attempt.port);
//! }
//! println!("{}", listener.lease().explain()?.story);
//!
//! let refused = book.port(busy).listen().unwrap_err();
//! println!("{refused}"); // port 40123 is in use by …
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Listener`] is used as the `TcpListener` that it holds; [`into_socket`](Bound::into_socket)
//! gives it to a server that takes one, as actix-web's `listen` does. For tokio, and axum on it,
//! there are [`listen_async`](PortRequest::listen_async) and
//! [`bind_udp_async`](PortRequest::bind_udp_async). Several addresses have a socket each:
//! [`listen_all`](PortRequest::listen_all). The folder `examples` has a program for each.
//!
//! # With a service, or without
//!
//! [`Portbook::open`] speaks to the service that the command `portbook serve` runs, where one does:
//! it binds the sockets and passes them over (`SCM_RIGHTS`), and goes on holding the ports of names
//! while their programs are away. Without one, and always with [`Portbook::embedded`], this process
//! does the work on the same record, and shares it with any number of others. The calls and their
//! answers are the same: [`Portbook::leases`], [`renew`](Portbook::renew),
//! [`release`](Portbook::release), [`explain`](Portbook::explain).
//!
//! Everything else in this crate is the service and the command line. They are public for the
//! program of the same name; their interfaces may change with any version.
//!
//! # Without the console
//!
//! The console's pages are compiled with the feature `console`, and the server for coding agents with
//! `mcp`. Both are on by default. A program that uses this crate as a library can leave them out, and
//! the service then has the API alone:
//!
//! ```toml
//! portbook = { version = "0.1", default-features = false }
//! ```
//!
//! # The code
//!
//! `docs/architecture.md` has the rooms, the life of a request, the order of locks and the words;
//! `docs/contributing.md` tells how to add a setting, a column, an endpoint or a page.

#![cfg_attr(
    not(feature = "console"),
    expect(
        dead_code,
        unused_imports,
        reason = "the console alone asks for some answers of the engine and the record"
    )
)]

pub(crate) mod access;
pub(crate) mod answers;
pub(crate) mod api;
pub mod choice;
pub mod cli;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod daemon;
#[cfg(feature = "console")]
pub(crate) mod dashboard;
#[cfg(not(feature = "console"))]
#[path = "dashboard/absent.rs"]
pub(crate) mod dashboard;
pub mod domain;
pub(crate) mod engine;
pub(crate) mod files;
#[cfg(feature = "fleet")]
pub(crate) mod fleet;
#[cfg(not(feature = "fleet"))]
#[path = "fleet/absent.rs"]
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod library;
pub(crate) mod protocol;
pub(crate) mod store;
pub(crate) mod telemetry;

pub use library::{
    AllocationId, AllocationRecordDocument, AttemptDocument, Bound, Code, Error, Lease,
    LeaseDocument, LeaseId, Listener, OwnerDocument, PortRequest, Portbook, Problem, Protocol,
    State, Strategy,
};

/// Parts of the service that the benchmarks use by themselves. They may change with any version.
#[doc(hidden)]
pub mod internals {
    pub use crate::host::handover::given_by_supervisor;
    pub use crate::host::kernel::raise_fd_limit;
    pub use crate::host::occupancy::Occupancy;
    pub use crate::protocol::descriptor::fetch;
}
