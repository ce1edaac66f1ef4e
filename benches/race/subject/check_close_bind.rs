//! The way of most tools that find a free port, over the pool: from a random port upwards, bind;
//! what can be bound is free; close it; the program binds it a moment later.

use anyhow::{Context, Result};

use super::{Booked, Subject};
use crate::POOL;
use crate::rivals::listen;

/// A client.
pub struct CheckCloseBind;

impl Subject for CheckCloseBind {
    fn book(&mut self) -> Result<Booked> {
        let first = fastrand::u16(POOL);
        let mut ports = (first..=*POOL.end()).chain(*POOL.start()..first);
        let free = ports.find(|port| listen(*port, false).is_ok());
        let port = free.context("the pool is exhausted")?;
        Ok(Booked { port, lease: None })
    }
}
