//! portbook, hand-over `release`: the hold is closed before the client binds; the books alone keep the port.

use std::path::Path;

use anyhow::Result;

use super::service::Service;
use super::{Booked, Subject};

/// A client.
pub struct Release(Service);

impl Release {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        Service::connect(socket).map(Self)
    }
}

impl Subject for Release {
    fn book(&mut self) -> Result<Booked> {
        self.0.book("release")
    }

    fn give_back(&mut self, booked: Booked) -> Result<()> {
        self.0.give_back(booked)
    }
}
