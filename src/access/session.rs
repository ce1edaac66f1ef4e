//! Logins of browsers: one-time codes that become sessions. Both live in memory only, so a restart of
//! the service ends all sessions.
//!
//! Browsers send cookies to every port of a host, so another user's server on this host sees the
//! cookie. A session is therefore bound to the user of the browser's socket that opened it.
//!
//! The cookie is HttpOnly and SameSite=Strict (RFC 6265bis, 5.7): no script reads it and no other
//! site's page sends it. Browsers send cookies to every port of a host, so its name carries the
//! console's port: two consoles do not log each other out.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// Lifetime of a code.
pub const CODE_LASTS: Duration = Duration::from_mins(1);

/// Lifetime of a session after its last request.
pub const SESSION_LASTS: Duration = Duration::from_hours(12);

/// Maximum number of codes, and of sessions; the oldest is removed first.
const MOST: usize = 64;

/// The source of a browser's connection; a session is bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process of this user, on this host.
    User(u32),
    /// An address of another host, or of a process whose user the kernel does not tell.
    Address(IpAddr),
}

/// Outcome of a code that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// Session that it opened.
    Opened(String),
    /// The code is of this user, whom the visitor may not become. It stays valid.
    Denied(u32),
    /// It was used, has run out or never existed.
    Unknown,
}

/// Result of a look-up of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Valid session of this user.
    By(u32),
    /// Valid session of this user, sent by another client: probably stolen.
    Elsewhere(u32),
    /// No valid session.
    Unknown,
}

/// The codes and sessions of a console.
pub struct Sessions {
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    codes: Vec<Secret>,
    sessions: Vec<Secret>,
}

struct Secret {
    text: String,
    uid: u32,
    /// Source that opened the session. `None` for a code, which any client may use.
    origin: Option<Origin>,
    until: BootTime,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(…)")
    }
}

impl Sessions {
    /// No codes and no sessions.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// Makes a code that opens one session of this user, once.
    pub fn invite(&self, uid: u32) -> io::Result<String> {
        let until = self.clock.boot().after(CODE_LASTS);
        add(&mut self.known().codes, uid, None, until)
    }

    /// Opens a session with a code, if the visitor may become its user.
    pub fn redeem(
        &self,
        code: &str,
        origin: Origin,
        may_become: impl FnOnce(u32) -> bool,
    ) -> io::Result<Redeemed> {
        let mut known = self.known();
        let found = known.codes.iter().position(|secret| secret.is(code));
        let Some(index) = found else {
            return Ok(Redeemed::Unknown);
        };
        let uid = known.codes[index].uid;
        if !may_become(uid) {
            return Ok(Redeemed::Denied(uid));
        }
        known.codes.swap_remove(index);
        drop(known);
        self.open(uid, origin).map(Redeemed::Opened)
    }

    /// Opens a session of a user who was identified by other means.
    pub fn open(&self, uid: u32, origin: Origin) -> io::Result<String> {
        let until = self.clock.boot().after(SESSION_LASTS);
        add(&mut self.known().sessions, uid, Some(origin), until)
    }

    /// Looks up a session, and prolongs it.
    pub fn shown(&self, session: &str, from: impl FnOnce() -> Origin) -> Shown {
        let until = self.clock.boot().after(SESSION_LASTS);
        let mut known = self.known();
        let mut sessions = known.sessions.iter_mut();
        let Some(found) = sessions.find(|secret| secret.is(session)) else {
            return Shown::Unknown;
        };
        if found.origin != Some(from()) {
            return Shown::Elsewhere(found.uid);
        }
        found.until = until;
        Shown::By(found.uid)
    }

    /// Ends a session.
    pub fn close(&self, session: &str) {
        self.known().sessions.retain(|secret| !secret.is(session));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let now = self.clock.boot();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.codes.retain(|secret| secret.until > now);
        known.sessions.retain(|secret| secret.until > now);
        known
    }
}

impl Secret {
    fn is(&self, given: &str) -> bool {
        self.text.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn add(
    secrets: &mut Vec<Secret>,
    uid: u32,
    origin: Option<Origin>,
    until: BootTime,
) -> io::Result<String> {
    let text = super::token::secret()?;
    if secrets.len() >= MOST {
        secrets.remove(0);
    }
    secrets.push(Secret {
        text: text.clone(),
        uid,
        origin,
        until,
    });
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin::User(1000);

    #[test]
    fn a_session_is_worth_nothing_to_another_user() {
        let sessions = Sessions::new(Clock::manual());
        let session = sessions.open(7, HERE).unwrap();
        let loopback = Origin::Address([127, 0, 0, 1].into());
        for from in [Origin::User(0), Origin::User(7), loopback] {
            let shown = sessions.shown(&session, || from);
            assert_eq!(shown, Shown::Elsewhere(7), "{from:?}");
        }
        assert_eq!(sessions.shown(&session, || HERE), Shown::By(7));
    }

    #[test]
    fn a_code_opens_one_session() {
        let sessions = Sessions::new(Clock::manual());
        let code = sessions.invite(7).unwrap();
        let denied = sessions.redeem(&code, HERE, |uid| uid != 7).unwrap();
        assert_eq!(denied, Redeemed::Denied(7));
        let Redeemed::Opened(session) = sessions.redeem(&code, HERE, |uid| uid == 7).unwrap()
        else {
            panic!("the code is valid still");
        };
        assert_eq!(sessions.shown(&session, || HERE), Shown::By(7));
        let again = sessions.redeem(&code, HERE, |_| true).unwrap();
        assert_eq!(again, Redeemed::Unknown);
        assert_eq!(sessions.shown(&code, || HERE), Shown::Unknown);
        sessions.close(&session);
        assert_eq!(sessions.shown(&session, || HERE), Shown::Unknown);
    }

    #[test]
    fn codes_and_sessions_run_out() {
        let clock = Clock::manual();
        let sessions = Sessions::new(clock.clone());
        let late = sessions.invite(7).unwrap();
        clock.advance(CODE_LASTS);
        let late = sessions.redeem(&late, HERE, |_| true).unwrap();
        assert_eq!(late, Redeemed::Unknown);
        let used = sessions.open(7, HERE).unwrap();
        let unused = sessions.open(8, HERE).unwrap();
        clock.advance(SESSION_LASTS.saturating_sub(Duration::from_secs(1)));
        assert_eq!(sessions.shown(&used, || HERE), Shown::By(7));
        clock.advance(Duration::from_secs(2));
        assert_eq!(
            sessions.shown(&used, || HERE),
            Shown::By(7),
            "it was used meanwhile"
        );
        assert_eq!(sessions.shown(&unused, || HERE), Shown::Unknown);
    }

    #[test]
    fn there_is_an_end_to_how_many() {
        let sessions = Sessions::new(Clock::manual());
        let first = sessions.open(1, HERE).unwrap();
        for _ in 0..MOST {
            sessions.open(2, HERE).unwrap();
        }
        assert_eq!(sessions.shown(&first, || HERE), Shown::Unknown);
        assert_eq!(sessions.known().sessions.len(), MOST);
    }
}
