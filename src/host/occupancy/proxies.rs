//! Sockets of container engines whose descriptors portbook cannot see: those of root's docker-proxy,
//! unless portbook is root's too, and of pasta, which lets no process look. Their command lines tell
//! their ports.

use std::collections::HashMap;

use super::Entry;
use crate::domain::attempt::SocketState;
use crate::host::process::{self, Process, Published};

/// Adds the proxies that publish the ports of these sockets, for those sockets of which no process of
/// this network namespace is known.
pub(super) fn add<'e>(
    found: &mut HashMap<u64, Vec<Process>>,
    entries: impl Iterator<Item = &'e Entry>,
) {
    let unknown: Vec<&Entry> = entries.filter(|entry| is_unknown(entry, found)).collect();
    if unknown.is_empty() {
        return;
    }
    for pid in process::all() {
        let Ok(command) = process::command(pid) else {
            continue;
        };
        if !process::has_published(&command) || process::is_elsewhere(pid) {
            continue;
        }
        for entry in unknown.iter().filter(|entry| publishes(pid, entry)) {
            let process = Process {
                pid,
                command: Some(command.clone()),
            };
            found.entry(entry.inode).or_default().insert(0, process);
        }
    }
}

fn is_unknown(entry: &Entry, found: &HashMap<u64, Vec<Process>>) -> bool {
    let known = found.get(&entry.inode).map_or(&[][..], Vec::as_slice);
    entry.state == SocketState::Listening
        && entry.inode != 0
        && known
            .iter()
            .all(|process| process::is_elsewhere(process.pid))
}

/// Whether a process publishes the port of a socket, as a process of its user.
fn publishes(pid: u32, entry: &Entry) -> bool {
    let Some(user) = entry.uid else { return false };
    let is_its = |published: &Published| {
        published.protocol == entry.protocol
            && published.ports.contains(&entry.port.get())
            && published.ip.is_none_or(|ip| ip == entry.local)
    };
    process::published_by(pid, user).iter().any(is_its)
}
