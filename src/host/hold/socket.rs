//! The system calls of a hold: sockets, binds, and what their errors mean.

use std::io;

use socket2::{Domain, Socket, Type};

use super::tie::tie_new;
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

/// Binds a socket of a hold: it lets no other in beside it, and for UDP takes no datagram.
pub(super) fn bind(
    how: Take,
    address: &BindAddress,
    protocol: Protocol,
    port: Port,
) -> io::Result<Socket> {
    let socket = socket_for(address, protocol)?;
    let at = address.socket_addr(port).into();
    match how {
        Take::Strictly => {
            socket.bind(&at)?;
            if protocol == Protocol::Udp {
                tie_new(&socket, address)?;
            }
        }
        Take::PastLingering => {
            share(&socket, protocol, true)?;
            socket.bind(&at)?;
            share(&socket, protocol, false)?;
        }
        Take::BesideOwner => {
            // Before it is bound: from then on the owner alone receives.
            tie_new(&socket, address)?;
            share(&socket, protocol, true)?;
            socket.bind(&at)?;
            share(&socket, protocol, false)?;
        }
    }
    Ok(socket)
}

/// Makes a socket share its port, or not: with sockets that set SO_REUSEADDR too, and for UDP with those
/// of this user that set SO_REUSEPORT. For TCP the kernel would remember the latter (`gate`).
pub(super) fn share(socket: &Socket, protocol: Protocol, shares: bool) -> io::Result<()> {
    socket.set_reuse_address(shares)?;
    if protocol == Protocol::Udp {
        socket.set_reuse_port(shares)?;
    }
    Ok(())
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

/// Binds a socket for UDP beside one tied socket, which shares the port for this call alone: with this
/// user's sockets that set SO_REUSEPORT, of which there are fewer than of those that set SO_REUSEADDR.
pub(super) fn receive_in_gate(
    held: &Socket,
    address: &BindAddress,
    port: Port,
) -> io::Result<Socket> {
    let socket = socket_for(address, Protocol::Udp)?;
    socket.set_reuse_port(true)?;
    held.set_reuse_port(true)?;
    let bound = socket.bind(&address.socket_addr(port).into());
    held.set_reuse_port(false)?;
    bound?;
    socket.set_reuse_port(false)?;
    Ok(socket)
}

/// Binds one dual-stack socket, which takes IPv4 too (`ipv6(7)`), beside holds on both wildcards whose
/// gates are open.
pub(super) fn bind_dual(port: Port) -> io::Result<Socket> {
    let any = BindAddress::wildcard(Family::Ipv6);
    let socket = socket_for(&any, Protocol::Tcp)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&any.socket_addr(port).into())?;
    Ok(socket)
}

/// Binds one dual-stack socket on both wildcards, beside no other socket on the port.
pub(super) fn bind_dual_strictly(protocol: Protocol, port: Port) -> io::Result<Socket> {
    let any = BindAddress::wildcard(Family::Ipv6);
    let socket = socket_for(&any, protocol)?;
    socket.set_only_v6(false)?;
    socket.bind(&any.socket_addr(port).into())?;
    Ok(socket)
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
