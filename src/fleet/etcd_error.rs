//! etcd's failures in the words of [`EngineError`].
//!
//! gRPC's codes have numbers (<https://grpc.io/docs/guides/status-codes/>).

use std::error::Error as StdError;
use std::io;

use etcd_client::Error;

use super::engine::EngineError;
use crate::domain::attempt::printable;

const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// Maximum length of a text of etcd in characters.
const LONGEST: usize = 300;

/// Part of etcd's text for a caller that names no user while rights are on.
const NO_USER: &str = "user name is empty";

/// Text of the crate for a lease that has ended.
const LEASE_GONE: &str = "lease not found";

/// Puts a failure into portbook's words.
pub fn told(error: &Error) -> EngineError {
    let text = text(error);
    match error {
        Error::GRpcStatus(status) => match i32::from(status.code()) {
            PERMISSION_DENIED | UNAUTHENTICATED => EngineError::Denied(text),
            // Rights were turned on, and this host has no certificate.
            INVALID_ARGUMENT if status.message().contains(NO_USER) => EngineError::Denied(text),
            RESOURCE_EXHAUSTED => EngineError::Full(text),
            _ if is_unreached(status) => EngineError::Away(text),
            CANCELLED | UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE => {
                EngineError::Unknown(text)
            }
            _ => EngineError::Fault(text),
        },
        Error::TransportError(_) | Error::IoError(_) | Error::EndpointError(_) => {
            EngineError::Away(text)
        }
        Error::LeaseKeepAliveError(_) | Error::WatchError(_) => EngineError::Unknown(text),
        _ => EngineError::Fault(text),
    }
}

/// Whether a renewal failed because the lease has ended.
pub fn is_gone(error: &Error) -> bool {
    matches!(error, Error::LeaseKeepAliveError(text) if text == LEASE_GONE) || is_absent(error)
}

/// Whether what was asked for is not there.
pub fn is_absent(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if i32::from(status.code()) == NOT_FOUND)
}

/// Whether no connection came to be: then nothing was done.
fn is_unreached(error: &(dyn StdError + 'static)) -> bool {
    causes(error).into_iter().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        })
    })
}

/// The error and its causes, outermost first.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> Vec<&'e (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    causes
}

/// The message with its causes, each once, printable and not endless.
pub fn text(error: &Error) -> String {
    let told: Vec<String> = match error {
        Error::GRpcStatus(status) => {
            let below = causes(status).into_iter().skip(1).map(ToString::to_string);
            let first = std::iter::once(status.message().to_owned());
            first.chain(below).collect()
        }
        Error::TransportError(error) => causes(error).iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    let mut parts: Vec<String> = Vec::new();
    for part in told {
        if !part.is_empty() && !parts.contains(&part) {
            parts.push(part);
        }
    }
    let text = printable(&parts.join(": "));
    text.chars().take(LONGEST).collect()
}
