//! The fate of a name: its leases stay, or it seeks a port.

use std::sync::Arc;

use crate::domain::lease::Lease;
use crate::domain::port::Port;
use crate::domain::precedence::{Moved, Skipped};
use crate::domain::reason::Reason;
use crate::engine::{allocator::Wish, context::RequestContext};

/// One name of a request, with its living leases.
pub(super) struct Known {
    /// The living leases, one a protocol; empty if there are none.
    pub(super) leases: Vec<Arc<Lease>>,
    /// The fate of the name.
    pub(super) fate: Fate,
}

/// The fate of a name.
pub(super) enum Fate {
    /// It keeps its leases. The preferred port and the reason why it is not that one, if any.
    Stays(Option<Skipped>),
    /// It seeks a port; its leases, if any, end once it has one.
    Seeks {
        /// The ports that come before the pool.
        wish: Wish,
        /// The reason why the name gives up the port that it has, if a rule or the request does.
        gives_up: Option<Skipped>,
    },
}

impl Known {
    /// The port that the name has or had.
    fn had(&self) -> Option<Port> {
        let living = self.leases.first().map(|lease| lease.port);
        living.or(match self.fate {
            Fate::Seeks { wish, .. } => wish.last,
            Fate::Stays(_) => None,
        })
    }

    /// The way to `port`, where it is not the one that was preferred or that the name had.
    pub(super) fn moved(
        &self,
        asked: &RequestContext<'_>,
        why_skipped: impl Fn(Port) -> Option<Skipped>,
        port: Port,
    ) -> Option<Moved> {
        let (preferred, gives_up) = match &self.fate {
            Fate::Stays(skipped) => {
                let skipped = skipped.as_ref()?;
                return Some(Moved::past(skipped, asked.request.prefer?, port));
            }
            Fate::Seeks { wish, gives_up } => (wish.preferred, gives_up),
        };
        if let Some(wanted) = preferred.filter(|wanted| *wanted != port) {
            return why_skipped(wanted).map(|why| Moved::past(&why, wanted, port));
        }
        let had = self.had().filter(|had| *had != port)?;
        match gives_up {
            Some(why) => Some(Moved::past(why, had, port)),
            None if preferred == Some(port) => Some(Moved {
                from: had,
                to: port,
                reason: Reason::Preferred,
                by: None,
                since: None,
                whose: None,
            }),
            None => why_skipped(had).map(|why| Moved::past(&why, had, port)),
        }
    }
}
