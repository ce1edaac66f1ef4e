//! Events of a service, and whether they concern the subject of a wait.

use serde::Deserialize;

use super::Subject;
use crate::client::{Client, ClientError, Pieces};
use crate::domain::event::EventKind;
use crate::domain::lease::LeaseId;
use crate::domain::port::Port;

/// Maximum size of one event in bytes. Portbook sends no longer ones.
const LONGEST_EVENT: usize = 64 << 10;

/// The stream of events.
const EVENTS: &str = "/api/v1/events";

/// Reason for another look at the leases.
pub(super) enum News {
    Event(Heard),
    /// Something may have happened.
    Unknown,
    /// The service has gone.
    Gone,
}

/// A service's events as they happen.
pub(super) struct Events {
    pieces: Pieces,
    text: Vec<u8>,
    /// Number of the latest event at the first look, which shows what it changed.
    seen: u64,
}

/// Parts of an event that tell whether it concerns a subject.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Heard {
    seq: u64,
    /// Whether it happened before the first look.
    #[serde(skip)]
    pub(super) is_old: bool,
    pub(super) kind: String,
    pub(super) lease: Option<LeaseId>,
    port: Option<Port>,
}

impl Events {
    pub(super) async fn of(client: &Client) -> Result<Self, ClientError> {
        Ok(Self {
            pieces: client.pieces(EVENTS).await?,
            text: Vec::new(),
            seen: 0,
        })
    }

    /// Notes that the leases were looked at: what has happened until now is old.
    pub(super) async fn note_look(&mut self, client: &Client) -> Result<(), ClientError> {
        let latest = client.pieces(EVENTS).await?.latest_event;
        let number = latest.as_deref().and_then(|id| id.split_once('-'));
        // A service of an earlier version does not tell it.
        self.seen = number.map_or(0, |(_, number)| number.parse().unwrap_or(0));
        Ok(())
    }

    /// Reads until an event concerns the subject.
    pub(super) async fn heard_of(&mut self, subject: &Subject, known: &[LeaseId]) -> News {
        loop {
            while let Some(event) = first_event(&mut self.text) {
                match heard(&event) {
                    Some(mut heard) if heard.concerns(subject, known) => {
                        heard.is_old = heard.seq <= self.seen;
                        return News::Event(heard);
                    }
                    Some(_) => {}
                    None => return News::Unknown,
                }
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.text.extend_from_slice(&piece),
                Some(Err(_)) | None => return News::Gone,
            }
            if self.text.len() > LONGEST_EVENT {
                self.text.clear();
                return News::Unknown;
            }
        }
    }
}

impl Heard {
    fn concerns(&self, subject: &Subject, known: &[LeaseId]) -> bool {
        if self.lease.is_some_and(|lease| known.contains(&lease)) {
            return true;
        }
        // A lease that may be of the name, which may be a number, and may have lost its program at once.
        let may_be_new = [EventKind::Granted, EventKind::Reserved];
        let is_of_name =
            known.is_empty() && may_be_new.iter().any(|kind| kind.as_str() == self.kind);
        is_of_name || matches!(subject, Subject::Port(port) if self.port == Some(*port))
    }
}

/// Takes the first whole event out of the text (WHATWG HTML 9.2.5: an empty line ends it).
fn first_event(text: &mut Vec<u8>) -> Option<String> {
    let end = text.windows(2).position(|pair| pair == b"\n\n")?;
    let event: Vec<u8> = text.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// Parses an event. `None` if everything may have changed; a comment is an event of no kind.
fn heard(event: &str) -> Option<Heard> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    match (field("event: "), field("data: ")) {
        (Some("resync"), _) => None,
        (_, Some(data)) => serde_json::from_str(data).ok(),
        (_, None) => Some(Heard::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019abcb7-4f2e-7c61-9d30-5b8a1c2e7f90";

    fn web() -> Subject {
        Subject::Name("web".parse().unwrap())
    }

    #[test]
    fn events_are_taken_whole_and_comments_change_nothing() {
        let mut text = b": alive\n\nid: 1-1\nevent: ended\ndata: {\"kind\":\"ended\",".to_vec();
        let comment = first_event(&mut text).unwrap();
        assert_eq!(heard(&comment), Some(Heard::default()));
        assert_eq!(first_event(&mut text), None);
        text.extend_from_slice(b"\"port\":3000,\"detail\":\"x\"}\n\nevent: resync\ndata: {}\n\n");
        let ended = heard(&first_event(&mut text).unwrap()).unwrap();
        assert_eq!(ended.port, Port::new(3000));
        assert!(heard(&first_event(&mut text).unwrap()).is_none());
    }

    #[test]
    fn only_events_of_the_subject_are_heard() {
        let port = Subject::Port(Port::new(3000).unwrap());
        let id: LeaseId = ID.parse().unwrap();
        let mut event = Heard {
            kind: "granted".to_owned(),
            ..Heard::default()
        };
        assert!(event.concerns(&web(), &[]), "it may be of that name");
        assert!(event.concerns(&port, &[]), "it may be called 3000");
        assert!(!event.concerns(&web(), &[id]));
        assert!(!event.concerns(&port, &[id]));
        event.port = Port::new(3000);
        assert!(event.concerns(&port, &[]));
        event.lease = Some(id);
        assert!(event.concerns(&web(), &[id]));
    }
}
