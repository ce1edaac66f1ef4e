//! Events of closing sockets: the destroy groups of `sock_diag(7)`, open to every user.
//!
//! Sockets that begin to listen have no such event.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

use crate::domain::port::Port;

/// TCP and UDP over IPv4 (groups 1 and 2), and over IPv6 (3 and 4), as bits (`linux/sock_diag.h`).
const DESTROYED: u32 = 0b1111;

/// Room for a burst: some 10,000 closings.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A non-blocking netlink socket that is readable after a socket for TCP or UDP closed.
#[derive(Debug)]
pub struct ClosingSockets(OwnedFd);

/// Ports of sockets that closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// These; some may be listed twice.
    Ports(Vec<Port>),
    /// More than the kernel could report (ENOBUFS): look at everything again.
    Many,
}

impl ClosingSockets {
    /// Subscribes to the events.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(SOCK_DIAG),
        )?;
        // The administrator may allow less (net.core.rmem_max); after a loss everything is looked
        // at.
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
        bind(&socket, &SocketAddrNetlink::new(0, DESTROYED))?;
        Ok(Self(socket))
    }

    /// Another descriptor of this socket, to wait on.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Reads all events that wait.
    pub fn drain(&self) -> Closed {
        let mut ports = Vec::new();
        let mut many = false;
        let mut message = [0u8; 4096];
        loop {
            match recv(&self.0, &mut message[..], RecvFlags::empty()) {
                Ok((length, _)) => ports.extend(port_of(&message[..length])),
                Err(Errno::NOBUFS) => many = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if many => return Closed::Many,
                Err(Errno::AGAIN) => return Closed::Ports(ports),
                Err(_) => return Closed::Many,
            }
        }
    }
}

fn port_of(bytes: &[u8]) -> Option<Port> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes).ok()?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
            Port::new(response.header.socket_id.source_port)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_listener_that_closes_is_reported() {
        let news = ClosingSockets::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_told(&news, port);
    }

    #[test]
    fn a_udp_socket_that_closes_is_reported() {
        let news = ClosingSockets::open().unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            drop(socket);
            assert_told(&news, port);
        }
    }

    fn assert_told(news: &ClosingSockets, port: u16) {
        let port = Port::new(port).unwrap();
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        for _ in 0..10_000 {
            // Other tests' sockets close as well.
            let descriptor = news.descriptor().unwrap();
            let ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&limit)).unwrap();
            assert!(ready > 0, "the kernel did not tell");
            match news.drain() {
                Closed::Ports(ports) if ports.contains(&port) => return,
                Closed::Many => panic!("more closings than a test makes"),
                Closed::Ports(_) => {}
            }
        }
        panic!("the socket was not among 10,000 closings");
    }
}
