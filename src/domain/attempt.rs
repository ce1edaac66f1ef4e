//! Attempts: single tries to bind one address, and the occupants they met.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::address::BindAddress;
use super::port::{Port, Protocol};
use super::words::{UnknownWord, Written, as_str};

/// One try to bind one (bind address, protocol, port).
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Time of the call.
    pub at: Timestamp,
    /// Bind address that was tried.
    pub address: BindAddress,
    /// Protocol that was tried.
    pub protocol: Protocol,
    /// Port that was tried.
    pub port: Port,
    /// Result of the call.
    pub outcome: Outcome,
    /// The kernel's error number (`errno(3)`). `None` if it did not refuse.
    pub errno: Option<i32>,
    /// Time that the system calls took.
    pub duration: Duration,
    /// Occupant in the way. `None` if the port was got, or the kernel does not tell.
    pub occupant: Option<Occupant>,
    /// Span of the attempt: 16 hexadecimal digits. `None` if the trace is not sampled.
    pub span_id: Option<String>,
}

/// Result of an attempt.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<Outcome>)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Bound strictly: nothing was on it.
    Bound,
    /// Re-taken past lingering connections (TIME_WAIT and the like); no failure.
    Lingering,
    /// EADDRINUSE: something is on it.
    InUse,
    /// EACCES or EPERM: a privileged port, or a security module's veto.
    NotPermitted,
    /// Bound, and given back: a packet filter sends its packets elsewhere, such as to a container.
    Redirected,
    /// EADDRNOTAVAIL: the host does not have this address (any more).
    AddressNotAvailable,
    /// Any other error, such as no descriptors left.
    Failed,
    /// Bound, and given back: another host of the fleet has claimed the number.
    Claimed,
}

impl Outcome {
    /// Whether something else has the port.
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::InUse | Self::Redirected)
    }

    /// Whether the port was got.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Bound | Self::Lingering)
    }
}

impl Written for Outcome {
    const KIND: &'static str = "an outcome";
}

as_str!(Outcome, SocketState);

/// Owner of a socket in the way of a bind, found in the kernel's socket tables.
///
/// It has no command line, because that may contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Occupant {
    /// Process id. `None` if its descriptors could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// User of the socket. `None` if the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of the process (`/proc/PID/comm`): text from outside, shown only escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// State of the socket.
    pub state: SocketState,
}

impl Occupant {
    /// Hides the process unless the viewer sees its user (`sees`); its user and state stay. Every list,
    /// page and sentence follows this rule.
    pub fn veil(&mut self, sees: impl Fn(u32) -> bool) {
        if self.uid.is_some_and(|uid| !sees(uid)) {
            self.pid = None;
            self.command = None;
        }
    }
}

/// Copies attempts for a viewer, with the processes of other users hidden.
pub fn veiled(attempts: &[Attempt], sees: impl Fn(u32) -> bool) -> Vec<Attempt> {
    let mut attempts = attempts.to_vec();
    for attempt in &mut attempts {
        if let Some(occupant) = &mut attempt.occupant {
            occupant.veil(&sees);
        }
    }
    attempts
}

/// State of an occupant's socket.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SocketState {
    /// Waiting for connections, or for datagrams.
    Listening,
    /// Bound, without listening.
    Bound,
    /// One end of a living connection.
    Connected,
    /// Remainder of a closed connection (TIME_WAIT, FIN_WAIT and the like).
    Lingering,
    /// Not told by the kernel.
    #[default]
    Unknown,
}

impl SocketState {
    /// Rank among the sockets that may explain a refused bind; the lowest explains it best.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Listening => 0,
            Self::Bound => 1,
            Self::Connected => 2,
            Self::Lingering => 3,
            Self::Unknown => 4,
        }
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.command, self.pid) {
            (Some(command), Some(pid)) => write!(f, "{} (pid {pid})", printable(command))?,
            (None, Some(pid)) => write!(f, "pid {pid}")?,
            // A host of the fleet, which has no pid here.
            (Some(command), None) => f.write_str(&printable(command))?,
            _ => match self.state {
                SocketState::Lingering => f.write_str("a closing connection")?,
                SocketState::Connected => f.write_str("a connection")?,
                _ => f.write_str("a process that the kernel does not name")?,
            },
        }
        if let (None, Some(uid)) = (self.pid, self.uid) {
            write!(f, " of uid {uid}")?;
        }
        Ok(())
    }
}

/// Whether a character can steer a terminal: it controls, breaks a line or reverses the text order.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Replaces the characters of a text from outside that could steer a terminal or break a line.
///
/// ```
/// assert_eq!(portbook::domain::attempt::printable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
/// ```
pub fn printable(text: &str) -> String {
    let safe = |c: char| if steers(c) { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}
