//! The system call `bpf(2)`, as far as portbook needs it, and the cookie of a network namespace. No crate
//! that portbook has wraps either, so this is the one file of the room with `unsafe`.

mod map;

use std::ffi::{CStr, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

pub(super) use self::map::{Map, Queue};
use super::code::Instruction;

/// Commands of `bpf(2)` (`enum bpf_cmd` in `linux/bpf.h`).
const PROG_LOAD: c_long = 5;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const LINK_CREATE: c_long = 28;

/// License of the programs. The helpers that they call are open to every license.
const LICENSE: &CStr = c"MIT";

/// Name of the programs in the kernel's lists (BPF_OBJ_NAME_LEN).
const NAME: [u8; 16] = *b"portbook\0\0\0\0\0\0\0\0";

/// Type of a link to a cgroup (`enum bpf_link_type`).
const LINK_TYPE_CGROUP: u32 = 3;

/// Kind of a program: its type, and the place in the kernel at which it is to run (`enum bpf_prog_type`,
/// `enum bpf_attach_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) program: u32,
    pub(super) attach: u32,
}

/// Attributes of BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    program: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

/// Attributes of BPF_LINK_CREATE.
#[repr(C)]
struct Link {
    program: RawFd,
    target: RawFd,
    attach: u32,
    flags: u32,
}

/// Attributes of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct Ask {
    descriptor: RawFd,
    length: u32,
    info: u64,
}

/// Beginning of `struct bpf_link_info`, of a link to a cgroup.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach: u32,
    padding_at_end: u32,
}

/// Has the kernel check a program and keep it for as long as the descriptor, or a link to it, is open.
pub(super) fn load(kind: Kind, code: &[Instruction]) -> io::Result<OwnedFd> {
    let mut load = Load {
        program: kind.program,
        count: u32::try_from(code.len()).map_err(io::Error::other)?,
        instructions: address(code.as_ptr()),
        license: address(LICENSE.as_ptr()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: NAME,
        interface: 0,
        attach: kind.attach,
    };
    // `code` and the license outlive the call.
    call(PROG_LOAD, &mut load).and_then(opened)
}

/// Has a program run for sockets of a cgroup and all below it, for as long as the descriptor is open.
pub(super) fn attach(program: impl AsFd, cgroup: impl AsFd, kind: Kind) -> io::Result<OwnedFd> {
    let mut link = Link {
        program: program.as_fd().as_raw_fd(),
        target: cgroup.as_fd().as_raw_fd(),
        attach: kind.attach,
        flags: 0,
    };
    call(LINK_CREATE, &mut link).and_then(opened)
}

/// Whether a descriptor is a link to a cgroup.
pub fn is_link(descriptor: impl AsFd) -> bool {
    let mut info = LinkInfo::default();
    let mut ask = Ask {
        descriptor: descriptor.as_fd().as_raw_fd(),
        length: u32::try_from(size_of::<LinkInfo>()).unwrap_or(0),
        info: address(&raw mut info),
    };
    call(OBJ_GET_INFO_BY_FD, &mut ask).is_ok() && info.kind == LINK_TYPE_CGROUP
}

fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}

/// Calls `bpf(2)`. `attributes` begin as `union bpf_attr` does for the command, and each address in them is
/// of memory that outlives the call and is as long as they say.
#[expect(unsafe_code, reason = "no crate wraps bpf(2) alone")]
fn call<T>(command: c_long, attributes: &mut T) -> io::Result<c_long> {
    let (at, size) = (
        std::ptr::from_mut(attributes).cast::<c_void>(),
        size_of::<T>(),
    );
    // SAFETY: the kernel reads `size` bytes at `at`, which are the whole of `attributes`, and takes what lies
    // behind them for zero. All callers are in this module. `Create` and `Link` have no address. `Load` has the
    // addresses of a slice with its length and of a string that ends with NUL; `Element` has those of a key and
    // perhaps of a value, as long as their map was told: they are borrowed by the caller for longer than the call.
    // The kernel writes to a value, or the next key in its place, only for the commands that return it, to bytes of
    // a local variable. `Ask` has the address of a `LinkInfo` with its size, of which every value of bytes is valid;
    // the kernel writes no more than that.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, at, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Takes the descriptor that a command opened. The kernel sets O_CLOEXEC on those of `bpf(2)`.
#[expect(unsafe_code, reason = "a new descriptor comes as a number")]
fn opened(result: c_long) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: `call` succeeded for a command that returns a new descriptor, so the number is open and
    // belongs to no other value.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Cookie of the network namespace of a socket (SO_NETNS_COOKIE, since Linux 5.14), by which programs know
/// it.
#[expect(unsafe_code, reason = "no crate wraps this option")]
pub(super) fn namespace_of(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut size = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    let number = socket.as_fd().as_raw_fd();
    let at = (&raw mut cookie).cast::<c_void>();
    // SAFETY: the descriptor is borrowed for the call; `at` is the address of eight bytes of which every
    // value is valid, and `size` says so.
    let result = unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            at,
            &raw mut size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}
