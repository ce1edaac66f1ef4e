//! Errors of the library.

use std::io;
use std::path::PathBuf;

use crate::answers::document::AttemptDocument;
use crate::answers::problem::{Code, Problem};
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::engine::refusal::Refusal;
use crate::protocol::descriptor::FetchError;
use crate::store::StoreError;

/// Failure of a request to portbook.
///
/// The message tells the cause and, if there is one, the way out. [`code`](Self::code) is for programs,
/// [`attempts`](Self::attempts) lists the occupants.
///
/// ```
/// use portbook::{Code, Error, Portbook};
///
/// let folder = tempfile::tempdir()?;
/// let book = Portbook::embedded(folder.path())?;
/// let occupant = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let busy = occupant.local_addr()?.port();
///
/// let error = book.port(busy).listen().unwrap_err();
/// assert_eq!(error.code(), Some(Code::PortInUse));
/// assert_eq!(error.attempts()[0].port, busy);
/// assert!(error.to_string().starts_with(&format!("port {busy} is in use by ")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request was refused: no port is free, the port is in use, or the lease belongs to another
    /// user. The document is the API's.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The request is invalid or contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// No service answers where one was expected, or the connection broke.
    #[error("no portbook service answers on {socket}: {source}; start one with `portbook serve`")]
    Unreachable {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of the connection.
        source: io::Error,
    },
    /// A flag, a variable or a file names a socket, and no service answers there. No other record is
    /// tried: it would grant ports that the service has granted.
    #[error(
        "no portbook service answers on {socket}, which {setting} names: {source}. {way_out}, or \
         leave {setting} out: then another running service answers, or the command works on the record itself",
        way_out = way_to_service(source)
    )]
    NotAnswered {
        /// Path of the socket.
        socket: PathBuf,
        /// Source of the path: `--socket`, `PORTBOOK_SOCKET`, or a place in a file.
        setting: String,
        /// Error of the connection.
        source: io::Error,
    },
    /// No service answers, and the file mode keeps this user from the socket of one.
    #[error(
        "the portbook service on {socket} does not admit this user. {way_out}",
        way_out = ASK_FOR_ADMISSION
    )]
    NotAdmitted {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// A service has the record, but does not answer.
    #[error("{0}")]
    Silent(String),
    /// The server on the socket runs as a user that is not trusted.
    #[error("{0}")]
    Untrusted(String),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The record cannot be used.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The request was for one socket, but its interfaces have several addresses with a socket each.
    #[error("the lease has {} addresses ({}): take them all with listen_all, or name one interface", .0.len(), .0.join(", "))]
    SeveralAddresses(Vec<String>),
    /// A call of the operating system failed.
    #[error("{what}: {source}")]
    System {
        /// Action that failed.
        what: &'static str,
        /// Error of the call.
        source: io::Error,
    },
}

impl Error {
    /// The code for programs. `None` if the cause lies outside portbook.
    ///
    /// See [`Error`] for an example.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Code::parse(&problem.code),
            Self::InvalidRequest(_) => Some(Code::InvalidRequest),
            Self::Record(_) => Some(Code::StoreUnavailable),
            _ => None,
        }
    }

    /// The attempts before a refusal, with their occupants.
    ///
    /// See [`Error`] for an example.
    pub fn attempts(&self) -> &[AttemptDocument] {
        match self {
            Self::Refused(problem) => &problem.attempts,
            _ => &[],
        }
    }

    /// Wraps an error of the operating system.
    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Problem::from(refusal).into()
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => problem.into(),
            ClientError::Unreachable { socket, source } => Self::Unreachable { socket, source },
            ClientError::Silent { .. } => Self::Silent(error.to_string()),
            ClientError::Untrusted { .. } => Self::Untrusted(error.to_string()),
        }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Refused(problem) => Self::Refused(problem),
            FetchError::Unreachable { socket, source } => Self::Unreachable { socket, source },
        }
    }
}

/// The remedy for a socket that this user may not open.
const ASK_FOR_ADMISSION: &str = "You may not use it: a service admits other users with socket_mode = \"0660\" and the group of its socket. \
     Ask for that";

/// The remedy for a named socket that cannot be used.
fn way_to_service(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        ASK_FOR_ADMISSION
    } else {
        "Start one with `portbook serve`"
    }
}
