//! The rewriter of a program: a map of its mappings, and the links that keep its programs in force.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::call::{self, Kind};
use super::code::Instruction;
use super::folder::Folder;
use super::guard::namespace;
use super::mapping::{self, KEY_SIZE, Mappings, VALUE_SIZE, content};
use super::permit::{place, port_in};
use super::program::Asked;
use super::rewrite::{ALL, Call, Maps, SENDS, rewrite};
use super::sent::{self, RECEIVES, Sent};
use super::stock::{Stock, Taken};
use super::table::Table;
use crate::domain::port::{Port, Protocol};

/// Maximum number of mappings of one program, spares included: that of ports in one request.
pub const MOST_MAPPINGS: u32 = 256;

/// Maximum number of keys: mappings, and leased ports that stay what they are.
const MOST_KEYS: u32 = 8 * MOST_MAPPINGS;

/// Gives the processes of one cgroup other ports than they ask for, when they bind and when they connect or send to
/// this host by a loopback address, in this network namespace.
#[derive(Debug)]
pub struct Rewriter {
    table: Table<KEY_SIZE, VALUE_SIZE>,
    /// `None` if ports without a mapping are left alone.
    stock: Option<Stock>,
    /// `None` if no port for UDP is mapped.
    sent: Option<Sent>,
    links: Vec<OwnedFd>,
}

impl Rewriter {
    /// Number of descriptors that it keeps open at most: its table, its stock, and its links.
    pub const DESCRIPTORS: usize = 2 + ALL.len();

    /// Number of descriptors that it keeps open for UDP beside those: its map of what was sent, and its links.
    pub const UDP_DESCRIPTORS: usize = 1 + SENDS.len() + RECEIVES.len();

    /// Puts mappings of the processes in a cgroup in force.
    pub fn on(folder: &Folder, mappings: &Mappings) -> io::Result<Self> {
        let table = Table::of(&content(mappings), MOST_KEYS)?;
        let stock = mappings.all.as_ref();
        let stock = stock.map(|all| Stock::of(all, MOST_MAPPINGS)).transpose()?;
        let sent = mappings.has_udp().then(sent::map).transpose()?;
        let (namespace, folder) = (namespace()?, folder.opened()?);
        let maps = Maps {
            mappings: table.as_fd(),
            spares: stock.as_ref().map(Stock::spares),
            sent: sent.as_ref().map(AsFd::as_fd),
        };
        let links = programs(maps, namespace).into_iter().map(|(kind, code)| {
            let code = code.ok_or_else(|| io::Error::other("the program is too long"))?;
            call::attach(call::load(kind, &code)?, &folder, kind)
        });
        let links = links.collect::<io::Result<_>>()?;
        Ok(Self {
            table,
            stock,
            sent,
            links,
        })
    }

    /// Whether it can put these mappings in force. It has no programs for all ports in place of some, or for UDP, unless
    /// it was made for that.
    pub fn suits(&self, mappings: &Mappings) -> bool {
        self.stock.is_some() == mappings.all.is_some() && self.sent.is_some() == mappings.has_udp()
    }

    /// Puts these mappings in force in place of the last ones. The error is [`io::ErrorKind::Unsupported`] unless it
    /// [suits](Self::suits) them.
    pub fn change_to(&mut self, mappings: &Mappings) -> io::Result<()> {
        if !self.suits(mappings) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Before a spare can be taken, its own port passes.
        self.table.change_to(&content(mappings))?;
        match (&mut self.stock, &mappings.all) {
            (Some(stock), Some(all)) => stock.change_to(all),
            _ => Ok(()),
        }
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
                    from: port_in(Protocol::Tcp, key)?,
                    to: mapping::to(&value)?,
                })
            })
            .collect();
        for taken in &taken {
            stock.note_taken(taken.to);
        }
        Ok(taken)
    }

    /// Ends the mapping of a port for TCP that was taken for a lease that has ended meanwhile.
    pub fn forget(&mut self, from: Port) -> io::Result<()> {
        self.table.remove_added(&place(Protocol::Tcp, from))
    }

    /// Its links, to be kept by a supervisor.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}

/// Makes the programs of a cgroup.
fn programs(maps: Maps<'_>, namespace: u64) -> Vec<(Kind, Option<Vec<Instruction>>)> {
    let rewrites = |(kind, on, asked): &(Kind, Call, Asked)| {
        let code = rewrite(*on, *asked, maps, namespace);
        (*kind, code)
    };
    let Some(sent) = maps.sent else {
        return ALL.iter().map(rewrites).collect();
    };
    let receives = RECEIVES.iter();
    let receives = receives.map(|(kind, asked)| (*kind, sent::receive(*asked, sent, namespace)));
    let others = SENDS.iter().chain(&ALL).map(rewrites);
    receives.chain(others).collect()
}
