//! The socket tables by netlink (`sock_diag(7)`): binary, filtered by the kernel, no privilege.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use rustix::net::netlink::SOCK_DIAG;

use super::{Entry, Raw};
use crate::domain::address::Family;
use crate::domain::port::{Port, Protocol};
use crate::host::netlink::{Netlink, invalid};

/// All states, ESTABLISHED (1) to BOUND_INACTIVE (13). The last lists sockets that are bound and do
/// not listen; kernels before 6.8 ignore it.
pub(super) const EVERY_STATE: u32 = (1 << 14) - 2;

/// LISTEN alone.
pub(super) const LISTENING: u32 = 1 << 10;

/// Reads the sockets of a protocol in these states, of both families, on one port or on all.
pub(super) fn read(protocol: Protocol, port: Option<Port>, states: u32) -> io::Result<Vec<Entry>> {
    let mut netlink = Netlink::open(Some(SOCK_DIAG))?;
    let mut entries = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let body = request(protocol, family, port, states);
        netlink.dump(SOCK_DIAG_BY_FAMILY, &body, |payload| {
            let response = InetResponse::parse(payload).map_err(invalid)?;
            entries.extend(raw(protocol, &response).entry());
            Ok(())
        })?;
    }
    // The kernel has filtered them; should one not, the answer is right too.
    entries.retain(|entry| port.is_none_or(|port| entry.port == port));
    Ok(entries)
}

/// User and inode of the socket at the client's end of a TCP connection. The kernel looks it up in
/// its table without a walk. The inode is 0 if the process has closed it.
pub(super) fn client_end(client: SocketAddr, server: SocketAddr) -> io::Result<(u32, u32)> {
    let family = match client {
        SocketAddr::V4(_) => Family::Ipv4,
        SocketAddr::V6(_) => Family::Ipv6,
    };
    let mut wanted = inet_request(Protocol::Tcp, family, None, EVERY_STATE);
    wanted.socket_id.source_address = client.ip();
    wanted.socket_id.source_port = client.port();
    wanted.socket_id.destination_address = server.ip();
    wanted.socket_id.destination_port = server.port();
    // Any socket there (INET_DIAG_NOCOOKIE).
    wanted.socket_id.cookie = [0xff; 8];
    let mut found = None;
    Netlink::open(Some(SOCK_DIAG))?.get(SOCK_DIAG_BY_FAMILY, &emitted(&wanted), |payload| {
        let response = InetResponse::parse(payload).map_err(invalid)?;
        found = Some((response.header.uid, response.header.inode));
        Ok(())
    })?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Builds a `struct inet_diag_req_v2`. A dump reads only the source port of the socket id, if that
/// is not zero (`inet_diag_dump_icsk` and `udp_dump` in Linux).
fn request(protocol: Protocol, family: Family, port: Option<Port>, states: u32) -> Vec<u8> {
    emitted(&inet_request(protocol, family, port, states))
}

fn inet_request(
    protocol: Protocol,
    family: Family,
    port: Option<Port>,
    states: u32,
) -> InetRequest {
    let (family, mut socket_id) = match family {
        Family::Ipv4 => (AF_INET, SocketId::new_v4()),
        Family::Ipv6 => (AF_INET6, SocketId::new_v6()),
    };
    socket_id.source_port = port.map_or(0, Port::get);
    InetRequest {
        family,
        protocol: match protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        },
        extensions: ExtensionFlags::empty(),
        states: StateFlags::from_bits_retain(states),
        socket_id,
    }
}

fn emitted(request: &InetRequest) -> Vec<u8> {
    let mut body = vec![0; request.buffer_len()];
    request.emit(&mut body);
    body
}

fn raw(protocol: Protocol, response: &InetResponse) -> Raw {
    let header = &response.header;
    let v6_only = response.nlas.iter().find_map(|attribute| match attribute {
        Nla::SkV6Only(only) => Some(*only),
        _ => None,
    });
    Raw {
        protocol,
        local: header.socket_id.source_address,
        scope: header.socket_id.interface_id,
        v6_only,
        port: header.socket_id.source_port,
        state: header.state,
        uid: header.uid,
        inode: header.inode.into(),
        queue: header.recv_queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_for_one_port_in_every_state() {
        let body = request(Protocol::Udp, Family::Ipv6, Port::new(0x1f90), EVERY_STATE);
        assert_eq!(body.len(), 56);
        assert_eq!(body[..2], [10, 17]);
        assert_eq!(body[4..8], 0x3ffe_u32.to_ne_bytes());
        assert_eq!(body[8..10], [0x1f, 0x90]);
        let body = request(Protocol::Tcp, Family::Ipv4, None, LISTENING);
        assert_eq!(body[4..10], [0, 4, 0, 0, 0, 0], "LISTEN is state 10");
    }
}
