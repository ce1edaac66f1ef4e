//! Guests: users other than root and the service's own, who share a door. Each may have some connections,
//! and all of them together twice as many, so that descriptors are left for the owner.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt::socket_peercred;

use super::{Kind, Stream};
use crate::host::{kernel, occupancy};

/// Factor for clients of the port server: a test run starts many at once, each for a moment.
const OF_PORTSERVER: usize = 4;

/// A user, or `None` for all that the kernel does not name.
type Guest = Option<u32>;

#[derive(Debug, Default)]
struct Counts {
    by_guest: HashMap<(Kind, Guest), Count>,
    by_door: HashMap<Kind, usize>,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// Whether it was told that this guest has too many.
    is_told: bool,
}

/// Connections of guests.
#[derive(Debug)]
pub(super) struct Guests {
    /// Maximum number of a door, for all guests together.
    most: usize,
    me: u32,
    counts: Mutex<Counts>,
}

/// Place of a guest's connection until it is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct Place {
    guests: Arc<Guests>,
    kind: Kind,
    guest: Guest,
}

impl Guests {
    pub(super) fn new() -> Arc<Self> {
        let most = kernel::guest_connections(kernel::fd_limit());
        Arc::new(Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            me: rustix::process::geteuid().as_raw(),
            counts: Mutex::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No change of the counts can panic halfway.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in. Root and the service's own user have no place, and no limit; `Err` if the
    /// guest, or all guests of the door, have too many.
    pub(super) fn admit(
        self: &Arc<Self>,
        kind: Kind,
        stream: &Stream,
    ) -> Result<Option<Place>, TooMany> {
        let guest = user_of(stream).ok().flatten();
        if guest.is_some_and(|uid| uid == 0 || uid == self.me) {
            return Ok(None);
        }
        self.place(kind, guest).map(Some)
    }

    fn place(self: &Arc<Self>, kind: Kind, guest: Guest) -> Result<Place, TooMany> {
        let most = match kind {
            Kind::Portserver => self.most * OF_PORTSERVER,
            _ => self.most,
        };
        let mut counts = self.counts();
        let of_door = counts.by_door.get(&kind).copied().unwrap_or(0);
        let of_guest = counts.by_guest.entry((kind, guest)).or_default();
        if of_door >= most || of_guest.open >= most / 2 {
            let is_first = !std::mem::replace(&mut of_guest.is_told, true);
            let open = of_guest.open;
            drop(counts);
            if is_first {
                tracing::warn!(uid = guest, door = ?kind, connections = open, "a user has too many connections; more are closed at once");
            }
            return Err(TooMany);
        }
        of_guest.open += 1;
        counts.by_door.insert(kind, of_door + 1);
        let guests = Arc::clone(self);
        Ok(Place {
            guests,
            kind,
            guest,
        })
    }
}

/// Refusal of a connection.
#[derive(Debug)]
pub(super) struct TooMany;

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        if let Some(open) = counts.by_door.get_mut(&self.kind) {
            *open -= 1;
        }
        let key = (self.kind, self.guest);
        if let Some(count) = counts.by_guest.get_mut(&key) {
            count.open -= 1;
            if count.open == 0 {
                counts.by_guest.remove(&key);
            }
        }
    }
}

/// User at the other end. `None` if the kernel does not know it.
fn user_of(stream: &Stream) -> io::Result<Guest> {
    match stream {
        Stream::Unix(stream) => Ok(Some(socket_peercred(stream)?.uid.as_raw())),
        Stream::Tcp(stream) => {
            let (client, server) = (stream.peer_addr()?, stream.local_addr()?);
            Ok(occupancy::user_of_client(client, server))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_guest_and_for_all() {
        let guests = Arc::new(Guests {
            most: 4,
            me: 1000,
            counts: Mutex::default(),
        });
        let place = |guest| guests.place(Kind::Console, guest);
        let (one, other) = (place(Some(1)).unwrap(), place(Some(1)).unwrap());
        assert!(place(Some(1)).is_err() && guests.place(Kind::Api, Some(1)).is_ok());
        let more = [place(Some(2)).unwrap(), place(None).unwrap()];
        assert!(place(Some(3)).is_err(), "the door is full");
        drop(one);
        drop(place(Some(3)).unwrap());
        drop((other, more));
        assert!(guests.counts().by_guest.is_empty());
    }
}
