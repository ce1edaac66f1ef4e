//! The system calls of a hold: sockets, binds, and what their errors mean.

use std::io;

use socket2::{Domain, Socket, Type};

use super::{BACKLOG, Take};
use crate::domain::address::{BindAddress, Family};
use crate::domain::attempt::Outcome;
use crate::domain::port::{Port, Protocol};

/// Makes a socket for an address, not bound yet.
pub(super) fn socket_for(address: &BindAddress, protocol: Protocol) -> io::Result<Socket> {
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
        // The default is the administrator's (net.ipv6.bindv6only), so it is always set.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Binds a socket of a hold: it lets no other in beside it.
pub(super) fn bind(
    how: Take,
    address: &BindAddress,
    protocol: Protocol,
    port: Port,
) -> io::Result<Socket> {
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

/// Binds a socket beside a hold whose gate is open.
pub(super) fn bind_beside(address: &BindAddress, port: Port) -> io::Result<Socket> {
    let socket = socket_for(address, Protocol::Tcp)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.socket_addr(port).into())?;
    Ok(socket)
}

/// Listens beside one held socket, whose gate is open for these calls alone.
pub(super) fn listen_in_gate(
    held: &Socket,
    address: &BindAddress,
    port: Port,
) -> io::Result<Socket> {
    held.set_reuse_address(true)?;
    let listening = bind_beside(address, port).and_then(|socket| {
        socket.listen(BACKLOG)?;
        Ok(socket)
    });
    held.set_reuse_address(false)?;
    listening
}

/// Outcome for a candidate by an error of `socket(2)` or `bind(2)`.
pub(super) fn outcome_of(error: &io::Error) -> Outcome {
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
