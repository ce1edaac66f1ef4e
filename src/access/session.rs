//! Logins of browsers: one-time codes that become sessions. Both live in memory only, so a restart
//! of the service logs everybody out.
//!
//! The cookie is HttpOnly and SameSite=Strict (RFC 6265bis, 5.7): no script reads it and no other
//! site's page sends it. Browsers send cookies to every port of a host, so its name carries the
//! console's port: two consoles do not log each other out.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// How long a code may wait for its browser.
pub const CODE_LASTS: Duration = Duration::from_mins(1);

/// How long a session lasts after its last request.
pub const SESSION_LASTS: Duration = Duration::from_hours(12);

/// How many of each there may be; the oldest goes first.
const MOST: usize = 64;

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

    /// A code that opens one session of this user, once.
    pub fn invite(&self, uid: u32) -> io::Result<String> {
        let until = self.clock.boot().after(CODE_LASTS);
        add(&mut self.known().codes, uid, until)
    }

    /// A session for whoever shows a code; none where it was used, has run out or never was.
    pub fn redeem(&self, code: &str) -> io::Result<Option<String>> {
        let mut known = self.known();
        let found = known.codes.iter().position(|secret| secret.is(code));
        let Some(code) = found.map(|index| known.codes.swap_remove(index)) else {
            return Ok(None);
        };
        drop(known);
        self.open(code.uid).map(Some)
    }

    /// A session of this user, who has shown who they are in another way.
    pub fn open(&self, uid: u32) -> io::Result<String> {
        let until = self.clock.boot().after(SESSION_LASTS);
        add(&mut self.known().sessions, uid, until)
    }

    /// Whose session it is. Looking at it makes it last longer.
    pub fn user(&self, session: &str) -> Option<u32> {
        let until = self.clock.boot().after(SESSION_LASTS);
        let mut known = self.known();
        let mut sessions = known.sessions.iter_mut();
        let found = sessions.find(|secret| secret.is(session))?;
        found.until = until;
        Some(found.uid)
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

fn add(secrets: &mut Vec<Secret>, uid: u32, until: BootTime) -> io::Result<String> {
    let text = super::secret()?;
    if secrets.len() >= MOST {
        secrets.remove(0);
    }
    secrets.push(Secret {
        text: text.clone(),
        uid,
        until,
    });
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_opens_one_session() {
        let sessions = Sessions::new(Clock::manual());
        let code = sessions.invite(7).unwrap();
        let session = sessions.redeem(&code).unwrap().unwrap();
        assert_eq!(sessions.user(&session), Some(7));
        assert_eq!(sessions.redeem(&code).unwrap(), None);
        assert_eq!(sessions.user(&code), None);
        sessions.close(&session);
        assert_eq!(sessions.user(&session), None);
    }

    #[test]
    fn codes_and_sessions_run_out() {
        let clock = Clock::manual();
        let sessions = Sessions::new(clock.clone());
        let late = sessions.invite(7).unwrap();
        clock.advance(CODE_LASTS);
        assert_eq!(sessions.redeem(&late).unwrap(), None);
        let used = sessions.open(7).unwrap();
        let unused = sessions.open(8).unwrap();
        clock.advance(SESSION_LASTS.saturating_sub(Duration::from_secs(1)));
        assert_eq!(sessions.user(&used), Some(7));
        clock.advance(Duration::from_secs(2));
        assert_eq!(sessions.user(&used), Some(7), "it was used meanwhile");
        assert_eq!(sessions.user(&unused), None);
    }

    #[test]
    fn there_is_an_end_to_how_many() {
        let sessions = Sessions::new(Clock::manual());
        let first = sessions.open(1).unwrap();
        for _ in 0..MOST {
            sessions.open(2).unwrap();
        }
        assert_eq!(sessions.user(&first), None);
        assert_eq!(sessions.known().sessions.len(), MOST);
    }
}
