//! The guard: a map of permits, and the links that keep its program in force.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use super::call;
use super::folder::root;
use super::permit::{KEY_SIZE, Permit, VALUE_SIZE, content};
use super::program::{Asked, BIND4, BIND6, guard};
use super::table::Table;

/// Maximum number of keys: two a lease on any address.
const MOST_KEYS: u32 = 1 << 15;

/// Refuses with EADDRINUSE to bind some ports in this network namespace, but for processes of one cgroup
/// each. These need not set SO_REUSEADDR.
#[derive(Debug)]
pub struct Guard {
    table: Table<KEY_SIZE, VALUE_SIZE>,
    /// For sockets of IPv4, and of IPv6.
    links: [OwnedFd; 2],
}

impl Guard {
    /// Puts a guard on these ports in force, beside the guards that there are. The process `own` takes holds, and
    /// meets no guard.
    pub fn on(permits: &[Permit], own: u32) -> io::Result<Self> {
        let table = Table::of(&content(permits), MOST_KEYS)?;
        let (namespace, root) = (namespace()?, root()?);
        let load = |kind, asked, sees_twice| {
            let code = guard(asked, sees_twice, &table, namespace, own);
            let code = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::load(kind, &code)
        };
        let link = |kind, asked| {
            // Without it a kernel that lacks a helper guards all the same.
            let program = load(kind, asked, true).or_else(|_| load(kind, asked, false))?;
            call::attach(program, &root, kind)
        };
        let links = [link(BIND4, Asked::V4)?, link(BIND6, Asked::V6)?];
        Ok(Self { table, links })
    }

    /// Makes it a guard on these ports. What they have in common with the last ones is guarded all the time.
    pub fn change_to(&mut self, permits: &[Permit]) -> io::Result<()> {
        self.table.change_to(&content(permits))
    }

    /// Its links, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}

/// Cookie of the network namespace of this process.
pub(super) fn namespace() -> io::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)
        .or_else(|_| Socket::new(Domain::IPV6, Type::STREAM, None))?;
    call::namespace_of(&socket)
}
