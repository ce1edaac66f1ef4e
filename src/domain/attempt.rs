//! Attempts: single tries to bind one address, and who was in the way.

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
    /// When it was made.
    pub at: Timestamp,
    /// Where.
    pub address: BindAddress,
    /// For which protocol.
    pub protocol: Protocol,
    /// Which port.
    pub port: Port,
    /// What came of it.
    pub outcome: Outcome,
    /// The kernel's error number where it refused.
    pub errno: Option<i32>,
    /// How long the system calls took.
    pub duration: Duration,
    /// Who was in the way, as far as the kernel tells.
    pub occupant: Option<Occupant>,
    /// Its span, when the trace is sampled: 16 hexadecimal digits.
    pub span_id: Option<String>,
}

/// What came of an attempt.
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
    /// EADDRNOTAVAIL: the host does not have this address (any more).
    AddressNotAvailable,
    /// Any other error, such as no descriptors left.
    Failed,
}

impl Outcome {
    /// Whether the port was got.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Bound | Self::Lingering)
    }
}

impl Written for Outcome {
    const KIND: &'static str = "an outcome";
}

as_str!(Outcome, SocketState);

/// Whoever holds a port outside portbook, found in the kernel's socket tables.
///
/// There is no command line here on purpose: it can hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Occupant {
    /// The process, if its descriptors could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The user that the socket belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The name of the process (`/proc/PID/comm`): anybody's text, shown only escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What the socket does there.
    pub state: SocketState,
}

impl Occupant {
    /// As somebody may see it who sees what belongs to these users: of another user's process that
    /// there is one. This is the one rule of it, for every list, page and sentence.
    pub fn veil(&mut self, sees: impl Fn(u32) -> bool) {
        if self.uid.is_some_and(|uid| !sees(uid)) {
            self.pid = None;
            self.command = None;
        }
    }
}

/// The attempts as somebody may see them who sees what belongs to these users.
pub fn veiled(attempts: &[Attempt], sees: impl Fn(u32) -> bool) -> Vec<Attempt> {
    let mut attempts = attempts.to_vec();
    for attempt in &mut attempts {
        if let Some(occupant) = &mut attempt.occupant {
            occupant.veil(&sees);
        }
    }
    attempts
}

/// What an occupant's socket does.
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
    /// Waits for connections, or for datagrams.
    Listening,
    /// Bound, and nothing more yet.
    Bound,
    /// One end of a living connection.
    Connected,
    /// What a closed connection leaves behind (TIME_WAIT, FIN_WAIT and the like).
    Lingering,
    /// The kernel refused without telling why.
    #[default]
    Unknown,
}

impl SocketState {
    /// Which of several explains a refused bind best, best first: who listens, then who is bound,
    /// then connections.
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

/// Control characters, those that break lines, and those that turn the order of what follows.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A text from outside without the characters that could steer a terminal or break a line.
///
/// ```
/// assert_eq!(portbook::domain::attempt::printable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
/// ```
pub fn printable(text: &str) -> String {
    let safe = |c: char| if steers(c) { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}
