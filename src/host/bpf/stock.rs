//! Spares of a program all of whose ports are mapped: a queue that the programs in the kernel take from, and what is
//! in it as far as this process knows.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

use super::call::Queue;
use super::mapping::{self, All, VALUE_SIZE};
use super::rewrite::Spares;
use crate::domain::port::Port;

/// A spare that the program has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Port that the program asked for.
    pub from: Port,
    /// Port of the lease.
    pub to: Port,
}

/// The spares of one program.
#[derive(Debug)]
pub(super) struct Stock {
    queue: Queue<VALUE_SIZE>,
    uid: u32,
    /// Spares in the queue by port, with those that were taken and are not known to be.
    offered: HashSet<Port>,
}

impl Stock {
    /// Makes a stock with room for `most` spares.
    pub(super) fn of(all: &All, most: u32) -> io::Result<Self> {
        let mut stock = Self {
            queue: Queue::with_room_for(most)?,
            uid: all.uid,
            offered: HashSet::new(),
        };
        stock.change_to(all)?;
        Ok(stock)
    }

    /// What the programs in the kernel need of it.
    pub(super) fn spares(&self) -> Spares<'_> {
        Spares {
            queue: self.queue.as_fd(),
            uid: self.uid,
        }
    }

    /// Makes these the spares. Those that it has in common with the last ones can be taken all the time.
    pub(super) fn change_to(&mut self, all: &All) -> io::Result<()> {
        for spare in &all.spares {
            if !self.offered.contains(&spare.to) {
                self.queue.push(&mapping::spare(spare, self.uid))?;
                self.offered.insert(spare.to);
            }
        }
        let count = self.offered.len();
        let wanted: HashSet<Port> = all.spares.iter().map(|spare| spare.to).collect();
        self.offered.retain(|port| wanted.contains(port));
        if self.offered.len() < count {
            self.drop_others(count)?;
        }
        Ok(())
    }

    /// Notes that a spare was taken.
    pub(super) fn note_taken(&mut self, port: Port) {
        self.offered.remove(&port);
    }

    /// Takes each of `count` values out, and puts those that are still offered in again. The program finds the others
    /// meanwhile.
    fn drop_others(&self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let Some(value) = self.queue.pop()? else {
                break;
            };
            let is_offered = mapping::to(&value).is_some_and(|to| self.offered.contains(&to));
            if is_offered {
                self.queue.push(&value)?;
            }
        }
        Ok(())
    }
}
