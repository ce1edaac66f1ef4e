//! Second sockets of a program on one port for UDP. The guard gives each SO_REUSEADDR, with which the kernel would let
//! them share it.
//!
//! ```text
//! if protocol != UDP                                            goto let_in
//! if SO_REUSEADDR or SO_REUSEPORT is set, or cannot be read     goto let_in
//! if a socket takes datagrams to this address and port          goto refuse
//! let_in:
//! ```
//!
//! The hold takes none. For a wildcard the kernel looks for sockets on that alone.

use super::code::Register::{R0, R1, R2, R3, R4, R5, R6, R10};
use super::code::{Code, Label};
use super::program::{Asked, IP4, IP6, PORT, PROTOCOL, UDP};

/// Helpers that the program calls (`bpf-helpers(7)`).
const GETSOCKOPT: i32 = 57;
const SK_LOOKUP_UDP: i32 = 85;
const SK_RELEASE: i32 = 86;

/// Network namespace of the socket that is bound (BPF_F_CURRENT_NETNS).
const CURRENT: i32 = -1;

/// Offsets on the stack, below the key of the guard: an option, and addresses and ports (`struct bpf_sock_tuple`), of
/// which the remote ones are 0.
const OPTION: i16 = -28;
const TUPLE: i16 = -64;

/// Refuses a second socket that has not asked to share its port.
pub(super) fn refuse_second(code: &mut Code, asked: Asked, refuse: Label) {
    let let_in = code.label();
    code.load(R2, R6, PROTOCOL);
    code.jump_unless(R2, UDP, let_in);
    for option in [nix::libc::SO_REUSEADDR, nix::libc::SO_REUSEPORT] {
        // Before Linux 6.1 a program cannot read them.
        code.copy(R1, R6);
        code.set(R2, nix::libc::SOL_SOCKET);
        code.set(R3, option);
        code.set_stack(R4, OPTION);
        code.set(R5, 4);
        code.call(GETSOCKOPT);
        code.jump_unless(R0, 0, let_in);
        code.load(R2, R10, OPTION);
        code.jump_unless(R2, 0, let_in);
    }
    let size = put_tuple(code, asked);
    code.copy(R1, R6);
    code.set_stack(R2, TUPLE);
    code.set(R3, size);
    code.set(R4, CURRENT);
    code.set(R5, 0);
    code.call(SK_LOOKUP_UDP);
    code.jump_if_null(R0, let_in);
    code.copy(R1, R0);
    code.call(SK_RELEASE);
    code.jump(refuse);
    code.place(let_in);
}

/// Puts address and port of the bind on the stack. Returns the size.
fn put_tuple(code: &mut Code, asked: Asked) -> i32 {
    let (words, ip) = match asked {
        Asked::V4 => (1, IP4),
        Asked::V6 => (4, IP6),
    };
    let ports = TUPLE + 8 * words;
    code.set(R2, 0);
    for word in 0..words {
        code.store(R10, TUPLE + 4 * word, R2);
    }
    code.store(R10, ports, R2);
    for word in 0..words {
        code.load(R2, R6, ip + 4 * word);
        code.store(R10, TUPLE + 4 * (words + word), R2);
    }
    code.load(R2, R6, PORT);
    code.store_half(R10, ports + 2, R2);
    i32::from(8 * words + 4)
}
