//! Kernels of simulated hosts: the permits of each, by its own clock. The oracle that no two of them have
//! one number open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::permit::{Change, Changed, Fence, FenceError};
use super::shaky::{lock, pause};
use crate::domain::claim::Number;
use crate::domain::lease::BootTime;
use crate::host::clock::Clock;

/// Time of reclaim of hosts with a fence.
pub const RECLAIM: Duration = Duration::from_mins(10);

/// Permits in the kernels of all hosts, with the clock of each.
pub type Kernels = Arc<Mutex<Vec<(Clock, BTreeMap<Number, BootTime>)>>>;

/// The kernel of one host. It outlives a crash.
#[derive(Debug)]
pub struct SimFence {
    pub index: usize,
    pub kernels: Kernels,
}

impl SimFence {
    /// Whether a host's kernel lets programs be reached at a number.
    pub fn is_open((clock, ends): &(Clock, BTreeMap<Number, BootTime>), number: Number) -> bool {
        ends.get(&number).is_some_and(|end| *end > clock.boot())
    }

    /// Opens a number. No other kernel may have it open.
    fn open(
        &self,
        kernels: &mut [(Clock, BTreeMap<Number, BootTime>)],
        number: Number,
        time: Duration,
    ) {
        for (index, kernel) in kernels.iter().enumerate() {
            assert!(
                index == self.index || !Self::is_open(kernel, number),
                "{number} is open on host {index}, and host {} opens it",
                self.index
            );
        }
        let (clock, ends) = &mut kernels[self.index];
        ends.insert(number, clock.boot().after(time));
    }

    fn apply(&self, changes: &[Change]) -> Result<(), FenceError> {
        let mut kernels = lock(&self.kernels);
        let is_shut = |change: &Change| match change {
            Change::Prolong(number, _) => !Self::is_open(&kernels[self.index], *number),
            _ => false,
        };
        if changes.iter().any(is_shut) {
            return Err(FenceError("a number is shut".into()));
        }
        for change in changes {
            match *change {
                Change::Open(number, _) if Self::is_open(&kernels[self.index], number) => {}
                Change::Open(number, time) | Change::Prolong(number, time) => {
                    self.open(&mut kernels, number, time);
                }
                Change::Shut(number) => {
                    kernels[self.index].1.remove(&number);
                }
            }
        }
        Ok(())
    }
}

impl Fence for SimFence {
    fn change(&self, changes: Vec<Change>) -> Changed<'_> {
        Box::pin(async move {
            pause().await;
            let done = self.apply(&changes);
            pause().await;
            done
        })
    }

    fn is_loaded(&self) -> Changed<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn load_again(&self) -> Changed<'_> {
        self.is_loaded()
    }
}

/// Whether a host has a fence: one of four has none.
pub const fn has_fence(index: usize) -> bool {
    index % 4 != 3
}
