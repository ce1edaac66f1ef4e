//! The guard: a map of permits, and the links that keep its program in force.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use super::call::{self, Map};
use super::folder::root;
use super::permit::{Key, Permit, Value, content};
use super::program::{Asked, BIND4, BIND6, guard};

/// Refuses with EADDRINUSE to bind some ports for TCP in this network namespace, but for processes of one cgroup
/// each. These need not set SO_REUSEADDR.
#[derive(Debug)]
pub struct Guard {
    map: Map,
    content: BTreeMap<Key, Value>,
    /// For sockets of IPv4, and of IPv6.
    links: [OwnedFd; 2],
}

impl Guard {
    /// Puts a guard on these ports in force, beside the guards that there are. The process `own` takes holds, and
    /// meets no guard.
    pub fn on(permits: &[Permit], own: u32) -> io::Result<Self> {
        let map = Map::new()?;
        let content = content(permits);
        content
            .iter()
            .try_for_each(|(key, value)| map.set(key, value))?;
        let (namespace, root) = (namespace()?, root()?);
        let link = |kind, asked| {
            let code = guard(asked, &map, namespace, own);
            let code = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::attach(call::load(kind, &code)?, &root, kind)
        };
        let links = [link(BIND4, Asked::V4)?, link(BIND6, Asked::V6)?];
        Ok(Self {
            map,
            content,
            links,
        })
    }

    /// Makes it a guard on these ports. What they have in common with the last ones is guarded all the time.
    pub fn change_to(&mut self, permits: &[Permit]) -> io::Result<()> {
        let wanted = content(permits);
        for (key, value) in &wanted {
            if self.content.get(key) != Some(value) {
                self.map.set(key, value)?;
                self.content.insert(*key, *value);
            }
        }
        let unwanted = self.content.keys().filter(|key| !wanted.contains_key(*key));
        for key in unwanted.copied().collect::<Vec<Key>>() {
            self.map.remove(&key)?;
            self.content.remove(&key);
        }
        Ok(())
    }

    /// Its links, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}

/// Cookie of the network namespace of this process.
fn namespace() -> io::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)
        .or_else(|_| Socket::new(Domain::IPV6, Type::STREAM, None))?;
    call::namespace_of(&socket)
}
