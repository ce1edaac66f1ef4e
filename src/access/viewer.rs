//! Whoever asks, and what they may see.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::api::problem::{Code, Problem};
use crate::engine::service::Caller;

/// Whoever asks, as far as known, and what they may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Somebody the kernel or the token vouches for.
    Known(Caller),
    /// A reader of the console without a token, with the user whose leases it shows.
    Reader {
        /// The user that the service runs as.
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

    /// Whether a program of this user may be named; one of an unknown user to those alone who see
    /// everybody's.
    pub fn sees_program_of(&self, uid: Option<u32>) -> bool {
        uid.map_or_else(|| self.sees_everybody(), |uid| self.sees(uid))
    }

    /// The only user whose doings may be shown; none where everybody's may.
    pub const fn only_user(&self) -> Option<u32> {
        match self {
            Self::Known(caller) if caller.sees_all_users() => None,
            Self::Known(caller) => Some(caller.uid),
            Self::Reader { of } => Some(*of),
        }
    }

    /// Whether names may be shown of which it is not known whose they are.
    pub fn sees_everybody(&self) -> bool {
        self.asker().sees_unknown_users()
    }

    /// In whose name a question is answered that changes nothing.
    pub fn asker(&self) -> Caller {
        match self {
            Self::Known(caller) => caller.clone(),
            Self::Reader { of } => Caller::reader(*of),
        }
    }

    /// Who acts. A reader cannot.
    pub fn caller(&self) -> Result<&Caller, Problem> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Reader { .. } => Err(token_needed()),
        }
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Put there by `check`; a route outside it serves nobody.
        let viewer = request.extensions().get::<Self>().cloned();
        ready(viewer.ok_or_else(token_needed))
    }
}

/// What is said to a reader who would change something.
pub(super) fn token_needed() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "changing state on the console needs a login (`portbook dashboard` opens one) or its token: \
         send \"Authorization: Bearer …\" with what `portbook token` prints",
    )
}
