//! How a command fails: what it says, and its exit code.

use std::process::ExitCode;

use crate::api::problem::Problem;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::domain::attempt::printable;
use crate::library::Error;
use crate::store::StoreError;

/// Refused.
const REFUSED: u8 = 1;
/// Usage or configuration.
const USAGE: u8 = 2;
/// The service cannot be reached.
const UNREACHABLE: u8 = 3;

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
    problem: Option<Box<Problem>>,
}

impl Failure {
    /// Something outside portbook failed.
    pub fn other(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: REFUSED,
            problem: None,
        }
    }

    /// The command was called wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: USAGE,
            problem: None,
        }
    }

    /// The same failure under another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The document that the API answers in such a case, where it has one.
    pub(super) fn problem(&self) -> Option<&Problem> {
        self.problem.as_deref()
    }

    /// Tells the user, and gives the exit code.
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
            ClientError::Unreachable { .. } => Self {
                message: error.to_string(),
                code: UNREACHABLE,
                problem: None,
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(problem) => (*problem).into(),
            Error::InvalidRequest(_) | Error::Config(_) => Self::usage(error.to_string()),
            Error::Unreachable { .. } | Error::Silent(_) => {
                Self::other(error.to_string()).with_code(UNREACHABLE)
            }
            _ => Self::other(error.to_string()),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.exit_code(),
            message: problem.detail.clone(),
            problem: Some(Box::new(problem)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::other(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}
