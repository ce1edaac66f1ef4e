//! The program that keeps strangers off the ports of owners whose gates are open (`bind(2)`).
//!
//! ```text
//! if protocol is neither TCP nor UDP                  goto leave
//! if namespace != NAMESPACE                           goto leave
//! owner = map[protocol, port, address]
//! if owner                                            goto found
//! if address is a wildcard                            goto leave
//! owner = map[protocol, port, wildcard of its family]
//! if not owner, or owner has not all addresses        goto leave
//! found: if the process is portbook's own            goto leave
//!        if it is not in the cgroup of owner          goto refuse
//!        if it is a second socket for UDP (`twice`)   goto refuse
//!        setsockopt(SO_REUSEADDR, 1); return 1
//! refuse: bpf_set_retval(-EADDRINUSE); return 0
//! leave: return 1
//! ```
//!
//! A process that is let in gets SO_REUSEADDR, with which it passes the open gate, and the connections that its
//! last run left behind. For UDP the hold takes no datagram (`hold::tie`), so the socket beside it gets them all.

use std::os::fd::{AsFd, AsRawFd};

use super::call::Kind;
use super::code::Register::{R0, R1, R2, R3, R6, R7, R8, R10};
use super::code::{Code, Instruction, Label};
use super::permit::{COVERS_ALL, LEVEL};
use super::twice::refuse_second;

/// Types and places (`enum bpf_prog_type`, `enum bpf_attach_type` in `linux/bpf.h`).
pub(super) const BIND4: Kind = Kind {
    program: 18,
    attach: 8,
};
pub(super) const BIND6: Kind = Kind {
    program: 18,
    attach: 9,
};

/// Offsets in the context of a call with an address (`struct bpf_sock_addr`).
pub(super) const IP4: i16 = 4;
pub(super) const IP6: i16 = 8;
pub(super) const PORT: i16 = 24;
pub(super) const PROTOCOL: i16 = 36;

/// Offsets on the stack: the key, whose IPv4 addresses are as in IPv6 sockets (`::ffff:0:0/96`).
const KEY: i16 = -24;
const KEY_IP: i16 = -20;

/// Third word of an IPv4 address in an IPv6 socket.
pub(super) const MAPPED: u32 = 0xffff_u32.to_be();

/// Protocol of sockets for TCP; those of MPTCP bind as such too.
pub(super) const TCP: u32 = nix::libc::IPPROTO_TCP.cast_unsigned();
pub(super) const UDP: u32 = nix::libc::IPPROTO_UDP.cast_unsigned();

/// Number of bits of a key below the protocol: those of a port.
pub(super) const PROTOCOL_BITS: u32 = 16;

/// First byte of a loopback address of IPv4.
pub(super) const LOOPBACK: u32 = 127;
/// 127.0.0.1 and the last word of `::1`, as they are in memory.
pub(super) const LOCALHOST: u32 = 0x7f00_0001_u32.to_be();
pub(super) const ONE: u32 = 1_u32.to_be();

/// Family of the sockets that a program is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    V4,
    V6,
}

/// Makes the program for the ports in a map, in one network namespace. `own` is the process that takes holds. Second
/// sockets are refused if it `sees_twice`.
pub(super) fn guard(
    asked: Asked,
    sees_twice: bool,
    map: impl AsFd,
    namespace: u64,
    own: u32,
) -> Option<Vec<Instruction>> {
    let map = map.as_fd().as_raw_fd();
    let mut code = Code::with_context();
    let (leave, found) = (code.label(), code.label());
    leave_other_sockets(&mut code, namespace, leave);
    put_key(&mut code, asked);
    code.look_up(map, KEY);
    code.jump_unless_null(R0, found);
    put_wildcard(&mut code, asked, leave);
    code.look_up(map, KEY);
    code.jump_if_null(R0, leave);
    code.load(R2, R0, COVERS_ALL);
    code.jump_if(R2, 0, leave);
    code.place(found);
    judge(&mut code, own, sees_twice.then_some(asked), leave);
    code.place(leave);
    code.leave(1);
    code.finish()
}

/// Leaves alone what is neither for TCP nor for UDP, and other network namespaces.
pub(super) fn leave_other_sockets(code: &mut Code, namespace: u64, leave: Label) {
    let known = code.label();
    code.load(R2, R6, PROTOCOL);
    code.jump_if(R2, TCP, known);
    code.jump_unless(R2, UDP, leave);
    code.place(known);
    code.jump_unless_in(namespace, leave);
}

/// Puts protocol and port on the stack, as they are in keys.
pub(super) fn put_place(code: &mut Code, at: i16) {
    code.load(R2, R6, PROTOCOL);
    code.load(R3, R6, PORT);
    code.join(R2, PROTOCOL_BITS.cast_signed(), R3);
    code.store(R10, at, R2);
}

/// Puts protocol, port and address into the key.
fn put_key(code: &mut Code, asked: Asked) {
    put_place(code, KEY);
    for word in 0..4 {
        match (asked, word) {
            (Asked::V6, _) => code.load(R2, R6, IP6 + 4 * word),
            (Asked::V4, 3) => code.load(R2, R6, IP4),
            (Asked::V4, 2) => code.set(R2, MAPPED.cast_signed()),
            (Asked::V4, _) => code.set(R2, 0),
        }
        code.store(R10, KEY_IP + 4 * word, R2);
    }
}

/// Puts the wildcard of the family into the key, or goes to `leave` if it is there already.
fn put_wildcard(code: &mut Code, asked: Asked, leave: Label) {
    let (mapped, done) = (code.label(), code.label());
    if asked == Asked::V6 {
        let other = code.label();
        for (word, value) in [(0, 0), (1, 0), (2, MAPPED)] {
            code.load(R2, R10, KEY_IP + 4 * word);
            code.jump_unless(R2, value, other);
        }
        code.jump(mapped);
        code.place(other);
        let specific = code.label();
        for word in 0..4 {
            code.load(R2, R10, KEY_IP + 4 * word);
            code.jump_unless(R2, 0, specific);
        }
        code.jump(leave);
        code.place(specific);
        code.set(R2, 0);
        for word in 0..4 {
            code.store(R10, KEY_IP + 4 * word, R2);
        }
        code.jump(done);
    }
    code.place(mapped);
    code.load(R2, R10, KEY_IP + 12);
    code.jump_if(R2, 0, leave);
    code.set(R2, 0);
    code.store(R10, KEY_IP + 12, R2);
    code.place(done);
}

/// Lets processes of the owner's cgroup in, and refuses all others.
fn judge(code: &mut Code, own: u32, twice: Option<Asked>, leave: Label) {
    let refuse = code.label();
    code.load_wide(R7, R0, 0);
    code.load(R8, R0, LEVEL);
    code.jump_if_process(own, leave);
    code.copy(R1, R8);
    code.jump_unless_in_cgroup(R7, refuse);
    if let Some(asked) = twice {
        refuse_second(code, asked, refuse);
    }
    code.set_option(nix::libc::SO_REUSEADDR, 1);
    code.leave(1);
    code.place(refuse);
    code.refuse(nix::libc::EADDRINUSE);
}
