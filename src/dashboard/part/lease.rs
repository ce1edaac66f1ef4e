//! A lease as tables and its own page show it.

use jiff::Timestamp;

use super::badge::Badge;
use super::moved::MoveNote;
use super::user;
use crate::access::Viewer;
use crate::answers::document::LeaseDocument;
use crate::answers::leases;
use crate::dashboard::format::UNSET;
use crate::dashboard::frame::Params;
use crate::domain::address::host_with_port;
use crate::domain::attempt::printable;
use crate::domain::lease::{Guard, Handover, State};
use crate::domain::note::NOTE;
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
    /// Whether it is chosen already.
    pub chosen: bool,
    /// The user, if it is another one than the viewer.
    pub user: Option<String>,
}

/// Maximum number of labels in a row.
const LABELS: usize = 3;

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
            user: other_user(lease.uid, viewer),
            lease: leases::shown(lease, viewer),
            taken_by: None,
            choosable: false,
            chosen: false,
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
            State::Lost => Some(match (&self.taken_by, self.outsiders()) {
                (Some(who), _) => format!("taken by {}", printable(who)),
                (None, Some(who)) => format!("taken by {who}"),
                (None, None) => "taken by another program".to_owned(),
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

    /// The note that its user wrote on it.
    pub fn note(&self) -> Option<String> {
        self.lease.labels.get(NOTE).map(|note| printable(note))
    }

    /// Labels as `key=value`, without the note.
    pub fn labels(&self) -> Vec<String> {
        let labels = self.lease.labels.iter();
        let labels = labels.filter(|(key, _)| *key != NOTE);
        let labels = labels.map(|(key, value)| printable(&format!("{key}={value}")));
        labels.collect()
    }

    /// The first labels, and the number of further ones.
    pub fn first_labels(&self) -> (Vec<String>, usize) {
        let mut labels = self.labels();
        let more = labels.len().saturating_sub(LABELS);
        labels.truncate(LABELS);
        (labels, more)
    }

    /// The folder that the name belongs to.
    pub fn folder(&self) -> Option<String> {
        let folder = self.lease.directory.as_ref()?;
        Some(printable(&folder.display().to_string()))
    }

    /// The leases of the same folder.
    pub fn of_folder(&self) -> String {
        let folder = self.folder().unwrap_or_default();
        let only = Params::default().with("directory", &folder);
        only.link("/leases")
    }

    /// Address for a browser. `None` for UDP, and while the owner is away.
    pub fn url(&self) -> Option<&str> {
        let may_open = self.lease.protocol == Protocol::Tcp && self.lease.may_be_listened_on();
        let url = may_open.then_some(&*self.lease.url);
        url.filter(|url| is_web_address(url))
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
            _ if !self.open => match &self.user {
                Some(user) => user.clone(),
                None => format!("uid {}", self.lease.uid),
            },
            State::Reserved | State::Lost => "away".to_owned(),
            state if state.is_ended() => UNSET.to_owned(),
            _ => "none yet".to_owned(),
        }
    }

    pub const fn guard_means(&self) -> &'static str {
        match self.lease.guard {
            Guard::Hold if matches!(self.lease.state, State::Lost) => {
                "portbook's socket is bound, but another program listens on the port"
            }
            _ if matches!(self.lease.state, State::Lost) => {
                "nothing keeps the port now: another program has it"
            }
            Guard::Hold => "portbook holds the port with a bound socket",
            Guard::Owner => "the owner's own socket holds the port",
            Guard::None => "only the books keep the port: programs that do not ask can take it",
        }
    }

    pub const fn handover_means(&self) -> &'static str {
        match self.lease.handover {
            Handover::Gate => "the owner binds beside the hold, with SO_REUSEADDR",
            Handover::Fd => "the owner gets sockets that listen already",
            Handover::Bind => {
                "the owner binds beside the hold, and a guard in the kernel keeps others out"
            }
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

/// The user of a lease that the viewer sees as another one, by name if it has one.
fn other_user(uid: u32, viewer: &Viewer) -> Option<String> {
    let is_other = viewer.asker().uid != uid;
    is_other.then(|| user::called(uid))
}

/// Whether a link to an address opens a page of a host and nothing else.
pub fn is_web_address(url: &str) -> bool {
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let is_of_host = |letter: char| letter.is_ascii_alphanumeric() || ".:-_[]%".contains(letter);
    host.is_some_and(|host| !host.is_empty() && host.chars().all(is_of_host))
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

/// Whether a lease of this state is in trouble.
pub fn is_urgent(state: State) -> bool {
    urgency(state) < urgency(State::Active)
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
mod tests;
