//! Identities of living processes: a client that asks often is looked at once a second.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Directory, Place, ProcessError, open_pidfd, owner_in};
use crate::domain::lease::{BootTime, Owner};

/// Time for which an identity is used again. `exec` changes the name and the user of a process, and
/// `setns` its network namespace, without an event.
const FRESH: Duration = Duration::from_secs(1);

/// Maximum number of identities, each of which keeps a pidfd open.
const MOST: usize = 32;

/// A process and its place, as it was a moment ago.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The process as an owner.
    pub owner: Owner,
    /// Its namespaces.
    pub place: Place,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    /// Becomes readable when the process ends: as long as it is not, no other process has the pid
    /// (`pidfd_open(2)`).
    pidfd: OwnedFd,
    read_at: BootTime,
}

/// Identities that were read within the last second.
#[derive(Debug, Default)]
pub struct Identities(Mutex<HashMap<u32, Known>>);

impl Identities {
    /// Returns the identity of a living process, read at most a second before `now`.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] for a process that has ended, zombies too; another one if it cannot be read.
    pub fn of(&self, pid: u32, now: BootTime) -> Result<Identity, ProcessError> {
        if let Some(known) = self.known().get(&pid)
            && now.since(known.read_at) < FRESH
            && !has_ended(&known.pidfd)
        {
            return Ok(known.identity.clone());
        }
        let known = Known::read(pid, now)?;
        let identity = known.identity.clone();
        let mut all = self.known();
        if all.len() >= MOST {
            all.retain(|_, known| now.since(known.read_at) < FRESH && !has_ended(&known.pidfd));
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(pid, known);
        Ok(identity)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, Known>> {
        // No change of the map can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Reads a process. The pidfd is opened first: if the process lives afterwards, all that was read is
    /// its own.
    fn read(pid: u32, now: BootTime) -> Result<Self, ProcessError> {
        let pidfd = open_pidfd(pid)?;
        let owner = owner_in(&Directory::open(pid)?)?;
        let place = Place::of(pid);
        if has_ended(&pidfd) {
            return Err(ProcessError::Gone(pid));
        }
        Ok(Self {
            identity: Identity { owner, place },
            pidfd,
            read_at: now,
        })
    }
}

/// Whether the process of a pidfd has ended; `true` if the kernel does not tell.
fn has_ended(pidfd: &impl AsFd) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&at_once));
    ready != Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::host::clock::Clock;

    #[test]
    fn identity_is_read_once_a_second() {
        let (identities, clock) = (Identities::default(), Clock::manual());
        // It becomes another program when it has read a line.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "read line; exec sleep 600"])
            .stdin(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let pid = child.id();
        let name = || identities.of(pid, clock.boot()).unwrap().owner.command;
        while name() != "sh" {
            clock.advance(FRESH);
        }
        stdin.write_all(b"now\n").unwrap();
        while super::super::command(pid).unwrap() != "sleep" {
            std::thread::yield_now();
        }
        clock.advance(FRESH.saturating_sub(Duration::from_millis(1)));
        assert_eq!(name(), "sh");
        clock.advance(Duration::from_millis(1));
        assert_eq!(name(), "sleep");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn process_that_ended_is_gone_within_the_second() {
        let (identities, now) = (Identities::default(), Clock::manual().boot());
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let known = identities.of(child.id(), now).unwrap();
        assert_eq!(known.owner.pid, child.id());
        child.kill().unwrap();
        let pidfd = open_pidfd(child.id()).unwrap();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        // A zombie serves nothing.
        assert!(matches!(
            identities.of(child.id(), now),
            Err(ProcessError::Gone(_))
        ));
        child.wait().unwrap();
        assert!(matches!(
            identities.of(child.id(), now),
            Err(ProcessError::Gone(_))
        ));
    }

    #[test]
    fn few_identities_are_kept() {
        let (identities, now) = (Identities::default(), Clock::manual().boot());
        let mut children: Vec<_> = (0..=MOST)
            .map(|_| Command::new("sleep").arg("600").spawn().unwrap())
            .collect();
        for child in &children {
            identities.of(child.id(), now).unwrap();
            assert!(identities.known().len() <= MOST);
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
