//! The gate of a hold: opened and shut, and listeners that are made in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};

use super::socket::{bind_beside, listen_in_gate, outcome_of};
use super::{Hold, attempt};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::port::Protocol;
use crate::host::clock::Clock;

impl Hold {
    /// Opens the gate: from now on servers that set SO_REUSEADDR bind and listen beside the hold.
    pub fn open_gate(&self) -> io::Result<()> {
        self.set_gate(true)
    }

    /// Shuts the gate: from now on every bind is refused, even with SO_REUSEADDR.
    ///
    /// If an owner used SO_REUSEPORT, the kernel keeps its permission for the whole port number
    /// (`tb->fastreuseport`) and would let SO_REUSEPORT of the same user in past a shut gate. A
    /// bind without SO_REUSEPORT that succeeds clears it. Beside an open gate such a bind works on
    /// a held address itself, wildcards included, so it needs no address that does not overlap.
    ///
    /// Beside an open gate that bind is refused only while a socket listens there. The result tells
    /// whether one does.
    pub fn shut_gate(&self) -> io::Result<bool> {
        let mut listened_on = false;
        if self.protocol == Protocol::Tcp {
            self.set_gate(true)?;
            for (address, _) in &self.sockets {
                let beside = bind_beside(address, self.port);
                listened_on |= beside.is_err_and(|error| outcome_of(&error) == Outcome::InUse);
            }
        }
        self.set_gate(false)?;
        Ok(listened_on)
    }

    /// Whether the gate of one of its sockets is open.
    pub fn is_open(&self) -> io::Result<bool> {
        for (_, socket) in &self.sockets {
            if socket.reuse_address()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Listens beside the hold on each of its addresses, for an owner that will be given the
    /// sockets. The gate of an address is open for these three calls; a process that gets in
    /// meanwhile is found here, before the port is told.
    pub fn prepare_listeners(&self, clock: &Clock) -> Result<(), Box<Attempt>> {
        let mut prepared = Vec::with_capacity(self.sockets.len());
        for (address, socket) in &self.sockets {
            let start = clock.boot();
            match listen_in_gate(socket, address, self.port) {
                Ok(listener) => prepared.push(listener.into()),
                Err(error) => {
                    let (outcome, errno) = (outcome_of(&error), error.raw_os_error());
                    let place = (address, self.protocol, self.port);
                    return Err(Box::new(attempt(place, outcome, errno, clock, start)));
                }
            }
        }
        *self.prepared() = prepared;
        Ok(())
    }

    pub fn has_listeners(&self) -> bool {
        !self.prepared().is_empty()
    }

    /// Gives the prepared listeners away, and keeps no copy.
    pub fn take_listeners(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.prepared())
    }

    fn prepared(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_gate(&self, open: bool) -> io::Result<()> {
        for (_, socket) in &self.sockets {
            socket.set_reuse_address(open)?;
        }
        Ok(())
    }
}
