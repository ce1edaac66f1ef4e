//! The programs that turn the port that a program asks for into the one that it has, in its own cgroup.
//!
//! ```text
//! if protocol is neither TCP nor UDP                  goto leave
//! if namespace != NAMESPACE                           goto leave
//! new = map[protocol, port]
//! if not new and new = spare for port of TCP          map[protocol, port] = new
//! if not new and there should be one                  return 0 (EPERM)
//! if not new                                          goto leave
//! if new.user != 0 and the process is not that user's goto leave
//! connect: if new is not for connects                 goto leave
//! connect: if address is neither loopback nor 0       goto leave
//! port = new.port
//! bind:    if address is 0 and new has one            address = new.address
//! connect: if address is 0 or localhost, and so       address = new.address
//! connect: if protocol == UDP                         sent[socket, new.port] = what was asked for (`sent`)
//! leave: return 1
//! ```
//!
//! To send a datagram by a socket that is not connected is as to connect. The kernel then takes no address of IPv4
//! for one of IPv6 (`udpv6_sendmsg`), so `::1` keeps its address if the lease has only one of IPv4.
//!
//! A spare is there for each bind of a program all of whose ports are mapped, unless it asks for port 0 or has become
//! another user. It is taken from a queue, in one step. If another thread has meanwhile added a mapping of the port,
//! that counts, and the spare goes back.
//!
//! Programs of a cgroup run before those of the cgroups above it, so the guard at the root sees the port that was put
//! in.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::call::Kind;
use super::code::Register::{R0, R2, R6, R7, R8, R10};
use super::code::{Code, Instruction, Label};
use super::mapping::{
    CONNECTS, FIRST_PLAIN, HAS_IP4, HAS_IP6, NEW_IP4, NEW_IP6, TO, USER, VALUE_SIZE,
};
use super::program::{
    Asked, BIND4, BIND6, IP4, IP6, LOCALHOST, LOOPBACK, MAPPED, ONE, PORT, PROTOCOL, TCP,
    leave_other_sockets, put_place,
};
use super::sent;

/// Types and places (`enum bpf_prog_type`, `enum bpf_attach_type` in `linux/bpf.h`).
const CONNECT4: Kind = Kind {
    program: 18,
    attach: 10,
};
const CONNECT6: Kind = Kind {
    program: 18,
    attach: 11,
};
/// BPF_CGROUP_UDP4_SENDMSG and BPF_CGROUP_UDP6_SENDMSG, since Linux 4.18 (its commit 1cedee13d25a): for calls that name
/// an address, which no connect has seen.
const SEND4: Kind = Kind {
    program: 18,
    attach: 14,
};
const SEND6: Kind = Kind {
    program: 18,
    attach: 15,
};

/// System call that a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Bind,
    Connect,
    /// To send a datagram to an address.
    Send,
}

/// All programs of a cgroup, but for UDP alone.
pub(super) const ALL: [(Kind, Call, Asked); 4] = [
    (BIND4, Call::Bind, Asked::V4),
    (BIND6, Call::Bind, Asked::V6),
    (CONNECT4, Call::Connect, Asked::V4),
    (CONNECT6, Call::Connect, Asked::V6),
];

/// Programs for UDP alone.
pub(super) const SENDS: [(Kind, Call, Asked); 2] = [
    (SEND4, Call::Send, Asked::V4),
    (SEND6, Call::Send, Asked::V6),
];

/// Offsets on the stack: the key, and the value of a spare.
const KEY: i16 = -8;
const SPARE: i16 = KEY - 40;

const _: () = assert!(VALUE_SIZE == 40);

/// Spares of a program all of whose ports are mapped, and the user that they are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spares<'a> {
    pub(super) queue: BorrowedFd<'a>,
    pub(super) uid: u32,
}

/// Maps that the programs of a cgroup share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maps<'a> {
    pub(super) mappings: BorrowedFd<'a>,
    /// `None` if ports without a mapping are left alone.
    pub(super) spares: Option<Spares<'a>>,
    /// `None` if no port for UDP is mapped.
    pub(super) sent: Option<BorrowedFd<'a>>,
}

/// Makes the program for the mappings in a map, in one network namespace.
pub(super) fn rewrite(
    on: Call,
    asked: Asked,
    maps: Maps<'_>,
    namespace: u64,
) -> Option<Vec<Instruction>> {
    let map = maps.mappings.as_raw_fd();
    let mut code = Code::with_context();
    let (leave, found, done) = (code.label(), code.label(), code.label());
    leave_other_sockets(&mut code, namespace, leave);
    put_place(&mut code, KEY);
    code.look_up(map, KEY);
    code.jump_unless_null(R0, found);
    if let (Call::Bind, Some(spares)) = (on, maps.spares) {
        take_spare(&mut code, map, spares, leave);
        code.look_up(map, KEY);
        code.jump_unless_null(R0, found);
        code.leave(0);
    } else {
        code.jump(leave);
    }
    code.place(found);
    code.copy(R7, R0);
    leave_others(&mut code, on, leave);
    let sent = maps.sent.filter(|_| on != Call::Bind);
    if sent.is_some() {
        sent::note_old(&mut code, asked);
    }
    let ends = Ends { done, leave };
    match asked {
        Asked::V4 => put_ip4(&mut code, on, IP4, ends),
        Asked::V6 => put_ip6(&mut code, on, ends),
    }
    code.place(done);
    if let Some(sent) = sent {
        sent::note(&mut code, asked, sent, leave);
    }
    code.place(leave);
    code.leave(1);
    code.finish()
}

/// Adds a mapping of the port to a spare, if there is one left.
fn take_spare(code: &mut Code, map: RawFd, spares: Spares<'_>, leave: Label) {
    let (taken, is_plain, done) = (code.label(), code.label(), code.label());
    let queue = spares.queue.as_raw_fd();
    code.load(R2, R6, PROTOCOL);
    code.jump_unless(R2, TCP, leave);
    code.load(R2, R6, PORT);
    code.jump_if(R2, 0, leave);
    if spares.uid != 0 {
        code.set(R8, spares.uid.cast_signed());
        code.jump_unless_user(R8, leave);
    }
    code.take_from(queue, SPARE);
    code.jump_if_done(taken);
    code.jump(done);
    code.place(taken);
    if spares.uid != 0 {
        code.load(R2, R6, PORT);
        code.turn_port(R2);
        code.jump_if_at_least(R2, FIRST_PLAIN.into(), is_plain);
        code.set(R2, 0);
        code.store(R10, SPARE + CONNECTS, R2);
    }
    code.place(is_plain);
    code.add(map, KEY, SPARE);
    code.jump_if_done(done);
    code.give_back(queue, SPARE);
    code.place(done);
}

/// Leaves alone what the mapping is not for.
fn leave_others(code: &mut Code, on: Call, leave: Label) {
    let of_user = code.label();
    code.load(R8, R7, USER);
    code.jump_if(R8, 0, of_user);
    code.jump_unless_user(R8, leave);
    code.place(of_user);
    if on != Call::Bind {
        code.load(R2, R7, CONNECTS);
        code.jump_if(R2, 0, leave);
    }
}

fn put_port(code: &mut Code) {
    code.load(R2, R7, TO);
    code.store(R6, PORT, R2);
}

/// Places that lead out: with a port put in, and without.
#[derive(Clone, Copy)]
struct Ends {
    done: Label,
    leave: Label,
}

/// Puts port and perhaps address in, of a socket of IPv4 whose address is at `ip`.
fn put_ip4(code: &mut Code, on: Call, ip: i16, Ends { done, leave }: Ends) {
    let is_any = code.label();
    code.load(R2, R6, ip);
    code.jump_if(R2, 0, is_any);
    if on != Call::Bind {
        code.jump_if(R2, LOCALHOST, is_any);
        // The first byte of the address.
        code.load_byte(R2, R6, ip);
        code.jump_unless(R2, LOOPBACK, leave);
    }
    put_port(code);
    code.jump(done);
    code.place(is_any);
    put_port(code);
    code.load(R2, R7, HAS_IP4);
    code.jump_if(R2, 0, done);
    code.load(R2, R7, NEW_IP4);
    code.store(R6, ip, R2);
    code.jump(done);
}

/// Puts port and perhaps address in, of a socket of IPv6.
fn put_ip6(code: &mut Code, on: Call, ends: Ends) {
    let Ends { done, leave } = ends;
    let (mapped, other, is_any) = (code.label(), code.label(), code.label());
    for (word, value) in [(0, 0), (1, 0)] {
        code.load(R2, R6, IP6 + 4 * word);
        code.jump_unless(R2, value, other);
    }
    code.load(R2, R6, IP6 + 8);
    code.jump_if(R2, MAPPED, mapped);
    code.jump_unless(R2, 0, other);
    code.load(R2, R6, IP6 + 12);
    code.jump_if(R2, 0, is_any);
    if on != Call::Bind {
        code.jump_if(R2, ONE, is_any);
    }
    code.place(other);
    if on == Call::Bind {
        put_port(code);
    }
    code.jump(leave);
    code.place(mapped);
    put_ip4(code, on, IP6 + 12, ends);
    code.place(is_any);
    put_port(code);
    code.load(R2, R7, HAS_IP6);
    code.jump_if(R2, 0, done);
    if on == Call::Send {
        code.load(R2, R7, NEW_IP6 + 8);
        code.jump_if(R2, MAPPED, done);
    }
    for word in 0..4 {
        code.load(R2, R7, NEW_IP6 + 4 * word);
        code.store(R6, IP6 + 4 * word, R2);
    }
}
