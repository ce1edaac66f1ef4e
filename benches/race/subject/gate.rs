//! portbook, hand-over `gate`: the hold stays while the client binds beside it with SO_REUSEADDR.

use std::path::Path;

use anyhow::Result;

use super::service::Service;
use super::{Booked, Subject};

/// A client.
pub struct Gate(Service);

impl Gate {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        Service::connect(socket).map(Self)
    }
}

impl Subject for Gate {
    fn book(&mut self) -> Result<Booked> {
        self.0.book("gate")
    }

    fn give_back(&mut self, booked: Booked) -> Result<()> {
        self.0.give_back(booked)
    }
}
