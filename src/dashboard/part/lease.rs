//! A lease as tables and its own page show it.

use jiff::Timestamp;

use super::badge::Badge;
use super::moved::MoveNote;
use crate::access::Viewer;
use crate::answers::document::LeaseDocument;
use crate::answers::leases;
use crate::dashboard::format::UNSET;
use crate::domain::address::host_with_port;
use crate::domain::attempt::printable;
use crate::domain::lease::{Guard, Handover, State};
use crate::domain::port::Protocol;

/// A lease, reduced to what the viewer may see.
#[derive(Debug, Clone)]
pub struct LeaseRow {
    pub lease: LeaseDocument,
    /// Whether the viewer may see all of the lease.
    pub open: bool,
    /// The outsider on a lost lease's port. `None` if the journal has none.
    pub taken_by: Option<String>,
    /// Whether the reader can choose the lease to be released.
    pub choosable: bool,
}

/// The end of a living lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// Deadline for the first listener.
    ClaimBy(Timestamp),
    /// Deadline for a renewal.
    At(Timestamp),
    Otherwise(&'static str),
}

impl LeaseRow {
    /// Hides from the viewer what only others may see.
    pub fn of(lease: LeaseDocument, viewer: &Viewer) -> Self {
        Self {
            open: viewer.sees(lease.uid),
            lease: leases::shown(lease, viewer),
            taken_by: None,
            choosable: false,
        }
    }

    /// Address that a client connects to.
    pub fn target(&self) -> String {
        host_with_port(&self.lease.host, self.lease.port)
    }

    pub fn state(&self) -> Badge {
        Badge::lease(self.lease.state)
    }

    /// The trouble of a lost or degraded lease.
    pub fn trouble(&self) -> Option<String> {
        match self.lease.state {
            State::Lost => Some(match &self.taken_by {
                Some(who) => format!("taken by {}", printable(who)),
                None => "taken by another program".to_owned(),
            }),
            State::Degraded => Some(self.lease.state.describe().to_owned()),
            _ => self.outsiders().map(|who| format!("beside it: {who}")),
        }
    }

    /// The programs on the port that are not its owner's. `None` if there are none.
    pub fn outsiders(&self) -> Option<String> {
        let outsiders = self.lease.outsiders.iter();
        let outsiders: Vec<String> = outsiders.map(ToString::to_string).collect();
        (!outsiders.is_empty()).then(|| printable(&outsiders.join(", ")))
    }

    pub fn moved(&self) -> Option<MoveNote> {
        let lease = &self.lease;
        let moved = lease.moved.as_ref()?;
        Some(MoveNote::of_lease(moved, lease.name.is_some(), lease.state))
    }

    /// The port that the lease stands in for. `None` if it is on the port that was wanted.
    pub fn instead_of(&self) -> Option<MoveNote> {
        self.moved().filter(|note| note.is_displaced)
    }

    /// The folder that the name belongs to.
    pub fn folder(&self) -> Option<String> {
        let folder = self.lease.directory.as_ref()?;
        Some(printable(&folder.display().to_string()))
    }

    /// Address for a browser. `None` for UDP, and while the owner is away.
    pub fn url(&self) -> Option<&str> {
        let may_open = self.lease.protocol == Protocol::Tcp && self.lease.may_be_listened_on();
        may_open.then_some(&*self.lease.url)
    }

    /// Bind addresses without the port, which has a column of its own.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.lease.addresses.iter().map(|address| bare(address))
    }

    pub fn interfaces(&self) -> String {
        self.lease.interfaces.join(", ")
    }

    /// Stands in the place of an owner that is missing or hidden.
    pub fn no_owner(&self) -> String {
        match self.lease.state {
            _ if !self.open => format!("uid {}", self.lease.uid),
            State::Reserved => "away".to_owned(),
            state if state.is_ended() => UNSET.to_owned(),
            _ => "none yet".to_owned(),
        }
    }

    pub const fn guard_means(&self) -> &'static str {
        match self.lease.guard {
            Guard::Hold => "portbook holds the port with a bound socket",
            Guard::Owner => "the owner's own socket holds the port",
            Guard::None => "only the books keep the port: programs that do not ask can take it",
        }
    }

    pub const fn handover_means(&self) -> &'static str {
        match self.lease.handover {
            Handover::Gate => "the owner binds beside the hold, with SO_REUSEADDR",
            Handover::Fd => "the owner gets sockets that listen already",
            Handover::Release => "portbook closes the hold just before the owner starts",
        }
    }

    pub fn ends(&self) -> Ends {
        let lease = &self.lease;
        match (lease.claim_by, lease.expires_at) {
            (Some(claim), expiry) if expiry.is_none_or(|expiry| claim <= expiry) => {
                Ends::ClaimBy(claim)
            }
            (_, Some(expiry)) => Ends::At(expiry),
            _ if lease.name.is_some() => Ends::Otherwise("kept for its name"),
            _ if lease.owner.is_some() => Ends::Otherwise("with its owner"),
            // Names and owners of other users are hidden, so their end is not known.
            _ if !self.open => Ends::Otherwise(UNSET),
            _ => Ends::Otherwise("when released"),
        }
    }
}

/// An address without its port.
fn bare(address: &str) -> &str {
    let bare = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    bare.trim_matches(['[', ']'])
}

/// Rank of a state by the trouble it means; the worst is 0.
pub fn urgency(state: State) -> u8 {
    match state {
        State::Lost => 0,
        State::Degraded => 1,
        _ => 2,
    }
}

#[cfg(test)]
pub mod tests_support {
    use super::*;
    use crate::domain::lease::Lease;
    use crate::host::clock::Clock;

    /// A lease as its own user sees it.
    pub fn row(lease: &Lease) -> LeaseRow {
        let document = LeaseDocument::of(lease, &Clock::manual());
        LeaseRow::of(document, &Viewer::Reader { of: lease.uid })
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::row;
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::precedence::Moved;
    use crate::domain::reason::Reason;
    use crate::host::clock::Clock;

    #[test]
    fn addresses_have_no_port() {
        assert_eq!(bare("0.0.0.0:20000"), "0.0.0.0");
        assert_eq!(bare("[::]:20000"), "::");
        assert_eq!(bare("[fe80::1%eth0]:1"), "fe80::1%eth0");
    }

    #[test]
    fn owner_is_away_while_its_lease_lives() {
        let told = |state| {
            let mut lease = lease(20_000);
            lease.state = state;
            row(&lease).no_owner()
        };
        assert_eq!(told(State::Reserved), "away");
        assert_eq!(told(State::Handed), "none yet");
        assert_eq!(told(State::Unclaimed), "–");
    }

    #[test]
    fn other_users_do_not_see_the_reason_of_a_move() {
        let mut moved = lease(20_001);
        moved.moved = Some(Moved {
            from: lease(20_000).port,
            to: moved.port,
            reason: Reason::InUse,
            by: Some("node (pid 7)".into()),
            since: None,
            whose: None,
        });
        let why = row(&moved).instead_of().unwrap().why;
        assert_eq!(why, "in use by node (pid 7)");
        let document = LeaseDocument::of(&moved, &Clock::manual());
        let others = LeaseRow::of(document, &Viewer::Reader { of: 7 });
        assert_eq!(others.moved(), None);
    }

    #[test]
    fn first_deadline_is_the_end() {
        let clock = Clock::manual();
        let after = |seconds| std::time::Duration::from_secs(seconds);
        let mut lease = lease(20_000);
        assert_eq!(row(&lease).ends(), Ends::Otherwise("when released"));
        lease.claim_by = Some(clock.boot().after(after(600)));
        lease.expires = Some(clock.boot().after(after(60)));
        assert_eq!(row(&lease).ends(), Ends::At(clock.now() + after(60)));
        lease.expires = None;
        assert_eq!(row(&lease).ends(), Ends::ClaimBy(clock.now() + after(600)));
    }
}
