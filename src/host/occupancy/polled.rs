//! The descriptors that a sleeping thread waits for: that of `accept(2)` and `recv(2)`, and those of
//! `poll(2)` and `select(2)`.
//!
//! `/proc/PID/task/TID/syscall` (`proc_pid_syscall(5)`) has the call and its arguments; the list itself
//! lies in the memory of the program, which stays as it is while the thread sleeps. Both are readable by
//! those who may trace the process (`ptrace(2)`): root, and its own user unless Yama forbids it. Memory of
//! other users' programs is never read, as root neither: it may lie in a file whose server never answers
//! (`fuse(4)`), and the read would wait for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::host::process;

/// Maximum number of descriptors in a list that is read.
const MOST: usize = 4096;

/// Size of `struct pollfd`: a descriptor of four bytes, and two fields of two.
const ENTRY: usize = 8;

/// Numbers of the calls, by architecture (`syscalls(2)`).
#[cfg(target_arch = "x86_64")]
mod number {
    /// `read`, `readv`, `accept`, `recvfrom`, `recvmsg`, `accept4`, `recvmmsg`.
    pub(super) const OF_ONE: &[u64] = &[0, 19, 43, 45, 47, 288, 299];
    pub(super) const POLL: &[u64] = &[7, 271];
    pub(super) const SELECT: &[u64] = &[23, 270];
}
/// That of all newer architectures.
#[cfg(not(target_arch = "x86_64"))]
mod number {
    pub(super) const OF_ONE: &[u64] = &[63, 65, 202, 207, 212, 242, 243];
    pub(super) const POLL: &[u64] = &[73];
    pub(super) const SELECT: &[u64] = &[72];
}

/// Whether a thread sleeps in a call that waits for one of these descriptors of its process. `None` if
/// it cannot be told: the thread runs, sleeps in another call, or may not be read.
pub(super) fn waits_for(pid: u32, thread: u32, descriptors: &[u32]) -> Option<bool> {
    if !process::is_own(pid) {
        return None;
    }
    let call = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).ok()?;
    let list = List::of(&call)?;
    let memory = || File::open(format!("/proc/{pid}/mem"));
    let waited_for = list.read(memory).ok()?;
    Some(descriptors.iter().any(|number| waited_for.contains(number)))
}

/// The descriptors of a call.
#[derive(Debug, PartialEq, Eq)]
enum List {
    /// One, which is an argument.
    One(u32),
    /// `struct pollfd` one after the other, in the memory of the process.
    Entries { at: u64, count: usize },
    /// One bit for each descriptor below `count`, to be read from, in the memory of the process.
    Bits { at: u64, count: usize },
}

impl List {
    /// Reads a line of `syscall`: the number of the call, then its arguments as hexadecimal numbers.
    fn of(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let call: u64 = words.next()?.parse().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let (first, second) = (argument()?, argument()?);
        if number::OF_ONE.contains(&call) {
            return u32::try_from(first).ok().map(Self::One);
        }
        let bounded = |count: u64| usize::try_from(count).ok().filter(|count| *count <= MOST);
        if number::POLL.contains(&call) {
            let (at, count) = (first, bounded(second)?);
            return Some(Self::Entries { at, count });
        }
        let (at, count) = (second, bounded(first)?);
        number::SELECT
            .contains(&call)
            .then_some(Self::Bits { at, count })
    }

    /// Reads them, out of the memory of the process if they lie there.
    fn read(&self, memory: impl FnOnce() -> io::Result<File>) -> io::Result<Vec<u32>> {
        match *self {
            Self::One(number) => Ok(vec![number]),
            Self::Entries { at, count } => {
                let bytes = bytes(&memory()?, at, count * ENTRY)?;
                let (entries, _) = bytes.as_chunks::<ENTRY>();
                let numbers = entries.iter().map(|[a, b, c, d, ..]| [*a, *b, *c, *d]);
                Ok(numbers.map(u32::from_ne_bytes).collect())
            }
            // Nothing is to be read from.
            Self::Bits { at: 0, .. } => Ok(Vec::new()),
            Self::Bits { at, count } => {
                let bytes = bytes(&memory()?, at, count.div_ceil(8))?;
                let is_set = |number: &usize| {
                    let byte = bytes.get(number / 8).copied().unwrap_or(0);
                    byte >> (number % 8) & 1 == 1
                };
                let set = (0..count).filter(is_set);
                Ok(set
                    .filter_map(|number| u32::try_from(number).ok())
                    .collect())
            }
        }
    }
}

fn bytes(memory: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    memory.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_on_one_socket_names_it() {
        for call in number::OF_ONE {
            let list = List::of(&format!("{call} 0x3 0x7f00 0x0"));
            assert_eq!(list, Some(List::One(3)));
        }
        let none = List::of(&format!("{} 0xffffffffffffffff 0x0", number::OF_ONE[0]));
        assert_eq!(none, None);
    }

    #[test]
    fn line_without_a_list_tells_nothing() {
        for line in [
            "running",
            "-1 0x7ffe 0x7f",
            "",
            "x",
            "61 0x1 0x2 0x3",
            "7 0x1",
        ] {
            assert_eq!(List::of(line), None, "{line}");
        }
        // Longer than any list of a sane program.
        assert_eq!(
            List::of(&format!("{} 0x1 0xffffffff", number::POLL[0])),
            None
        );
        let list = List::of(&format!("{} 0x10 0x7f00 0x0", number::SELECT[0]));
        assert_eq!(
            list,
            Some(List::Bits {
                at: 0x7f00,
                count: 16
            })
        );
    }
}
