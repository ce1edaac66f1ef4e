//! Ways of getting a port: one file each.

mod check_close_bind;
mod fd;
mod gate;
mod kernel;
mod release;
mod service;

use std::io;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use socket2::Socket;

/// A port that a client was given.
#[derive(Debug, Clone)]
pub struct Booked {
    /// The port.
    pub port: u16,
    /// The lease, where portbook gave it.
    pub lease: Option<String>,
}

/// One client's way of getting ports.
pub trait Subject {
    /// Gets a port. An error means that there was none to be had, which is no loss.
    fn book(&mut self) -> Result<Booked>;

    /// Listens on the port that was given. An error is a loss.
    fn listen(&mut self, booked: &Booked) -> io::Result<Socket> {
        crate::rivals::listen(booked.port, true)
    }

    /// Is done with the port; the listener is closed by now.
    fn give_back(&mut self, _: Booked) -> Result<()> {
        Ok(())
    }
}

/// Way to get a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Binds port 0 to see what the kernel chooses, closes it, and binds it a moment later.
    Kernel,
    /// Looks through the pool by binding, closes what it found, and binds it a moment later.
    CheckCloseBind,
    /// portbook, hand-over `release`: from the answer on the books alone keep the port.
    Release,
    /// portbook, hand-over `gate`.
    Gate,
    /// portbook, hand-over `fd`.
    Fd,
}

impl Way {
    /// Name in the report.
    pub fn word(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether portbook gives the ports.
    pub const fn is_portbook(self) -> bool {
        matches!(self, Self::Release | Self::Gate | Self::Fd)
    }

    /// A client that goes this way.
    pub fn client(self, socket: &Path) -> Result<Box<dyn Subject + Send>> {
        Ok(match self {
            Self::Kernel => Box::new(kernel::Kernel),
            Self::CheckCloseBind => Box::new(check_close_bind::CheckCloseBind),
            Self::Release => Box::new(release::Release::connect(socket)?),
            Self::Gate => Box::new(gate::Gate::connect(socket)?),
            Self::Fd => Box::new(fd::Fd::connect(socket)?),
        })
    }
}
