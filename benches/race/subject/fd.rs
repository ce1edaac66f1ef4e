//! portbook, hand-over `fd`: the client gets a socket that listens already.

use std::path::Path;

use anyhow::Result;

use super::service::Service;
use super::{Booked, Subject};

/// A client. Until portbook has this hand-over its requests are refused, and it is not measured.
pub struct Fd(Service);

impl Fd {
    /// Connects to the API socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        Service::connect(socket).map(Self)
    }
}

impl Subject for Fd {
    fn book(&mut self) -> Result<Booked> {
        self.0.book("fd")
    }

    fn give_back(&mut self, booked: Booked) -> Result<()> {
        self.0.give_back(booked)
    }
}
