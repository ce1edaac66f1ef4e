//! The hold: bound sockets that never listen, and their gate.
//!
//! The facts behind it (Linux, seen on 6.18): a bind without SO_REUSEADDR is refused beside any
//! socket on the port; a bound socket keeps `bind(0)`, `connect()` and strict binders out for as
//! long as it lives; SO_REUSEADDR can be switched on at any time, and lets others with SO_REUSEADDR
//! in only while it is on. `tests` below check each of them on the running kernel. A hold for UDP is tied
//! as well (`tie`), so that it takes no datagram.

mod gate;
mod given;
mod socket;
mod tie;
mod unused;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::Socket;
use tracing::Span;

pub use self::gate::Shape;
pub use self::given::GivenSockets;
use self::socket::{bind, outcome_of};
pub use self::tie::{NO_INTERFACE, can_stay_beneath, obstacle};
use self::tie::{is_tied, tie};
pub use self::unused::is_unused;
use super::clock::Clock;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::lease::BootTime;
use crate::domain::port::{Port, Protocol};
use crate::telemetry::span;

/// Maximum number of connections that wait to be accepted on listeners of portbook; the kernel
/// takes no more than `net.core.somaxconn` (`listen(2)`).
pub const BACKLOG: i32 = 1024;

/// One port number, bound on every address of a group.
#[derive(Debug)]
pub struct Hold {
    protocol: Protocol,
    port: Port,
    sockets: Vec<(BindAddress, Socket)>,
    /// Listeners that wait to be given to an owner; empty once it has them.
    prepared: Mutex<Vec<OwnedFd>>,
    /// Name under which the supervisor keeps copies of the sockets, if it had them before.
    stored_as: Option<Arc<str>>,
}

/// Ways to take a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Refused beside any socket on the port: the bind is the check and the lock in one.
    Strictly,
    /// Beside lingering connections too, with SO_REUSEADDR for the moment of the bind. Two such
    /// takers would both succeed, so the caller must hold the data directory's lock and look again.
    PastLingering,
    /// For UDP, beside an owner that shares its port (SO_REUSEADDR or, of this user, SO_REUSEPORT).
    /// [`Self::PastLingering`] says what the caller must do.
    BesideOwner,
}

impl Hold {
    /// Binds `port` on every address of `group`. At the first that is refused it closes the others
    /// and returns the outcome of that attempt. `note` gets each attempt within its span, so that
    /// it can add the occupant.
    pub fn take(
        how: Take,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
        clock: &Clock,
        note: &mut dyn FnMut(Attempt, &Span),
    ) -> Result<Self, Outcome> {
        let mut sockets = Vec::with_capacity(group.addresses().len());
        for address in group.addresses() {
            let span = span::attempt(address, port, protocol);
            let start = clock.boot();
            let bound = bind(how, address, protocol, port);
            let errno = bound.as_ref().err().and_then(io::Error::raw_os_error);
            let outcome = match &bound {
                Ok(_) if how == Take::PastLingering => Outcome::Lingering,
                Ok(_) => Outcome::Bound,
                Err(error) => outcome_of(error),
            };
            let place = (address, protocol, port);
            note(attempt(place, outcome, errno, clock, start), &span);
            match bound {
                Ok(socket) => sockets.push((address.clone(), socket)),
                Err(_) => return Err(outcome),
            }
        }
        Ok(Self {
            protocol,
            port,
            sockets,
            prepared: Mutex::default(),
            stored_as: None,
        })
    }

    /// Makes a hold of sockets that this process was given. `None` unless each address has its own.
    /// The gate is as it was left; for UDP they take no datagram from now on.
    pub fn of_given(
        given: &mut GivenSockets,
        group: &AddressGroup,
        protocol: Protocol,
        port: Port,
    ) -> Option<Self> {
        let at = |address: &BindAddress| address.socket_addr(port);
        let mut addresses = group.addresses().iter();
        if !addresses.all(|address| given.has(protocol, at(address))) {
            return None;
        }
        let mut stored_as = None;
        let mut take = |address: &BindAddress| {
            let (name, socket) = given.take(protocol, at(address))?;
            stored_as = name.or_else(|| stored_as.take());
            if protocol == Protocol::Udp {
                // A service of an earlier version left it untied. It holds the port either way.
                let _ = tie(&socket, address);
            }
            Some((address.clone(), socket))
        };
        let sockets = group.addresses().iter().filter_map(&mut take).collect();
        Some(Self {
            protocol,
            port,
            sockets,
            prepared: Mutex::default(),
            stored_as,
        })
    }

    /// Name under which the supervisor keeps copies of the sockets, if it had them before this
    /// process began.
    pub fn stored_as(&self) -> Option<&Arc<str>> {
        self.stored_as.as_ref()
    }

    /// Makes a hold on those addresses of a group that are free; `None` if none is. The others may
    /// have a socket of their owner, such as a listener for one family alone. `take` takes one
    /// address.
    pub fn in_part(
        group: &AddressGroup,
        mut take: impl FnMut(&AddressGroup) -> Option<Self>,
    ) -> Option<Self> {
        let addresses = group.addresses().iter();
        let parts = addresses.filter_map(|address| take(&AddressGroup::new([address.clone()])));
        parts.reduce(|mut whole, part| {
            whole.sockets.extend(part.sockets);
            whole
        })
    }

    /// Whether it can stay while its owner has sockets beside it: for UDP if it takes no datagram.
    pub fn stays_beneath(&self) -> bool {
        let mut sockets = self.sockets.iter();
        self.protocol == Protocol::Tcp || sockets.all(|(_, socket)| is_tied(socket))
    }

    pub fn is_complete(&self, group: &AddressGroup) -> bool {
        self.sockets.len() == group.addresses().len()
    }

    pub fn has(&self, address: &BindAddress) -> bool {
        self.sockets.iter().any(|(held, _)| held == address)
    }

    /// Joins this hold and another part of it to one that can replace it.
    pub fn joined_by(&self, part: Self) -> io::Result<Self> {
        let mut sockets = part.sockets;
        for (address, socket) in &self.sockets {
            sockets.push((address.clone(), socket.try_clone()?));
        }
        Ok(Self {
            protocol: self.protocol,
            port: self.port,
            sockets,
            prepared: Mutex::new(self.take_listeners()),
            stored_as: None,
        })
    }

    pub const fn port(&self) -> Port {
        self.port
    }

    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Inodes of its sockets, by which socket tables name them.
    pub fn inodes(&self) -> Vec<u64> {
        inodes(self.descriptors())
    }

    pub fn descriptor_count(&self) -> usize {
        self.sockets.len()
    }

    /// Turns the hold itself into listeners, without a moment between, for the one owner that is
    /// portbook.
    ///
    /// SO_REUSEADDR is set after `listen`, when it lets no other in any more: connections inherit
    /// it, so that those that linger do not keep the next start from the port.
    pub fn into_listeners(self) -> io::Result<Vec<TcpListener>> {
        let listen = |(_, socket): (BindAddress, Socket)| {
            socket.listen(BACKLOG)?;
            socket.set_reuse_address(true)?;
            Ok(TcpListener::from(socket))
        };
        self.sockets.into_iter().map(listen).collect()
    }

    /// Lets the descriptors pass through `exec`, so that the hold lives as long as the program.
    pub fn survive_exec(&self) -> io::Result<()> {
        for (_, socket) in &self.sockets {
            fcntl_setfd(socket, FdFlags::empty())?;
        }
        Ok(())
    }

    /// Gives the descriptors away; the port is free once their receiver closes them.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        let sockets = self.sockets.into_iter();
        sockets.map(|(_, socket)| socket.into()).collect()
    }

    /// Its sockets, to be passed on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }
}

/// Inodes of sockets; those that cannot be read are left out.
pub fn inodes<S: AsFd>(sockets: impl Iterator<Item = S>) -> Vec<u64> {
    let stats = sockets.filter_map(|socket| rustix::fs::fstat(socket).ok());
    stats.map(|stat| stat.st_ino).collect()
}

/// An attempt that began at `start` and ends now.
fn attempt(
    (address, protocol, port): (&BindAddress, Protocol, Port),
    outcome: Outcome,
    errno: Option<i32>,
    clock: &Clock,
    start: BootTime,
) -> Attempt {
    Attempt {
        at: clock.now(),
        address: address.clone(),
        protocol,
        port,
        outcome,
        errno,
        duration: clock.boot().since(start),
        occupant: None,
        span_id: None,
    }
}

#[cfg(test)]
mod facts;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod udp_facts;
