//! The interfaces as last read, and the netlink sockets that report changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::{InterfaceError, Snapshot, read};

/// Links, IPv4 addresses and IPv6 addresses: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and
/// RTMGRP_IPV6_IFADDR of `rtnetlink(7)`.
const CHANGES: u32 = 0x1 | 0x10 | 0x100;

/// The host's interfaces, read again only after the kernel reported a change.
///
/// A call without a change costs one `recv(2)` that returns EAGAIN.
#[derive(Debug)]
pub struct Interfaces(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None` if the kernel grants no such socket; then every call reads the interfaces.
    changes: Option<ChangeSocket>,
    last: Option<Arc<Snapshot>>,
}

impl Interfaces {
    /// Subscribes to changes. It reads nothing yet, and never fails: without the subscription every
    /// call reads the interfaces.
    pub fn open() -> Self {
        let changes = ChangeSocket::open().inspect_err(|error| {
            tracing::debug!(%error, "could not subscribe to interface changes; every call reads the interfaces");
        });
        Self(Mutex::new(State {
            changes: changes.ok(),
            last: None,
        }))
    }

    pub fn current(&self) -> Result<Arc<Snapshot>, InterfaceError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Drained before reading, so that a change in between is reported again.
        let changed = state.changes.as_ref().is_none_or(ChangeSocket::drain);
        if changed {
            state.last = None;
        }
        if let Some(last) = &state.last {
            return Ok(Arc::clone(last));
        }
        let fresh = Arc::new(read::snapshot()?);
        state.last = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// Makes a socket to wait on for interface changes, apart from the one that [`Interfaces`] drains.
/// It is readable after a change; [`ChangeSocket::drain`] it, then look.
pub fn watch() -> io::Result<ChangeSocket> {
    ChangeSocket::open()
}

/// A non-blocking netlink socket that is readable after an interface or address changed.
#[derive(Debug)]
pub struct ChangeSocket(OwnedFd);

impl ChangeSocket {
    fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, CHANGES))?;
        Ok(Self(socket))
    }

    /// Reads all messages, and returns whether there were any. Their content does not matter, so
    /// they may be cut short; ENOBUFS means lost messages (`netlink(7)`).
    pub fn drain(&self) -> bool {
        let mut changed = false;
        let mut message = [0u8; 64];
        loop {
            match recv(&self.0, &mut message[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS) => changed = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return changed,
                // A socket that has failed must not pass for "unchanged".
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for ChangeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ChangeSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a cache whose news come from the far end of a socket pair instead of the kernel.
    fn cache_with_news() -> (Interfaces, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
        let state = State {
            changes: Some(ChangeSocket(near)),
            last: None,
        };
        (Interfaces(Mutex::new(state)), far)
    }

    #[test]
    fn interfaces_are_read_again_only_after_news() {
        let (interfaces, kernel) = cache_with_news();
        let first = interfaces.current().unwrap();
        assert!(Arc::ptr_eq(&first, &interfaces.current().unwrap()));
        rustix::io::write(&kernel, &[7; 500]).unwrap();
        rustix::io::write(&kernel, b"another").unwrap();
        let second = interfaces.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &interfaces.current().unwrap()));
    }

    #[test]
    fn without_news_every_call_reads() {
        let state = State {
            changes: None,
            last: None,
        };
        let interfaces = Interfaces(Mutex::new(state));
        let first = interfaces.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &interfaces.current().unwrap()));
    }

    #[test]
    fn the_kernel_grants_a_subscription() {
        let socket = watch().unwrap();
        socket.drain();
        assert!(socket.as_raw_fd() >= 0);
        assert!(Interfaces::open().0.lock().unwrap().changes.is_some());
    }
}
