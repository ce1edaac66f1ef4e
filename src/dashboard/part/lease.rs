//! A lease as a row.

use jiff::Timestamp;

use super::badge::Badge;
use super::moved::MoveNote;
use crate::api::document::{LeaseDocument, OwnerDocument};
use crate::dashboard::format::{UNSET, When};
use crate::domain::address::host_with_port;
use crate::domain::attempt::printable;
use crate::domain::lease::{Guard, State};
use crate::domain::port::Protocol;

/// One row of a table of leases.
#[derive(Debug, Clone)]
pub struct LeaseRow {
    /// Its id.
    pub id: String,
    /// Its name; none where it has none or the reader may not know it.
    pub name: Option<String>,
    /// The folder that the name belongs to, if it belongs to one.
    pub folder: Option<String>,
    /// Where a browser reaches its program; none where there is nothing to open.
    pub url: Option<String>,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// What a client connects to, to be copied.
    pub target: String,
    /// The bind addresses.
    pub addresses: Vec<String>,
    /// The interfaces of these.
    pub interfaces: String,
    /// Where it is in its life.
    pub state: Badge,
    /// The same in words.
    pub state_means: &'static str,
    /// What is wrong with it, if anything is.
    pub trouble: Option<String>,
    /// The port that it is not on, or came from; `None` if it did not move, or for others' eyes.
    pub moved: Option<MoveNote>,
    /// What enforces it.
    pub guard: &'static str,
    /// The same in a sentence.
    pub guard_means: &'static str,
    /// Whether the reader may see everything about it.
    pub open: bool,
    /// The process that uses it.
    pub owner: Option<OwnerCell>,
    /// What stands in its place where there is none to show.
    pub nobody: String,
    /// The pool.
    pub pool: String,
    /// When it was granted.
    pub granted: When,
    /// When or how it ends.
    pub ends: Ends,
    /// Whether the reader can choose it to be released.
    pub choosable: bool,
}

/// The process that uses a lease.
#[derive(Debug, Clone)]
pub struct OwnerCell {
    /// Its name, anybody's text.
    pub command: String,
    /// Its process id.
    pub pid: u32,
}

/// How a lease comes to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// A first listener must come until then.
    ClaimBy(When),
    /// It must be renewed until then.
    At(When),
    /// In words.
    Otherwise(&'static str),
}

impl LeaseRow {
    /// The port in whose place the lease is; `None` where it is on the port that was wanted.
    pub fn instead_of(&self) -> Option<&MoveNote> {
        self.moved.as_ref().filter(|note| note.is_displaced)
    }

    /// The row of a lease that was already reduced to what the reader may see. For a lost one
    /// `taken_by` tells who has the port, where that is known.
    pub fn of(lease: LeaseDocument, open: bool, taken_by: Option<&str>, now: Timestamp) -> Self {
        Self {
            id: lease.id.to_string(),
            target: host_with_port(&lease.host, lease.port),
            addresses: lease.addresses.iter().map(|text| bare(text)).collect(),
            interfaces: lease.interfaces.join(", "),
            state: Badge::lease(lease.state),
            state_means: lease.state.describe(),
            trouble: trouble(&lease, taken_by),
            moved: moved(&lease),
            guard: lease.guard.as_str(),
            guard_means: guard_means(lease.guard),
            granted: When::of(lease.granted_at, now),
            ends: ends(&lease, open, now),
            nobody: nobody(&lease, open),
            folder: folder(&lease),
            url: url(&lease),
            name: lease.name.map(|name| name.to_string()),
            port: lease.port.get(),
            protocol: lease.protocol.as_str(),
            open,
            owner: lease.owner.map(OwnerCell::from),
            pool: lease.pool,
            choosable: false,
        }
    }
}

impl From<OwnerDocument> for OwnerCell {
    fn from(owner: OwnerDocument) -> Self {
        Self {
            command: printable(&owner.command),
            pid: owner.pid,
        }
    }
}

fn moved(lease: &LeaseDocument) -> Option<MoveNote> {
    let moved = lease.moved.as_ref()?;
    Some(MoveNote::of_lease(moved, lease.name.is_some(), lease.state))
}

/// The folder that the name of a lease belongs to.
pub fn folder(lease: &LeaseDocument) -> Option<String> {
    let folder = lease.directory.as_ref()?;
    Some(printable(&folder.display().to_string()))
}

/// Datagrams are nothing to open, and nobody answers where the owner is away.
fn url(lease: &LeaseDocument) -> Option<String> {
    let may_open = lease.protocol == Protocol::Tcp && lease.may_be_listened_on();
    may_open.then(|| lease.url.clone())
}

/// An address without the port, which has a column of its own.
fn bare(address: &str) -> String {
    let bare = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    bare.trim_matches(['[', ']']).to_owned()
}

fn nobody(lease: &LeaseDocument, open: bool) -> String {
    match lease.state {
        _ if !open => format!("uid {}", lease.uid),
        State::Reserved => "away".to_owned(),
        state if state.is_ended() => UNSET.to_owned(),
        _ => "none yet".to_owned(),
    }
}

fn trouble(lease: &LeaseDocument, taken_by: Option<&str>) -> Option<String> {
    match lease.state {
        State::Lost => Some(match taken_by {
            Some(who) => format!("taken by {}", printable(who)),
            None => "taken by another program".to_owned(),
        }),
        State::Degraded => Some(lease.state.describe().to_owned()),
        _ => None,
    }
}

/// How soon a reader should look at a lease: the lowest first.
pub fn urgency(state: State) -> u8 {
    match state {
        State::Lost => 0,
        State::Degraded => 1,
        _ => 2,
    }
}

const fn guard_means(guard: Guard) -> &'static str {
    match guard {
        Guard::Hold => "portbook holds the port with a bound socket",
        Guard::Owner => "the owner's own socket holds the port",
        Guard::None => "only the books keep the port: nothing stops a program that does not ask",
    }
}

fn ends(lease: &LeaseDocument, open: bool, now: Timestamp) -> Ends {
    match (lease.claim_by, lease.expires_at) {
        (Some(claim), expiry) if expiry.is_none_or(|expiry| claim <= expiry) => {
            Ends::ClaimBy(When::of(claim, now))
        }
        (_, Some(expiry)) => Ends::At(When::of(expiry, now)),
        _ if lease.name.is_some() => Ends::Otherwise("kept for its name"),
        _ if lease.owner.is_some() => Ends::Otherwise("with its owner"),
        // Others' names and owners are not shown, so nothing can be said of their end.
        _ if !open => Ends::Otherwise(UNSET),
        _ => Ends::Otherwise("when released"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::Lease;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::precedence::Moved;
    use crate::domain::reason::Reason;
    use crate::host::clock::Clock;

    #[test]
    fn an_address_stands_without_its_port() {
        assert_eq!(bare("0.0.0.0:20000"), "0.0.0.0");
        assert_eq!(bare("[::]:20000"), "::");
        assert_eq!(bare("[fe80::1%eth0]:1"), "fe80::1%eth0");
    }

    #[test]
    fn an_owner_is_away_while_its_lease_lives() {
        let told = |state| {
            let mut lease = lease(20_000);
            lease.state = state;
            let document = LeaseDocument::of(&lease, &Clock::manual());
            LeaseRow::of(document, true, None, Timestamp::UNIX_EPOCH).nobody
        };
        assert_eq!(told(State::Reserved), "away");
        assert_eq!(told(State::Handed), "none yet");
        assert_eq!(told(State::Unclaimed), "–");
    }

    #[test]
    fn others_do_not_learn_why_a_lease_moved() {
        let mut moved = lease(20_001);
        moved.moved = Some(Moved {
            from: lease(20_000).port,
            to: moved.port,
            reason: Reason::InUse,
            by: Some("node (pid 7)".into()),
            since: None,
            whose: None,
        });
        let row = |open| {
            let document = LeaseDocument::of(&moved, &Clock::manual());
            let shown = if open {
                document
            } else {
                document.seen_by_others()
            };
            LeaseRow::of(shown, open, None, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(
            row(true).instead_of().unwrap().why,
            "in use by node (pid 7)"
        );
        assert_eq!(row(false).moved, None);
    }

    #[test]
    fn the_first_deadline_is_told() {
        let clock = Clock::manual();
        let mut lease = lease(20_000);
        let after = |seconds| Some(clock.boot().after(std::time::Duration::from_secs(seconds)));
        let told = |lease: &Lease| ends(&LeaseDocument::of(lease, &clock), true, clock.now());
        assert_eq!(told(&lease), Ends::Otherwise("when released"));
        (lease.claim_by, lease.expires) = (after(600), after(60));
        assert!(matches!(told(&lease), Ends::At(when) if when.relative == "in 1 min"));
        lease.expires = None;
        assert!(matches!(told(&lease), Ends::ClaimBy(when) if when.relative == "in 10 min"));
    }
}
