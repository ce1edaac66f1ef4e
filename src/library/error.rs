//! Why there is no port, or no answer, in the words of whoever embeds portbook.

use std::io;
use std::path::PathBuf;

use crate::answers::document::AttemptDocument;
use crate::answers::problem::{Code, Problem};
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::engine::refusal::Refusal;
use crate::protocol::descriptor::FetchError;
use crate::store::StoreError;

/// Why there is no port, or no answer.
///
/// The message says what happened and, where there is one, the way out. [`code`](Self::code) is for
/// programs, [`attempts`](Self::attempts) tells who was in the way.
///
/// ```
/// use portbook::{Code, Error, Portbook};
///
/// let folder = tempfile::tempdir()?;
/// let book = Portbook::embedded(folder.path())?;
/// let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let busy = stranger.local_addr()?.port();
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
    /// The request was understood and refused: nothing is free, the port is somebody else's, the
    /// lease is not yours. The document is what the service's API answers in this case.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The request contradicts itself, or is none.
    #[error("{0}")]
    InvalidRequest(String),
    /// There is no service where one was expected, or it broke off.
    #[error("no portbook service answers on {socket}: {source}; start one with `portbook serve`")]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A socket was named, by a flag, a variable or a file, and no service answers there. Another record
    /// is not tried: it would grant ports that the service has granted.
    #[error(
        "no portbook service answers on {socket}, which {setting} names: {source}. {way_out}, or \
         leave {setting} out: then another running service answers, or the command works on the record itself",
        way_out = way_to_service(source)
    )]
    NotAnswered {
        /// The socket.
        socket: PathBuf,
        /// What names it: `--socket`, `PORTBOOK_SOCKET`, or a place in a file.
        setting: String,
        /// What happened.
        source: io::Error,
    },
    /// A service has the record, and does not answer.
    #[error("{0}")]
    Silent(String),
    /// The user's configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The record cannot be used.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// One listener was asked for, and the interfaces mean several addresses, each of which has a
    /// socket of its own.
    #[error("the lease has {} addresses ({}): take them all with listen_all, or name one interface", .0.len(), .0.join(", "))]
    SeveralAddresses(Vec<String>),
    /// The operating system failed where portbook had nothing to decide.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
}

impl Error {
    /// What went wrong, as programs match on it; none where portbook had nothing to decide.
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

    /// What was tried before a refusal, and who was in the way.
    ///
    /// See [`Error`] for an example.
    pub fn attempts(&self) -> &[AttemptDocument] {
        match self {
            Self::Refused(problem) => &problem.attempts,
            _ => &[],
        }
    }

    /// The operating system failed at `what`.
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

/// The remedy for a named socket that cannot be used.
fn way_to_service(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        "You may not use it: a service admits other users with socket_mode = \"0660\" and the group of its socket. \
         Ask for that"
    } else {
        "Start one with `portbook serve`"
    }
}
