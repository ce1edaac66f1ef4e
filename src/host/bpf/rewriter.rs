//! The rewriter of a program: a map of its mappings, and the links that keep its programs in force.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::call;
use super::folder::Folder;
use super::guard::namespace;
use super::mapping::{self, KEY_SIZE, Mappings, VALUE_SIZE, content};
use super::permit::from_shown;
use super::rewrite::{ALL, rewrite};
use super::stock::{Stock, Taken};
use super::table::Table;
use crate::domain::port::Port;

/// Maximum number of mappings of one program, spares included: that of ports in one request.
pub const MOST_MAPPINGS: u32 = 256;

/// Maximum number of keys: mappings, and leased ports that stay what they are.
const MOST_KEYS: u32 = 8 * MOST_MAPPINGS;

/// Gives the processes of one cgroup other ports than they ask for, when they bind for TCP and when they connect to
/// this host by a loopback address, in this network namespace.
#[derive(Debug)]
pub struct Rewriter {
    table: Table<KEY_SIZE, VALUE_SIZE>,
    /// `None` if ports without a mapping are left alone.
    stock: Option<Stock>,
    links: Vec<OwnedFd>,
}

impl Rewriter {
    /// Number of descriptors that it keeps open at most: its table, its stock, and its links.
    pub const DESCRIPTORS: usize = 2 + ALL.len();

    /// Puts mappings of the processes in a cgroup in force.
    pub fn on(folder: &Folder, mappings: &Mappings) -> io::Result<Self> {
        let table = Table::of(&content(mappings), MOST_KEYS)?;
        let stock = mappings.all.as_ref();
        let stock = stock.map(|all| Stock::of(all, MOST_MAPPINGS)).transpose()?;
        let (namespace, folder) = (namespace()?, folder.opened()?);
        let links = ALL.iter().map(|(kind, on, asked)| {
            let spares = stock.as_ref().map(Stock::spares);
            let code = rewrite(*on, *asked, &table, spares, namespace);
            let code = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::attach(call::load(*kind, &code)?, &folder, *kind)
        });
        let links = links.collect::<io::Result<_>>()?;
        Ok(Self {
            table,
            stock,
            links,
        })
    }

    /// Puts these mappings in force in place of the last ones. The error is [`io::ErrorKind::Unsupported`] if that takes
    /// another rewriter, since all ports are mapped in place of some or the other way round.
    pub fn change_to(&mut self, mappings: &Mappings) -> io::Result<()> {
        if self.maps_all() != mappings.all.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Before a spare can be taken, its own port passes.
        self.table.change_to(&content(mappings))?;
        match (&mut self.stock, &mappings.all) {
            (Some(stock), Some(all)) => stock.change_to(all),
            _ => Ok(()),
        }
    }

    /// Whether ports without a mapping get spares.
    pub fn maps_all(&self) -> bool {
        self.stock.is_some()
    }

    /// Returns the spares that were taken and have no mapping of this process's yet.
    pub fn taken(&mut self) -> io::Result<Vec<Taken>> {
        let Some(stock) = &mut self.stock else {
            return Ok(Vec::new());
        };
        let added = self.table.added()?.into_iter();
        let taken: Vec<Taken> = added
            .filter_map(|(key, value)| {
                Some(Taken {
                    from: from_shown(key)?,
                    to: mapping::to(&value)?,
                })
            })
            .collect();
        for taken in &taken {
            stock.note_taken(taken.to);
        }
        Ok(taken)
    }

    /// Ends the mapping of a port that was taken for a lease that has ended meanwhile.
    pub fn forget(&mut self, from: Port) -> io::Result<()> {
        self.table.remove_added(&super::permit::shown(from))
    }

    /// Its links, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}
