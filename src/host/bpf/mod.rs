//! Programs for the kernel that let a server bind beside a strict hold (`bpf(2)`): the hand-over `bind`.
//!
//! A cgroup is made for each program that `portbook run` starts, with links for each of its leases. The links
//! are descriptors: they end with this process, unless a supervisor keeps copies of them.

mod call;
mod code;
#[cfg(test)]
mod facts;
mod folder;
mod programs;
mod trial;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use crate::domain::address::AddressGroup;
use crate::domain::port::Port;
use call::Kind;
pub use call::is_link;
pub use folder::{Folder, PREFIX, with_prefix};
pub use programs::ASSISTED;
use programs::{Asked, BIND4, BIND6, CONNECT4, CONNECT6, SOCK_OPS};
pub use trial::obstacle;

/// Links of one lease to the cgroup of its program.
#[derive(Debug)]
pub struct Links(Vec<OwnedFd>);

impl Links {
    /// Lets sockets that are made in a cgroup, in this network namespace, bind `port` for TCP beside the hold on
    /// `group`.
    pub fn attach(cgroup: impl AsFd, group: &AddressGroup, port: Port) -> io::Result<Self> {
        let namespace = namespace()?;
        let bind = |asked| programs::bind(asked, group, port, namespace);
        // Those that untie come first: a socket that stays tied would be deaf.
        let programs = [
            (SOCK_OPS, programs::listening(port)),
            (CONNECT4, programs::connecting(port)),
            (CONNECT6, programs::connecting(port)),
            (BIND4, bind(Asked::V4)),
            (BIND6, bind(Asked::V6)),
        ];
        let link = |(kind, code): (Kind, Option<_>)| {
            let code: Vec<_> = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::attach(call::load(kind, &code)?, &cgroup, kind)
        };
        programs
            .into_iter()
            .map(link)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Its descriptors, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Number of its descriptors.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Cookie of the network namespace of this process.
fn namespace() -> io::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)
        .or_else(|_| Socket::new(Domain::IPV6, Type::STREAM, None))?;
    call::namespace_of(&socket)
}
