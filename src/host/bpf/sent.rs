//! Datagrams that went to another place than their program asked for: the answers seem to come from where it sent to.
//!
//! ```text
//! connect and send, once port and address are put in:
//!     sent[socket, new port] = {old port, old address, new address}
//! receive:
//!     if protocol != UDP or namespace != NAMESPACE    goto leave
//!     old = sent[socket, port]
//!     if not old                                      goto leave
//!     if address == old.new_address                   address = old.old_address; goto put
//!     if address is no loopback address               goto leave
//!     put: port = old.port
//!     leave: return 1
//! ```
//!
//! A socket is known by its cookie. In the map all addresses are those of IPv6, and a
//! wildcard is the address of this host that the kernel takes for it. An answer may come from another loopback address
//! than the datagram went to, since a server on a wildcard address does not choose.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::call::{Kind, Map};
use super::code::Register::{R0, R2, R3, R6, R7, R10};
use super::code::{Code, Instruction, Label};
use super::mapping::TO;
use super::program::{
    Asked, IP4, IP6, LOCALHOST, LOOPBACK, MAPPED, ONE, PORT, PROTOCOL, UDP, leave_other_sockets,
};

/// Types and places (`enum bpf_prog_type`, `enum bpf_attach_type` in `linux/bpf.h`): BPF_CGROUP_UDP4_RECVMSG and
/// BPF_CGROUP_UDP6_RECVMSG, since Linux 5.2 (its commit 983695fa6765).
const RECEIVE4: Kind = Kind {
    program: 18,
    attach: 19,
};
const RECEIVE6: Kind = Kind {
    program: 18,
    attach: 20,
};

/// Programs for answers.
pub(super) const RECEIVES: [(Kind, Asked); 2] = [(RECEIVE4, Asked::V4), (RECEIVE6, Asked::V6)];

/// Sizes of a key, and of a value.
const KEY_SIZE: usize = 16;
const VALUE_SIZE: usize = 36;

/// Offsets in a key: the cookie, the port, and nothing.
const COOKIE: i16 = 0;
const NEW_PORT: i16 = 8;
const PADDING: i16 = 12;

/// Offsets in a value.
const OLD_PORT: i16 = 0;
const OLD_IP: i16 = 4;
const NEW_IP: i16 = 20;
const WORDS: i16 = 9;

/// Offsets on the stack, below those of `rewrite`.
const KEY: i16 = -64;
const VALUE: i16 = -104;

/// Maximum number of places that are known: some 0.5 MB. Those that were asked for least lately are forgotten.
const MOST: u32 = 4096;

/// Places that programs of a cgroup have sent to.
pub(super) type Sent = Map<KEY_SIZE, VALUE_SIZE>;

/// Makes an empty map of places.
pub(super) fn map() -> std::io::Result<Sent> {
    Sent::of_latest(MOST)
}

/// Keeps what the program asks for on the stack.
pub(super) fn note_old(code: &mut Code, asked: Asked) {
    code.load(R2, R6, PORT);
    code.store(R10, VALUE + OLD_PORT, R2);
    put_address(code, asked, VALUE + OLD_IP);
}

/// Notes that a port for UDP was put in, and perhaps an address. The mapping is at r7.
pub(super) fn note(code: &mut Code, asked: Asked, sent: BorrowedFd<'_>, leave: Label) {
    let sent = sent.as_raw_fd();
    code.load(R2, R6, PROTOCOL);
    code.jump_unless(R2, UDP, leave);
    put_address(code, asked, VALUE + NEW_IP);
    code.load(R2, R7, TO);
    look_up(code, sent);
    let known = code.label();
    code.jump_unless_null(R0, known);
    code.put(sent, KEY, VALUE);
    code.jump(leave);
    code.place(known);
    for word in 0..WORDS {
        code.load(R2, R10, VALUE + 4 * word);
        code.store(R0, 4 * word, R2);
    }
}

/// Looks up the place that a socket has sent to by the port in r2.
fn look_up(code: &mut Code, sent: RawFd) {
    code.store(R10, KEY + NEW_PORT, R2);
    code.set(R2, 0);
    code.store(R10, KEY + PADDING, R2);
    code.store_cookie(R10, KEY + COOKIE);
    code.look_up(sent, KEY);
}

/// Puts the address of the context on the stack. In the place of a wildcard it puts the address that the kernel takes.
fn put_address(code: &mut Code, asked: Asked, at: i16) {
    let (is_ip4, done) = (code.label(), code.label());
    for word in 0..4 {
        match (asked, word) {
            (Asked::V6, _) => code.load(R2, R6, IP6 + 4 * word),
            (Asked::V4, 3) => code.load(R2, R6, IP4),
            (Asked::V4, 2) => code.set(R2, MAPPED.cast_signed()),
            (Asked::V4, _) => code.set(R2, 0),
        }
        code.store(R10, at + 4 * word, R2);
    }
    for word in [3, 0, 1] {
        code.load(R2, R10, at + 4 * word);
        code.jump_unless(R2, 0, done);
    }
    code.load(R2, R10, at + 8);
    code.jump_if(R2, MAPPED, is_ip4);
    code.jump_unless(R2, 0, done);
    code.set(R2, ONE.cast_signed());
    code.store(R10, at + 12, R2);
    code.jump(done);
    code.place(is_ip4);
    code.set(R2, LOCALHOST.cast_signed());
    code.store(R10, at + 12, R2);
    code.place(done);
}

/// Makes the program for answers.
pub(super) fn receive(asked: Asked, sent: impl AsFd, namespace: u64) -> Option<Vec<Instruction>> {
    let sent = sent.as_fd().as_raw_fd();
    let mut code = Code::with_context();
    let (leave, found) = (code.label(), code.label());
    leave_other_sockets(&mut code, namespace, leave);
    code.load(R2, R6, PORT);
    look_up(&mut code, sent);
    code.jump_unless_null(R0, found);
    code.jump(leave);
    code.place(found);
    code.copy(R7, R0);
    match asked {
        Asked::V4 => put_old_ip4(&mut code, leave),
        Asked::V6 => put_old_ip6(&mut code, leave),
    }
    code.load(R2, R7, OLD_PORT);
    code.store(R6, PORT, R2);
    code.place(leave);
    code.leave(1);
    code.finish()
}

fn put_old_ip4(code: &mut Code, leave: Label) {
    let (other, put) = (code.label(), code.label());
    code.load(R2, R6, IP4);
    code.load(R3, R7, NEW_IP + 12);
    code.jump_unless_equal(R2, R3, other);
    code.load(R2, R7, OLD_IP + 12);
    code.store(R6, IP4, R2);
    code.jump(put);
    code.place(other);
    code.load_byte(R2, R6, IP4);
    code.jump_unless(R2, LOOPBACK, leave);
    code.place(put);
}

fn put_old_ip6(code: &mut Code, leave: Label) {
    let (other, is_ip4, put) = (code.label(), code.label(), code.label());
    for word in 0..4 {
        code.load(R2, R6, IP6 + 4 * word);
        code.load(R3, R7, NEW_IP + 4 * word);
        code.jump_unless_equal(R2, R3, other);
    }
    for word in 0..4 {
        code.load(R2, R7, OLD_IP + 4 * word);
        code.store(R6, IP6 + 4 * word, R2);
    }
    code.jump(put);
    code.place(other);
    for (word, value) in [(0, 0), (1, 0)] {
        code.load(R2, R6, IP6 + 4 * word);
        code.jump_unless(R2, value, leave);
    }
    code.load(R2, R6, IP6 + 8);
    code.jump_if(R2, MAPPED, is_ip4);
    code.jump_unless(R2, 0, leave);
    code.load(R2, R6, IP6 + 12);
    code.jump_if(R2, ONE, put);
    code.jump(leave);
    code.place(is_ip4);
    code.load_byte(R2, R6, IP6 + 12);
    code.jump_unless(R2, LOOPBACK, leave);
    code.place(put);
}
