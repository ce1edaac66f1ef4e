//! Callers: the users and processes that ask portbook for something.

use crate::host::process::Place;

/// The user, and if known the process, on whose behalf a request is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Process id. `None` unless the kernel vouches for it.
    pub pid: Option<u32>,
    /// Whether the process is in another network namespace, where ports held here are of no use.
    pub elsewhere: bool,
    /// Whether the process is in another pid namespace, so that its process ids mean nothing here.
    pub foreign_pids: bool,
    /// Whether the caller may only read what belongs to `uid`. A reader with uid 0 does not see
    /// other users' details, as root itself does.
    pub is_reader: bool,
}

impl Caller {
    /// Returns a caller of which only the uid is known.
    pub const fn user(uid: u32) -> Self {
        Self {
            uid,
            pid: None,
            elsewhere: false,
            foreign_pids: false,
            is_reader: false,
        }
    }

    /// Returns the other end of a connection, as the kernel names it. The pid 0 is a process of a pid
    /// namespace that is hidden from here.
    pub fn peer(uid: u32, pid: Option<u32>, place_of: impl FnOnce(u32) -> Place) -> Self {
        let pid = pid.filter(|pid| *pid != 0);
        let place = pid.map(place_of);
        Self {
            pid,
            elsewhere: place.is_some_and(|place| !place.is_here),
            foreign_pids: !place.is_some_and(|place| place.shares_pids),
            ..Self::user(uid)
        }
    }

    /// Returns a reader, which sees what belongs to `uid` and changes nothing.
    pub const fn reader(uid: u32) -> Self {
        Self {
            is_reader: true,
            ..Self::user(uid)
        }
    }

    /// Whether the caller may see and change what belongs to `uid`.
    pub const fn may_act_for(&self, uid: u32) -> bool {
        self.uid == uid || self.sees_all_users()
    }

    /// Whether the caller may see and change what belongs to any user.
    pub const fn sees_all_users(&self) -> bool {
        self.uid == 0 && !self.is_reader
    }

    /// Whether the caller may see names whose user is not known. An unprivileged service only ever
    /// learns names of its own user.
    pub fn sees_unknown_users(&self) -> bool {
        let own = self.uid != 0 && self.uid == rustix::process::geteuid().as_raw();
        own || self.sees_all_users()
    }
}

/// The role in which this process runs the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A service: it keeps holds and watches owners.
    Serving,
    /// A command that allocates by itself because no service runs. It keeps nothing after it exits.
    Embedded,
}
