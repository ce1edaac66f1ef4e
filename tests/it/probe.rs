//! Looking from outside: what the kernel lets another process bind, and waiting for what has no
//! event.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Looks again and again until there is something, and fails after some twenty seconds.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came: {what}");
}

/// How somebody tries to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Without any option: refused if anything at all is on the port.
    Strictly,
    /// With SO_REUSEADDR, as most servers do: let in by an open gate only.
    AsServersDo,
}

/// Binds and lets go again, as a process that is not the service.
pub fn bind(ip: IpAddr, port: u16, how: How) -> io::Result<()> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(how == How::AsServersDo)?;
    socket.bind(&address.into())?;
    match how {
        How::Strictly => Ok(()),
        How::AsServersDo => socket.listen(1),
    }
}

/// The addresses that a lease on `any` must be refused on: wildcards and loopbacks.
pub const EVERYWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Whether strict binds are refused on every address, as they are while a lease on `any` lives.
pub fn is_kept(port: u16) -> bool {
    EVERYWHERE.iter().all(|ip| is_refused(*ip, port))
}

/// Whether strict binds succeed on every address.
pub fn is_free(port: u16) -> bool {
    EVERYWHERE.iter().all(|ip| !is_refused(*ip, port))
}

fn is_refused(ip: IpAddr, port: u16) -> bool {
    match bind(ip, port, How::Strictly) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => true,
        Err(error) => panic!("binding {ip} port {port}: {error}"),
    }
}
