//! The programs that let a program bind beside a strict hold.
//!
//! The hold is tied to an interface that does not exist (`hold::NO_INTERFACE`). In Linux two sockets that are
//! bound to different interfaces never collide (`inet_bind_conflict` in `net/ipv4/inet_connection_sock.c`),
//! and one without an interface collides with any. So a socket of the program is tied to *another* interface
//! that does not exist for the moment from its bind to its listen: it passes the hold, and no stranger does.
//!
//! 1. `bind`, before the kernel looks for collisions: ties the socket if it asks for the port of the lease, and
//!    sets SO_REUSEADDR, with which it passes connections that its last run left behind.
//! 2. `listening`, behind the kernel's second look, in `listen(2)`: unties the socket, before a connection can
//!    come.
//! 3. `connecting`: unties a socket that connects from the port instead.
//!
//! There is no map: the numbers are in the code.
//!
//! An IPv6 socket that asks for one address, not for all, cannot be tied so: the kernel looks for the interface
//! (ENODEV, `__inet6_bind` in `net/ipv6/af_inet6.c`). It is tied to the loopback interface for that moment,
//! which exists everywhere, and is another one than that of the hold too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::call::Kind;
use super::code::Register::{R1, R2, R6};
use super::code::{Code, Instruction, Label};
use crate::domain::address::AddressGroup;
use crate::domain::port::Port;
use crate::host::hold::NO_INTERFACE;

/// Index of an interface that does not exist: that of sockets between their bind and their listen.
pub const ASSISTED: u32 = NO_INTERFACE + 1;

/// Index of the loopback interface in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Types and places (`enum bpf_prog_type`, `enum bpf_attach_type` in `linux/bpf.h`).
const SOCK_ADDR: u32 = 18;
pub(super) const BIND4: Kind = kind(SOCK_ADDR, 8);
pub(super) const BIND6: Kind = kind(SOCK_ADDR, 9);
pub(super) const CONNECT4: Kind = kind(SOCK_ADDR, 10);
pub(super) const CONNECT6: Kind = kind(SOCK_ADDR, 11);
pub(super) const SOCK_OPS: Kind = kind(13, 3);

const fn kind(program: u32, attach: u32) -> Kind {
    Kind { program, attach }
}

/// Offsets in the context of a bind or a connect (`struct bpf_sock_addr`).
const IP4: i16 = 4;
const IP6: i16 = 8;
const PORT: i16 = 24;
const PROTOCOL: i16 = 36;
const SOCKET: i16 = 64;

/// Offsets in the context of a socket's life (`struct bpf_sock_ops`).
const OPERATION: i16 = 0;
const SOCKET_OF_OPERATION: i16 = 184;

/// Offsets in a socket (`struct bpf_sock`).
const INTERFACE: i16 = 0;
const FAMILY: i16 = 4;
const OWN_PORT: i16 = 44;

/// BPF_SOCK_OPS_TCP_LISTEN_CB: `listen(2)` has succeeded.
const LISTENS: u32 = 11;

const OF_IPV6: u32 = nix::libc::AF_INET6.cast_unsigned();

/// Protocol of sockets for TCP; those of MPTCP bind as such too.
const TCP: u32 = nix::libc::IPPROTO_TCP.cast_unsigned();

const REUSE: i32 = nix::libc::SO_REUSEADDR;

/// SO_BINDTOIFINDEX (`asm-generic/socket.h`).
const TIE: i32 = nix::libc::SO_BINDTOIFINDEX;

/// Family of the addresses that a program is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    V4,
    V6,
}

/// Program for `bind(2)`: lets sockets of this network namespace in at `port`, on the addresses of `group`.
///
/// ```text
/// if port != PORT or protocol != TCP               goto other
/// if address is none of the lease's                goto other
/// if socket is bound, or tied to any interface     goto leave
/// if namespace != NAMESPACE                        goto leave
/// setsockopt(SO_REUSEADDR, 1)
/// setsockopt(SO_BINDTOIFINDEX, address is one of IPv6 ? LOOPBACK : ASSISTED)
/// goto leave
/// other: untie the socket
/// leave: return 1
/// ```
///
/// A second bind of one socket, which the kernel refuses, must change nothing: a tied listener would be deaf. A
/// socket whose bind was refused, and that tries another port, is tied no more.
pub(super) fn bind(
    asked: Asked,
    group: &AddressGroup,
    port: Port,
    namespace: u64,
) -> Option<Vec<Instruction>> {
    let mut code = Code::with_context();
    let (other, leave) = (code.label(), code.label());
    code.load(R2, R6, PORT);
    code.jump_unless(R2, u32::from(port.get().to_be()), other);
    code.load(R2, R6, PROTOCOL);
    code.jump_unless(R2, TCP, other);
    only_on(&mut code, asked, group, other);
    code.load_pointer(R1, R6, SOCKET);
    for unset in [OWN_PORT, INTERFACE] {
        code.load(R2, R1, unset);
        code.jump_unless(R2, 0, leave);
    }
    code.jump_unless_in(namespace, leave);
    code.set_option(REUSE, 1);
    tie(&mut code, asked, leave);
    code.place(other);
    untie(&mut code, SOCKET, port, leave);
    code.place(leave);
    code.leave(1);
    code.finish()
}

/// Program for the life of a socket: unties it once it listens.
///
/// ```text
/// if operation != TCP_LISTEN_CB                    goto leave
/// untie the socket
/// leave: return 1
/// ```
pub(super) fn listening(port: Port) -> Option<Vec<Instruction>> {
    let mut code = Code::with_context();
    let leave = code.label();
    code.load(R2, R6, OPERATION);
    code.jump_unless(R2, LISTENS, leave);
    untie(&mut code, SOCKET_OF_OPERATION, port, leave);
    code.place(leave);
    code.leave(1);
    code.finish()
}

/// Program for `connect(2)`: a tied socket would have no way to any host.
///
/// ```text
/// untie the socket
/// leave: return 1
/// ```
pub(super) fn connecting(port: Port) -> Option<Vec<Instruction>> {
    let mut code = Code::with_context();
    let leave = code.label();
    untie(&mut code, SOCKET, port, leave);
    code.place(leave);
    code.leave(1);
    code.finish()
}

/// Ties the socket, and goes to `leave`.
fn tie(code: &mut Code, asked: Asked, leave: Label) {
    if asked == Asked::V6 {
        let (any, one) = (code.label(), code.label());
        for word in 0..4 {
            code.load(R2, R6, IP6 + 4 * word);
            code.jump_unless(R2, 0, one);
        }
        code.jump(any);
        code.place(one);
        code.set_option(TIE, LOOPBACK.cast_signed());
        code.jump(leave);
        code.place(any);
    }
    code.set_option(TIE, ASSISTED.cast_signed());
    code.jump(leave);
}

/// Unties the socket at `socket` in the context, if the program for bind has tied it; else goes to `leave`.
///
/// ```text
/// if socket is tied to ASSISTED                    goto tied
/// if socket is not tied to LOOPBACK                goto leave
/// if socket is not of IPv6, or not on PORT         goto leave
/// tied: setsockopt(SO_BINDTOIFINDEX, 0)
/// ```
///
/// A program that ties its IPv6 socket on this port to the loopback interface by itself is untied too. On `::1`
/// that makes no difference.
fn untie(code: &mut Code, socket: i16, port: Port, leave: Label) {
    let tied = code.label();
    code.load_pointer(R1, R6, socket);
    if socket == SOCKET_OF_OPERATION {
        // It may be missing there alone.
        code.jump_if_null(R1, leave);
    }
    code.load(R2, R1, INTERFACE);
    code.jump_if(R2, ASSISTED, tied);
    code.jump_unless(R2, LOOPBACK, leave);
    code.load(R2, R1, FAMILY);
    code.jump_unless(R2, OF_IPV6, leave);
    code.load(R2, R1, OWN_PORT);
    code.jump_unless(R2, port.get().into(), leave);
    code.place(tied);
    code.set_option(TIE, 0);
}

/// Goes to `other` unless the address is one of the lease's. A tied socket passes the hold of another lease on
/// this number too, so what the lease does not have must not be bound so.
fn only_on(code: &mut Code, asked: Asked, group: &AddressGroup, other: Label) {
    let mine = code.label();
    let ips = || group.addresses().iter().map(|address| address.ip);
    let v4: Vec<Ipv4Addr> = ips().filter_map(of_v4).collect();
    let v6: Vec<Ipv6Addr> = ips().filter_map(of_v6).collect();
    match asked {
        Asked::V4 => among_v4(code, IP4, &v4, (mine, other)),
        Asked::V6 => {
            let mapped = code.label();
            mapped_to(code, mapped);
            among_v6(code, &v6, (mine, other));
            code.place(mapped);
            among_v4(code, IP6 + 12, &v4, (mine, other));
        }
    }
    code.place(mine);
}

fn of_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn of_v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}

/// Goes to `mapped` if the address is an IPv4 address in an IPv6 socket (`::ffff:0:0/96`).
fn mapped_to(code: &mut Code, mapped: Label) {
    let not = code.label();
    for (word, value) in [(0, 0), (1, 0), (2, 0xffff_u32.to_be())] {
        code.load(R2, R6, IP6 + 4 * word);
        code.jump_unless(R2, value, not);
    }
    code.jump(mapped);
    code.place(not);
}

/// Goes to `mine` if the IPv4 address at `offset` is one of these, of which the wildcard is any, and else to
/// `other`. The kernel takes no program that has instructions which nothing leads to.
fn among_v4(code: &mut Code, offset: i16, ips: &[Ipv4Addr], (mine, other): (Label, Label)) {
    if ips.iter().any(Ipv4Addr::is_unspecified) {
        return code.jump(mine);
    }
    code.load(R2, R6, offset);
    for ip in ips {
        code.jump_if(R2, u32::from_ne_bytes(ip.octets()), mine);
    }
    code.jump(other);
}

/// Goes to `mine` if the IPv6 address is one of these, of which the wildcard is any, and else to `other`.
fn among_v6(code: &mut Code, ips: &[Ipv6Addr], (mine, other): (Label, Label)) {
    if ips.iter().any(Ipv6Addr::is_unspecified) {
        return code.jump(mine);
    }
    for ip in ips {
        let next = code.label();
        for (word, bytes) in (0..).zip(ip.octets().chunks_exact(4)) {
            let value = bytes.try_into().map_or(0, u32::from_ne_bytes);
            code.load(R2, R6, IP6 + 4 * word);
            code.jump_unless(R2, value, next);
        }
        code.jump(mine);
        code.place(next);
    }
    code.jump(other);
}
