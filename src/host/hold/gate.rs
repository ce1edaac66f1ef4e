//! The gate of a hold: opened and shut, and listeners that are made in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};

use socket2::Socket;

use super::socket::{bind_beside, bind_dual, listen_in_gate, outcome_of, receive_in_gate, share};
use super::{BACKLOG, Hold, attempt, inodes};
use crate::domain::address::{BindAddress, Family};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::port::Protocol;
use crate::host::clock::Clock;

/// Listeners for an owner that will be given sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// One dual-stack socket for both wildcards, else one for each address: many programs take one
    /// socket alone, and would leave the clients of the other family without an answer.
    #[default]
    One,
    /// One for each address.
    Each,
}

impl Hold {
    /// Opens the gate: from now on servers that set SO_REUSEADDR bind and listen beside the hold. For UDP
    /// it must be one that [`Self::stays_beneath`].
    pub fn open_gate(&self) -> io::Result<()> {
        self.set_gate(true)
    }

    /// Shuts the gate: from now on every bind is refused, even with SO_REUSEADDR. Returns whether a
    /// socket listens beside the hold.
    pub fn shut_gate(&self) -> io::Result<bool> {
        let listened_on = self.is_listened_beside()?;
        self.set_gate(false)?;
        Ok(listened_on)
    }

    /// Whether a socket listens beside the hold: a bind beside an open gate is refused only then. The
    /// gate stays open after it.
    ///
    /// The bind has a second use. If an owner used SO_REUSEPORT, the kernel keeps its permission for the
    /// whole port number (`tb->fastreuseport`) and would let SO_REUSEPORT of the same user in past a
    /// shut gate. A bind without SO_REUSEPORT that succeeds clears it. Beside an open gate such a bind
    /// works on a held address itself, wildcards included, so it needs no address that does not overlap.
    ///
    /// For UDP no bind tells, since sockets that share a port all do, and nothing has to be cleared: yes
    /// if the gate is open, so that the caller looks at the kernel's tables.
    pub fn is_listened_beside(&self) -> io::Result<bool> {
        if self.protocol == Protocol::Udp {
            return self.is_open();
        }
        self.set_gate(true)?;
        let is_refused = |bound: io::Result<Socket>| {
            bound.is_err_and(|error| outcome_of(&error) == Outcome::InUse)
        };
        if self.is_dual() {
            return Ok(is_refused(bind_dual(self.port)));
        }
        let beside = |(address, _): &(BindAddress, Socket)| bind_beside(address, self.port);
        let refused = self.sockets.iter().map(|held| is_refused(beside(held)));
        // Each address: the first listener is not all that matters.
        Ok(refused.fold(false, |any, one| any | one))
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

    /// Listens beside the hold on its addresses, for an owner that will be given the sockets; listeners
    /// of another shape that wait already are closed. For UDP they receive as soon as they are bound. The
    /// gate of an address is open for these three calls; a process that gets in meanwhile is found here,
    /// before the port is told, or for UDP by the next look at the port.
    pub fn prepare_listeners(&self, clock: &Clock, shape: Shape) -> Result<(), Box<Attempt>> {
        drop(self.take_listeners());
        if self.takes_one(shape) {
            return self.prepare_dual(clock);
        }
        let mut prepared = Vec::with_capacity(self.sockets.len());
        for (address, socket) in &self.sockets {
            let start = clock.boot();
            let listening = match self.protocol {
                Protocol::Tcp => listen_in_gate(socket, address, self.port),
                Protocol::Udp => receive_in_gate(socket, address, self.port),
            };
            match listening {
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

    fn takes_one(&self, shape: Shape) -> bool {
        shape == Shape::One && self.is_dual()
    }

    /// Whether it is on both wildcards, so that one socket can be beside all of it. A program for UDP
    /// has to know the family of its socket, to learn and set addresses of datagrams.
    fn is_dual(&self) -> bool {
        self.protocol == Protocol::Tcp
            && self.sockets.len() == 2
            && self
                .sockets
                .iter()
                .all(|(address, _)| address.is_wildcard())
    }

    fn prepare_dual(&self, clock: &Clock) -> Result<(), Box<Attempt>> {
        let start = clock.boot();
        let listening = self.set_gate(true).and_then(|()| {
            let socket = bind_dual(self.port)?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        });
        let shut = self.set_gate(false);
        match listening.and_then(|listener| shut.map(|()| listener)) {
            Ok(listener) => {
                *self.prepared() = vec![listener.into()];
                Ok(())
            }
            Err(error) => {
                let (outcome, errno) = (outcome_of(&error), error.raw_os_error());
                let any = BindAddress::wildcard(Family::Ipv6);
                let place = (&any, self.protocol, self.port);
                Err(Box::new(attempt(place, outcome, errno, clock, start)))
            }
        }
    }

    /// Whether listeners of this shape wait to be given.
    pub fn has_listeners(&self, shape: Shape) -> bool {
        let wanted = if self.takes_one(shape) {
            1
        } else {
            self.sockets.len()
        };
        self.prepared().len() == wanted
    }

    /// Inodes of the prepared listeners, by which socket tables name them.
    pub fn listener_inodes(&self) -> Vec<u64> {
        inodes(self.prepared().iter())
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
            share(socket, self.protocol, open)?;
        }
        Ok(())
    }
}
