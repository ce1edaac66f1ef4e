//! The viewer of an answer: an identified caller, or a reader without a token.

use super::problem::{Code, Problem};
use crate::engine::service::Caller;

/// The user an answer is made for; it decides which rows and names the answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// A caller identified by the kernel, the token or a session.
    Known(Caller),
    /// A reader of the console without a token.
    Reader {
        /// User whose leases are shown: the one that the service runs as.
        of: u32,
    },
}

impl Viewer {
    /// Whether everything about a lease of `uid` may be shown.
    pub fn sees(&self, uid: u32) -> bool {
        match self {
            Self::Known(caller) => caller.may_act_for(uid),
            Self::Reader { of } => *of == uid,
        }
    }

    /// Whether a program of this user may be named. A program of an unknown user is named only to
    /// viewers who see all users.
    pub fn sees_program_of(&self, uid: Option<u32>) -> bool {
        uid.map_or_else(|| self.sees_everybody(), |uid| self.sees(uid))
    }

    /// The only user whose rows may be shown. `None` if all users' rows may be.
    pub const fn only_user(&self) -> Option<u32> {
        match self {
            Self::Known(caller) if caller.sees_all_users() => None,
            Self::Known(caller) => Some(caller.uid),
            Self::Reader { of } => Some(*of),
        }
    }

    /// Whether names of unknown users may be shown.
    pub fn sees_everybody(&self) -> bool {
        self.asker().sees_unknown_users()
    }

    /// The caller for engine calls that only read.
    pub fn asker(&self) -> Caller {
        match self {
            Self::Known(caller) => caller.clone(),
            Self::Reader { of } => Caller::reader(*of),
        }
    }

    /// The caller for changes; a problem if the viewer is a reader.
    pub fn caller(&self) -> Result<&Caller, Problem> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Reader { .. } => Err(token_needed()),
        }
    }
}

/// The problem for a change without a token.
pub fn token_needed() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "changing state on the console needs a login (`portbook dashboard` opens one) or its token: \
         send \"Authorization: Bearer …\" with what `portbook token` prints",
    )
}
