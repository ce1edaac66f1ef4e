//! The hold: bound sockets that never listen, and their gate.
//!
//! The facts behind it (Linux, seen on 6.18): a bind without SO_REUSEADDR is refused if anything
//! at all is on the port; a bound socket keeps `bind(0)`, `connect()` and strict binders out for as
//! long as it lives; SO_REUSEADDR can be switched on it at any time, and lets others with
//! SO_REUSEADDR in only while it is on. `tests` below check each of them on the running kernel.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, Socket, Type};
use tracing::Span;

use super::clock::Clock;
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::port::{Port, Protocol};
use crate::telemetry::span;

/// How many connections may wait to be accepted on listeners that portbook makes; the kernel takes
/// no more than `net.core.somaxconn` (`listen(2)`).
pub const BACKLOG: i32 = 1024;

/// One port number, bound on every address of a group.
#[derive(Debug)]
pub struct Hold {
    protocol: Protocol,
    port: Port,
    sockets: Vec<(BindAddress, Socket)>,
    /// Listeners that wait to be given to an owner; none once it has them.
    prepared: Mutex<Vec<OwnedFd>>,
    /// Under which name the supervisor keeps copies of the sockets, where it had them before.
    stored_as: Option<Arc<str>>,
}

/// How a hold is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Refused if anything at all is on the port: the bind is the check and the lock in one.
    Strictly,
    /// Past lingering connections, with SO_REUSEADDR for the moment of the bind. Two such takers
    /// would both succeed, so the caller must hold the data directory's lock and look again.
    PastLingering,
}

impl Hold {
    /// Binds `port` on every address of `group`. Stops at the first that is refused, lets go of
    /// the others and gives that attempt's outcome. `note` gets each attempt within its span, so
    /// that it can add who was in the way.
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
            let (outcome, errno) = match &bound {
                Ok(_) if how == Take::PastLingering => (Outcome::Lingering, None),
                Ok(_) => (Outcome::Bound, None),
                Err(error) => (outcome_of(error), error.raw_os_error()),
            };
            let attempt = Attempt {
                at: clock.now(),
                address: address.clone(),
                protocol,
                port,
                outcome,
                errno,
                duration: clock.boot().since(start),
                occupant: None,
                span_id: None,
            };
            note(attempt, &span);
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

    /// A hold made of sockets that this process was given; none unless each address has its own.
    /// The gate is as it was left.
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
            let (name, socket) = given.bound.remove(&(protocol, at(address)))?;
            stored_as = name.or_else(|| stored_as.take());
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

    /// Under which name the supervisor keeps copies of the sockets, where it had them before this
    /// process began.
    pub fn stored_as(&self) -> Option<&Arc<str>> {
        self.stored_as.as_ref()
    }

    /// A hold on those of a group's addresses that can be had; none if none can. The others have
    /// somebody of their own on them: an owner's listener, say, that covers one family alone.
    /// `take` takes one address.
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

    /// Whether it holds every address of its lease.
    pub fn is_complete(&self, group: &AddressGroup) -> bool {
        self.sockets.len() == group.addresses().len()
    }

    /// Whether it holds this address.
    pub fn has(&self, address: &BindAddress) -> bool {
        self.sockets.iter().any(|(held, _)| held == address)
    }

    /// This hold and another part of it, as one that can stand in its place.
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

    /// The port.
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The inodes of its sockets, by which socket tables name them.
    pub fn inodes(&self) -> impl Iterator<Item = u64> {
        let stat = |socket| rustix::fs::fstat(socket).ok();
        self.descriptors().filter_map(stat).map(|stat| stat.st_ino)
    }

    /// How many descriptors it keeps open.
    pub fn descriptor_count(&self) -> usize {
        self.sockets.len()
    }

    /// Opens the gate: from now on servers that set SO_REUSEADDR bind and listen beside the hold.
    pub fn open_gate(&self) -> io::Result<()> {
        self.set_gate(true)
    }

    /// Shuts the gate: from now on nobody binds, not even with SO_REUSEADDR.
    ///
    /// If an owner used SO_REUSEPORT, the kernel keeps its permission for the whole port number
    /// (`tb->fastreuseport`) and would let SO_REUSEPORT of the same user in past a shut gate. A
    /// bind without SO_REUSEPORT that succeeds clears it. Beside an open gate such a bind works on
    /// a held address itself, wildcards included, where no address is left that does not overlap.
    ///
    /// Beside an open gate it is refused only while somebody listens there, so it also finds out
    /// whether anybody does: that is what this returns.
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

    /// Whether the gate of any of its sockets is open.
    pub fn is_open(&self) -> io::Result<bool> {
        for (_, socket) in &self.sockets {
            if socket.reuse_address()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Listens beside the hold on each of its addresses, for an owner that is to be given the
    /// sockets. The gate of an address is open for these three calls; whoever gets in before is
    /// found out here, before anybody is told the port.
    pub fn prepare_listeners(&self, clock: &Clock) -> Result<(), Box<Attempt>> {
        let mut prepared = Vec::with_capacity(self.sockets.len());
        for (address, socket) in &self.sockets {
            let start = clock.boot();
            match listen_in_gate(socket, address, self.port) {
                Ok(listener) => prepared.push(listener.into()),
                Err(error) => {
                    return Err(Box::new(Attempt {
                        at: clock.now(),
                        address: address.clone(),
                        protocol: self.protocol,
                        port: self.port,
                        outcome: outcome_of(&error),
                        errno: error.raw_os_error(),
                        duration: clock.boot().since(start),
                        occupant: None,
                        span_id: None,
                    }));
                }
            }
        }
        *self.prepared() = prepared;
        Ok(())
    }

    /// Whether listeners wait to be given away.
    pub fn has_listeners(&self) -> bool {
        !self.prepared().is_empty()
    }

    /// Gives the listeners away that were prepared; nobody here keeps a copy.
    pub fn take_listeners(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.prepared())
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, Vec<OwnedFd>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_gate(&self, open: bool) -> io::Result<()> {
        for (_, socket) in &self.sockets {
            socket.set_reuse_address(open)?;
        }
        Ok(())
    }

    /// Turns the hold itself into listeners: no window at all, for the one owner that is portbook.
    ///
    /// SO_REUSEADDR comes on once it listens, when it lets nobody in any more: connections inherit
    /// it, and what they leave behind then does not keep the next start from the port.
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

    /// Gives the descriptors away; whoever gets them decides when the port is free.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        let sockets = self.sockets.into_iter();
        sockets.map(|(_, socket)| socket.into()).collect()
    }

    /// Its sockets, to be passed on beside it.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }
}

/// A socket with the name that a supervisor keeps it under.
type Stored = (Option<Arc<str>>, Socket);

/// Bound sockets that this process was given, by a supervisor that kept them or by the service
/// that it takes over from. Which lease each belongs to, its own address tells.
#[derive(Debug, Default)]
pub struct GivenSockets {
    bound: HashMap<(Protocol, SocketAddr), Stored>,
    /// Names of sockets that are no holds.
    others: Vec<Arc<str>>,
}

impl GivenSockets {
    /// Adds a socket, with the name that a supervisor keeps it under. What is no bound internet
    /// socket, or listens, is closed: it is no hold.
    pub fn add(&mut self, name: Option<Arc<str>>, descriptor: OwnedFd) {
        let socket = Socket::from(descriptor);
        match bound_to(&socket) {
            Some(bound) => drop(self.bound.insert(bound, (name, socket))),
            None => self.others.extend(name),
        }
    }

    fn has(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.bound.contains_key(&(protocol, address))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bound.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bound.is_empty()
    }

    /// The names of those that a supervisor keeps.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let names = self.bound.values().filter_map(|(name, _)| name.as_ref());
        names.chain(&self.others)
    }
}

/// Where a socket is bound that could be of a hold.
fn bound_to(socket: &Socket) -> Option<(Protocol, SocketAddr)> {
    let protocol = match socket.r#type() {
        Ok(Type::STREAM) => Protocol::Tcp,
        Ok(Type::DGRAM) => Protocol::Udp,
        _ => return None,
    };
    let address = socket.local_addr().ok()?.as_socket()?;
    let holds = address.port() != 0 && !socket.is_listener().unwrap_or(true);
    holds.then_some((protocol, address))
}

fn socket_for(address: &BindAddress, protocol: Protocol) -> io::Result<Socket> {
    let domain = match address.family() {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
    };
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(domain, kind, None)?;
    if domain == Domain::IPV6 {
        // The default is the administrator's (net.ipv6.bindv6only), so it is always said.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind(how: Take, address: &BindAddress, protocol: Protocol, port: Port) -> io::Result<Socket> {
    let socket = socket_for(address, protocol)?;
    let at = address.socket_addr(port).into();
    match how {
        Take::Strictly => socket.bind(&at)?,
        Take::PastLingering => {
            socket.set_reuse_address(true)?;
            socket.bind(&at)?;
            socket.set_reuse_address(false)?;
        }
    }
    Ok(socket)
}

fn bind_beside(address: &BindAddress, port: Port) -> io::Result<Socket> {
    let socket = socket_for(address, Protocol::Tcp)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.socket_addr(port).into())?;
    Ok(socket)
}

/// Listens beside one held socket, whose gate is open for no longer than that takes.
fn listen_in_gate(held: &Socket, address: &BindAddress, port: Port) -> io::Result<Socket> {
    held.set_reuse_address(true)?;
    let listening = bind_beside(address, port).and_then(|socket| {
        socket.listen(BACKLOG)?;
        Ok(socket)
    });
    held.set_reuse_address(false)?;
    listening
}

/// What an error of `socket(2)` or `bind(2)` means for the candidate.
fn outcome_of(error: &io::Error) -> Outcome {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) => Outcome::InUse,
        Some(Errno::ACCESS | Errno::PERM) => Outcome::NotPermitted,
        // ENODEV: the interface of a link-local address has gone.
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT | Errno::NODEV) => {
            Outcome::AddressNotAvailable
        }
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod facts;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    /// A hold on a port that the kernel chose, by taking what `bind(0)` gives.
    pub(super) fn hold_on(group: &AddressGroup) -> Hold {
        for _ in 0..100 {
            let probe = socket_for(&group.addresses()[0], Protocol::Tcp).unwrap();
            let ip = group.addresses()[0].ip;
            probe
                .bind(&std::net::SocketAddr::from((ip, 0)).into())
                .unwrap();
            let port = probe.local_addr().unwrap().as_socket().unwrap().port();
            drop(probe);
            let port = Port::new(port).unwrap();
            if let Ok(hold) = take(group, port) {
                return hold;
            }
        }
        panic!("no port could be held in 100 tries");
    }

    pub(super) fn take(group: &AddressGroup, port: Port) -> Result<Hold, Outcome> {
        let clock = Clock::system();
        Hold::take(
            Take::Strictly,
            group,
            Protocol::Tcp,
            port,
            &clock,
            &mut |_, _| {},
        )
    }

    pub(super) fn on(ip: &str) -> BindAddress {
        BindAddress {
            interface: "lo".into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        }
    }

    pub(super) fn loopback() -> AddressGroup {
        AddressGroup::new([on("127.0.0.1")])
    }

    pub(super) fn wildcards() -> AddressGroup {
        AddressGroup::new([on("0.0.0.0"), on("::")])
    }

    /// A listener as most servers make one; `std` sets SO_REUSEADDR.
    pub(super) fn serve(port: Port) -> io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.get()))
    }

    /// A listener of the kind that spreads connections over processes.
    fn serve_reuseport(port: Port) -> io::Result<Socket> {
        let socket = socket_for(&on("127.0.0.1"), Protocol::Tcp)?;
        socket.set_reuse_port(true)?;
        socket.bind(&on("127.0.0.1").socket_addr(port).into())?;
        socket.listen(1)?;
        Ok(socket)
    }

    #[test]
    fn a_shut_gate_keeps_everybody_out() {
        let hold = hold_on(&loopback());
        assert_eq!(take(&loopback(), hold.port()).unwrap_err(), Outcome::InUse);
        assert!(serve(hold.port()).is_err());
        drop(hold);
    }

    #[test]
    fn an_open_gate_lets_the_owner_in_and_strict_binders_not() {
        for group in [loopback(), wildcards()] {
            let hold = hold_on(&group);
            hold.open_gate().unwrap();
            assert_eq!(take(&group, hold.port()).unwrap_err(), Outcome::InUse);
            let owner = serve(hold.port()).unwrap();
            assert!(serve(hold.port()).is_err(), "a second listener came in");
            TcpStream::connect(owner.local_addr().unwrap()).unwrap();
            owner.accept().unwrap();
            drop(owner);
            serve(hold.port()).expect("the owner could not restart past TIME_WAIT");
        }
    }

    #[test]
    fn shutting_ends_the_permission_that_reuseport_left_behind() {
        for group in [loopback(), wildcards()] {
            let hold = hold_on(&group);
            hold.open_gate().unwrap();
            // Both options: REUSEADDR to pass the gate, REUSEPORT to leave its permission.
            let owner = socket_for(&on("127.0.0.1"), Protocol::Tcp).unwrap();
            owner.set_reuse_address(true).unwrap();
            owner.set_reuse_port(true).unwrap();
            owner
                .bind(&on("127.0.0.1").socket_addr(hold.port()).into())
                .unwrap();
            owner.listen(1).unwrap();
            drop(owner);
            hold.set_gate(false).unwrap();
            assert!(
                serve_reuseport(hold.port()).is_ok(),
                "the kernel no longer needs the throwaway bind"
            );
            hold.shut_gate().unwrap();
            assert!(serve_reuseport(hold.port()).is_err());
        }
    }

    #[test]
    fn a_hold_goes_past_what_a_closed_connection_leaves() {
        let port = hold_on(&loopback()).port();
        let owner = serve(port).unwrap();
        let client = TcpStream::connect(owner.local_addr().unwrap()).unwrap();
        let (accepted, _) = owner.accept().unwrap();
        drop((accepted, client, owner));
        assert_eq!(take(&loopback(), port).unwrap_err(), Outcome::InUse);
        let clock = Clock::system();
        let mut attempts = Vec::new();
        let how = Take::PastLingering;
        let hold = Hold::take(
            how,
            &loopback(),
            Protocol::Tcp,
            port,
            &clock,
            &mut |attempt, _| attempts.push(attempt),
        )
        .unwrap();
        assert_eq!(attempts[0].outcome, Outcome::Lingering);
        assert!(serve(port).is_err(), "the re-taken hold left a hole");
        drop(hold);
    }

    #[test]
    fn the_first_refusal_lets_go_of_the_rest() {
        let both = AddressGroup::new([on("127.0.0.1"), on("127.0.0.2")]);
        let other = hold_on(&AddressGroup::new([on("127.0.0.2")]));
        let clock = Clock::system();
        let mut attempts = Vec::new();
        let how = Take::Strictly;
        let port = other.port();
        let refused = Hold::take(
            how,
            &both,
            Protocol::Tcp,
            port,
            &clock,
            &mut |attempt, _| attempts.push(attempt),
        );
        assert_eq!(refused.unwrap_err(), Outcome::InUse);
        let outcomes: Vec<Outcome> = attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [Outcome::Bound, Outcome::InUse]);
        take(&loopback(), port).expect("127.0.0.1 was not let go");
    }

    #[test]
    fn an_address_that_the_host_lacks_is_no_busy_port() {
        let group = AddressGroup::new([on("198.51.100.254")]);
        let refused = take(&group, Port::new(20000).unwrap());
        assert_eq!(refused.unwrap_err(), Outcome::AddressNotAvailable);
    }

    #[test]
    fn a_hold_becomes_the_listener() {
        let hold = hold_on(&loopback());
        let port = hold.port();
        let listeners = hold.into_listeners().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port.get())).unwrap();
        assert_eq!(listeners.len(), 1);
    }
}
