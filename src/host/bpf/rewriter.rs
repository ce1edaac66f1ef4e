//! The rewriter of a program: a map of its mappings, and the links that keep its programs in force.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::call;
use super::folder::Folder;
use super::guard::namespace;
use super::mapping::{KEY_SIZE, Mapping, VALUE_SIZE, content};
use super::rewrite::{ALL, rewrite};
use super::table::Table;

/// Maximum number of mappings of one program: that of ports in one request.
const MOST_MAPPINGS: u32 = 256;

/// Gives the processes of one cgroup other ports than they ask for, when they bind for TCP and when they connect to
/// this host by a loopback address, in this network namespace.
#[derive(Debug)]
pub struct Rewriter {
    table: Table<KEY_SIZE, VALUE_SIZE>,
    links: Vec<OwnedFd>,
}

impl Rewriter {
    /// Number of descriptors that it keeps open: its table, and its links.
    pub const DESCRIPTORS: usize = 1 + ALL.len();

    /// Puts mappings of the processes in a cgroup in force.
    pub fn on(folder: &Folder, mappings: &[Mapping]) -> io::Result<Self> {
        let table = Table::of(&content(mappings), MOST_MAPPINGS)?;
        let (namespace, folder) = (namespace()?, folder.opened()?);
        let links = ALL.iter().map(|(kind, on, asked)| {
            let code = rewrite(*on, *asked, &table, namespace);
            let code = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::attach(call::load(*kind, &code)?, &folder, *kind)
        });
        let links = links.collect::<io::Result<_>>()?;
        Ok(Self { table, links })
    }

    /// Puts these mappings in force in place of the last ones.
    pub fn change_to(&mut self, mappings: &[Mapping]) -> io::Result<()> {
        self.table.change_to(&content(mappings))
    }

    /// Its links, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}
