//! From sockets to processes: no table names a pid, so the descriptors of every process are
//! searched (`proc_pid_fd(5)`). Only root sees those of other users' processes.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

use rustix::fs::{Dir, Mode, OFlags, open, readlinkat_raw};

use super::{Entry, proxies};
use crate::host::process::{self, Process};

/// Room for `socket:[` and any inode; a longer link is cut short, and is no socket.
const LINK_BYTES: usize = 32;

/// Maximum number of threads whose descriptors are read in one search.
const MOST_THREADS: usize = 4096;

/// Users of the wanted sockets, by inode. `None` if the kernel does not tell.
type Wanted = HashMap<u64, Option<u32>>;

/// Processes found for each socket, by inode.
type Found = HashMap<u64, Vec<Process>>;

/// Finds the processes that have each of these sockets, ascending by pid, in one walk. A listener
/// that a server shares with its workers has several; a hidden one has none.
///
/// Sockets that no process has are looked for in the threads of their users' processes. This process
/// comes last and is searched only for sockets that no other has: with thousands of holds that would
/// take most of the time, and find no occupant. A proxy of containers whose descriptors are hidden is found
/// by its command line.
pub fn processes_of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Found {
    let entries: Vec<&Entry> = entries.into_iter().collect();
    let wanted = entries.iter().map(|entry| (entry.inode, entry.uid));
    let mut found = search(wanted.collect());
    proxies::add(&mut found, entries.into_iter());
    found
}

/// Finds the processes that have each of these sockets, as [`processes_of`] does but without a search of
/// threads, for which it takes the users of the sockets.
pub fn processes_with(inodes: &HashSet<u64>) -> Found {
    search(inodes.iter().map(|inode| (*inode, None)).collect())
}

fn search(mut wanted: Wanted) -> Found {
    let mut found = Found::new();
    // Inode 0 is a socket that no process has any more.
    wanted.remove(&0);
    if wanted.is_empty() {
        return found;
    }
    let me = std::process::id();
    let others: Vec<u32> = process::all()
        .into_iter()
        .filter(|&pid| pid != me)
        .collect();
    for &pid in &others {
        add_process(&mut found, pid, sockets(pid, &wanted));
    }
    let is_missing = |found: &Found, inode: &u64| !found.contains_key(inode);
    wanted.retain(|inode, _| is_missing(&found, inode));
    if !wanted.is_empty() {
        add_threads(&mut found, &others, &wanted);
        wanted.retain(|inode, _| is_missing(&found, inode));
        add_process(&mut found, me, sockets(me, &wanted));
    }
    found
}

/// Adds a process to each of the sockets that it has open.
fn add_process(found: &mut Found, pid: u32, held: HashSet<u64>) {
    if held.is_empty() {
        return;
    }
    let process = Process {
        pid,
        command: process::command(pid).ok(),
    };
    for inode in held {
        found.entry(inode).or_default().push(process.clone());
    }
}

/// Adds the processes of threads that have one of these sockets: a thread may have descriptors of its
/// own (`unshare(2)`, CLONE_FILES), and those of a first thread that has ended are not listed.
fn add_threads(found: &mut Found, pids: &[u32], wanted: &Wanted) {
    let users: HashSet<u32> = wanted.values().flatten().copied().collect();
    let of_users = |pid: &&u32| process::uid(**pid).is_ok_and(|uid| users.contains(&uid));
    let of_process = |&pid: &u32| {
        process::threads(pid)
            .into_iter()
            .map(move |thread| (pid, thread))
    };
    let threads = pids.iter().filter(of_users).flat_map(of_process);
    for (pid, thread) in threads.take(MOST_THREADS) {
        let mut held = sockets_in(&format!("/proc/{pid}/task/{thread}/fd"), wanted);
        let is_known = |inode: &u64| {
            let known = found.get(inode).and_then(|all| all.last());
            known.is_some_and(|process| process.pid == pid)
        };
        held.retain(|inode| !is_known(inode));
        add_process(found, pid, held);
    }
}

/// Whether a process has a socket open. `false` too if it has ended or cannot be looked at.
pub fn has_socket(pid: u32, inode: u64) -> bool {
    let wanted = Wanted::from([(inode, None)]);
    let in_thread = |thread: u32| sockets_in(&format!("/proc/{pid}/task/{thread}/fd"), &wanted);
    !sockets(pid, &wanted).is_empty()
        || process::threads(pid)
            .into_iter()
            .any(|thread| !in_thread(thread).is_empty())
}

/// Picks the sockets that a process has open; none if it cannot be looked at or has just ended.
fn sockets(pid: u32, wanted: &Wanted) -> HashSet<u64> {
    sockets_in(&format!("/proc/{pid}/fd"), wanted)
}

/// Picks the wanted sockets among the descriptors in a directory of `/proc`.
fn sockets_in(descriptors: &str, wanted: &Wanted) -> HashSet<u64> {
    let mut held = HashSet::new();
    each_socket(descriptors, |_, inode| {
        if wanted.contains_key(&inode) {
            held.insert(inode);
        }
    });
    held
}

/// Numbers of the descriptors of a socket that a process has.
pub(super) fn numbers_of(pid: u32, inode: u64) -> Vec<u32> {
    let mut numbers = Vec::new();
    each_socket(&format!("/proc/{pid}/fd"), |name, of| {
        if of == inode {
            numbers.extend(name.to_str().ok().and_then(|name| name.parse::<u32>().ok()));
        }
    });
    numbers
}

/// Calls `note` with the name and the inode of each socket among the descriptors in a directory of
/// `/proc`; never, if it cannot be read.
///
/// Links are read beneath the open directory into a small buffer, since a server, or portbook
/// itself, may have tens of thousands.
fn each_socket(descriptors: &str, mut note: impl FnMut(&CStr, u64)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(descriptors, flags, Mode::empty()) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&directory) else {
        return;
    };
    for entry in entries.flatten() {
        let mut link = [0u8; LINK_BYTES];
        let length = readlinkat_raw(&directory, entry.file_name(), &mut link[..]);
        let link = length
            .ok()
            .and_then(|length| std::str::from_utf8(&link[..length]).ok());
        if let Some(inode) = link.and_then(socket_inode) {
            note(entry.file_name(), inode);
        }
    }
}

/// `socket:[4711]`.
fn socket_inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok().filter(|&inode| inode != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::occupancy::tests_support::listening;
    use rustix::fs::fstat;
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};

    #[test]
    fn only_sockets_have_a_socket_inode() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        for link in ["pipe:[4711]", "/dev/null", "socket:[]", "socket:[0]"] {
            assert_eq!(socket_inode(link), None, "{link}");
        }
    }

    /// A child that has the listener open too.
    fn sleeper_with(listener: &TcpListener) -> Child {
        let copy = OwnedFd::from(listener.try_clone().unwrap());
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::from(copy)).spawn().unwrap()
    }

    #[test]
    fn all_processes_that_share_a_socket_are_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&listener).unwrap().st_ino;
        let mut children = [sleeper_with(&listener), sleeper_with(&listener)];
        let mut found = processes_of(&[listening(inode), listening(0)]);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let shared = found.remove(&inode).unwrap();
        assert!(found.is_empty());
        assert!(shared.is_sorted_by_key(|process| process.pid), "{shared:?}");
        // Another test's child may have a copy too, for a moment between fork and exec.
        for child in &children {
            let named = shared.iter().find(|process| process.pid == child.id());
            assert_eq!(named.unwrap().command.as_deref(), Some("sleep"));
        }
        assert!(
            shared
                .iter()
                .all(|process| process.pid != std::process::id())
        );
    }

    #[test]
    fn an_unused_inode_has_no_process() {
        // Inodes of sockets are 32 bits wide, so this is none.
        assert!(processes_of(&[listening(1 << 40)]).is_empty());
    }
}
