//! Failures of commands: message, exit code, and document for `--json`.

use std::process::ExitCode;

use crate::api::problem::{Code, Problem};
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::domain::attempt::printable;
use crate::library::Error;
use crate::store::StoreError;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// The failure of a command.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
    document: Document,
}

/// Document for `--json`.
#[derive(Debug)]
enum Document {
    /// The document that the API answered.
    Whole(Box<Problem>),
    /// A document of this code.
    Of(Code),
    /// None: the command has printed one.
    Printed,
}

impl Failure {
    fn new(message: impl Into<String>, code: u8, word: Code) -> Self {
        Self {
            message: message.into(),
            code,
            document: Document::Of(word),
        }
    }

    /// Reports a fault outside of portbook.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(message, REFUSED, Code::Failed)
    }

    /// Reports that no such thing exists.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(message, REFUSED, Code::NotFound)
    }

    /// Reports wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message, USAGE, Code::InvalidRequest)
    }

    /// Reports that no service answers a command that needs one.
    pub fn no_service(message: impl Into<String>) -> Self {
        Self::new(message, UNREACHABLE, Code::NoService)
    }

    /// Changes the exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Notes that the command has printed its JSON document already.
    #[must_use]
    pub fn already_printed(mut self) -> Self {
        self.document = Document::Printed;
        self
    }

    /// Document of the failure. `None` if the command has printed one.
    pub(super) fn problem(&self) -> Option<Problem> {
        match &self.document {
            Document::Whole(problem) => Some((**problem).clone()),
            Document::Of(word) => Some(Problem::new(*word, self.message.clone())),
            Document::Printed => None,
        }
    }

    /// Prints the message, and returns the exit code.
    pub fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            super::note(&printable(line));
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => problem.into(),
            _ => Self::no_service(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(problem) => (*problem).into(),
            Error::InvalidRequest(_) | Error::Config(_) => Self::usage(error.to_string()),
            Error::NotAnswered { .. }
            | Error::NotAdmitted { .. }
            | Error::Unreachable { .. }
            | Error::Silent(_)
            | Error::Untrusted(_) => Self::no_service(error.to_string()),
            Error::Record(error) => error.into(),
            _ => Self::other(error.to_string()),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.exit_code(),
            message: problem.detail.clone(),
            document: Document::Whole(Box::new(problem)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string(), REFUSED, Code::StoreUnavailable)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}
