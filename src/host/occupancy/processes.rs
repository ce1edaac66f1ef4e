//! From sockets to processes: no table names a pid, so the descriptors of every process are
//! searched (`proc_pid_fd(5)`). Only root sees those of other users' processes.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::fs::{Dir, DirEntry, Mode, OFlags, open, readlinkat_raw};

use crate::host::process::{self, Process};

/// Room for `socket:[` and any inode; a longer link is cut short, and is no socket.
const LINK_BYTES: usize = 32;

/// Finds the processes that have each of these sockets, ascending by pid, in one walk. A listener
/// that a server shares with its workers has several; a hidden one has none.
///
/// This process comes last and is searched only for sockets that no other has: with thousands of
/// holds that would take most of the time, and find no occupant.
pub fn processes_with(inodes: &HashSet<u64>) -> HashMap<u64, Vec<Process>> {
    let mut found: HashMap<u64, Vec<Process>> = HashMap::new();
    // Inode 0 is a socket that no process has any more.
    let mut wanted: HashSet<u64> = inodes.iter().copied().filter(|&inode| inode != 0).collect();
    if wanted.is_empty() {
        return found;
    }
    let me = std::process::id();
    for pid in pids().into_iter().filter(|&pid| pid != me) {
        add_process(&mut found, pid, &wanted);
    }
    wanted.retain(|inode| !found.contains_key(inode));
    if !wanted.is_empty() {
        add_process(&mut found, me, &wanted);
    }
    found
}

/// Adds a process to each of the sockets that it has open.
fn add_process(found: &mut HashMap<u64, Vec<Process>>, pid: u32, wanted: &HashSet<u64>) {
    let held = sockets(pid, wanted);
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

/// Whether a process has a socket open. `false` too if it has ended or cannot be looked at.
pub fn has_socket(pid: u32, inode: u64) -> bool {
    !sockets(pid, &HashSet::from([inode])).is_empty()
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut pids: Vec<u32> = entries.flatten().filter_map(number).collect();
    pids.sort_unstable();
    pids
}

/// Picks the sockets that a process has open; none if it cannot be looked at or has just ended.
///
/// Links are read beneath the open directory into a small buffer, since a server, or portbook
/// itself, may have tens of thousands.
fn sockets(pid: u32, wanted: &HashSet<u64>) -> HashSet<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(format!("/proc/{pid}/fd"), flags, Mode::empty()) else {
        return HashSet::new();
    };
    let Ok(entries) = Dir::read_from(&directory) else {
        return HashSet::new();
    };
    let inode = |entry: DirEntry| {
        let mut link = [0u8; LINK_BYTES];
        let length = readlinkat_raw(&directory, entry.file_name(), &mut link[..]).ok()?;
        socket_inode(std::str::from_utf8(&link[..length]).ok()?)
    };
    entries
        .flatten()
        .filter_map(inode)
        .filter(|inode| wanted.contains(inode))
        .collect()
}

/// `socket:[4711]`.
fn socket_inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok().filter(|&inode| inode != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut found = processes_with(&HashSet::from([inode, 0]));
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
        assert!(processes_with(&HashSet::from([1 << 40])).is_empty());
    }
}
