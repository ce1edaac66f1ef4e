//! The operator's side of numbers that are reserved on every host: a reservation is a claim of no host, and
//! the key that all hosts watch, in one commit.
//!
//! The claim keeps hosts from the number for unique leases; it has no session, so that no sweep takes it. Only an
//! operator has the right to write the other key. What an earlier commit left halves of, as after a lost
//! answer or a host that deleted the claim, is made whole by the next one.

use super::engine::{Answer, Compare, Engine, EngineError, Entry, MOST_STEPS, Outcome, Step};
use super::holding;
use super::key::Keys;
use super::member::Member;
use super::telling::measured;
use super::tend::NEVER;
use super::value::{self, ClaimValue, EverywhereValue};
use super::view;
use crate::domain::claim::{ClaimStage, NO_FENCE, Number};
use crate::domain::everywhere::{EVERYWHERE, claimant};
use crate::domain::fleet::HostName;
use crate::domain::lease::Name;
use crate::engine::fleet::{FleetRequest, FleetSilence, Reserved};

/// Maximum number of commits for one reservation. Another is needed only if the keys change meanwhile, or an
/// answer is missing.
const TRIES: usize = 4;

/// Maximum number of reservations of a fleet: each takes a number from every host.
pub const MOST_RESERVED: usize = 256;

/// An operator of a fleet, who acts through one host.
#[derive(Debug, Clone)]
pub struct Operator<E> {
    pub engine: E,
    pub keys: Keys,
    pub host: HostName,
    /// Key of the host's session.
    pub session: String,
}

/// Keys of a number as they were found.
struct Found {
    claim: Option<Entry>,
    everywhere: Option<Entry>,
}

impl Found {
    /// Whether the number was reserved before a request of this value.
    fn reserved(&self, is_doubtful: bool, own: &EverywhereValue) -> Reserved {
        let is_own = |entry: &Entry| {
            is_doubtful && serde_json::to_vec(own).is_ok_and(|own| own == entry.value)
        };
        match &self.everywhere {
            Some(entry) if !is_own(entry) => Reserved::Again,
            _ => Reserved::New,
        }
    }
}

impl<E: Engine> Operator<E> {
    /// Reserves a number for a name.
    pub async fn reserve(
        &self,
        number: Number,
        name: &Name,
        now_ms: i64,
    ) -> Result<Reserved, FleetSilence> {
        self.check_others(number, name).await?;
        let value = EverywhereValue {
            name: name.clone(),
            since_ms: now_ms,
        };
        let claim = put(self.keys.claim(number), &claim_for(name));
        let both = [claim, put(self.keys.everywhere_of(number), &value)];
        // An answer that was lost may be that of a commit of this request.
        let mut is_doubtful = false;
        let mut found = Found {
            claim: None,
            everywhere: None,
        };
        for _ in 0..TRIES {
            let mut compare = vec![
                as_found(self.keys.claim(number), found.claim.as_ref()),
                as_found(self.keys.everywhere_of(number), found.everywhere.as_ref()),
                Compare::present(self.session.clone()),
            ];
            // A restored engine gives nothing to anybody new before its hosts have what they had.
            compare.push(Compare::absent(self.keys.hold()));
            // An earlier reservation stays as it is.
            let count = if found.everywhere.is_some() { 1 } else { 2 };
            let steps = both.iter().take(count).cloned().collect();
            match self.commit(compare, steps).await {
                Ok(Outcome::Done { .. }) => return Ok(found.reserved(is_doubtful, &value)),
                Ok(Outcome::Refused { found: all, .. }) => {
                    found = self.judge(number, name, all)?;
                    if found.claim.is_some() && found.everywhere.is_some() {
                        return Ok(found.reserved(is_doubtful, &value));
                    }
                }
                Err(error) => {
                    self.unanswered(error)?;
                    is_doubtful = true;
                }
            }
        }
        Err(no_answer())
    }

    /// Takes a reservation back.
    pub async fn release(&self, number: Number) -> Result<(), FleetSilence> {
        let mut is_doubtful = false;
        for _ in 0..TRIES {
            let entries = match self.find(number).await {
                Ok(entries) => entries,
                Err(error) => {
                    self.unanswered(error)?;
                    continue;
                }
            };
            match (entries.is_empty(), is_doubtful) {
                (true, true) => return Ok(()),
                (true, false) => return Err(FleetSilence::NotReserved(number)),
                (false, _) => {}
            }
            match self.delete(&entries).await {
                Ok(Outcome::Done { .. }) => return Ok(()),
                // They have changed meanwhile.
                Ok(Outcome::Refused { .. }) => {}
                Err(error) => {
                    self.unanswered(error)?;
                    is_doubtful = true;
                }
            }
        }
        Err(no_answer())
    }

    /// The keys of a reservation that are there. The claim of a host is none of them.
    async fn find(&self, number: Number) -> Answer<Vec<Entry>> {
        let keys = [self.keys.claim(number), self.keys.everywhere_of(number)];
        let compare = keys.map(|key| Compare::unchanged(key, NEVER)).to_vec();
        let found = match self.commit(compare, Vec::new()).await? {
            Outcome::Refused { found, .. } => found,
            Outcome::Done { .. } => Vec::new(),
        };
        let mut found: Vec<Entry> = found.into_iter().flatten().collect();
        found.retain(|entry| self.is_of_reservation(entry));
        Ok(found)
    }

    async fn delete(&self, entries: &[Entry]) -> Answer<Outcome> {
        let as_found = |entry: &Entry| Compare::unchanged(entry.key.clone(), entry.modified);
        let mut compare: Vec<Compare> = entries.iter().map(as_found).collect();
        compare.push(Compare::present(self.session.clone()));
        let steps = entries.iter().map(|entry| Step::Delete {
            key: entry.key.clone(),
        });
        self.commit(compare, steps.collect()).await
    }

    /// Refuses a name that has another number, since a host gives a name one, and one reservation too many.
    async fn check_others(&self, number: Number, name: &Name) -> Result<(), FleetSilence> {
        let away = |error: EngineError| FleetSilence::Away(error.to_string());
        let prefix = self.keys.everywhere();
        let entries = view::entries_of(&self.engine, &prefix).await;
        let entries = entries.map_err(away)?;
        let mut others = entries
            .iter()
            .filter_map(|entry| value::everywhere(&self.keys, entry))
            .filter(|(other, _)| *other != number);
        if let Some((other, _)) = others.clone().find(|(_, value)| value.name == *name) {
            return Err(FleetSilence::NameTaken(name.clone(), other));
        }
        if others.nth(MOST_RESERVED - 1).is_some() {
            return Err(FleetSilence::TooMany(MOST_RESERVED));
        }
        Ok(())
    }

    /// What was found, if the reservation may be made over it.
    fn judge(
        &self,
        number: Number,
        name: &Name,
        found: Vec<Option<Entry>>,
    ) -> Result<Found, FleetSilence> {
        let mut found = found.into_iter();
        let (claim, everywhere) = (found.next().flatten(), found.next().flatten());
        let has_session = found.next().flatten().is_some();
        let taken = |why: String| Err(FleetSilence::Taken(number, why));
        if let Some(entry) = &everywhere {
            match value::everywhere(&self.keys, entry) {
                Some((_, value)) if value.name == *name => {}
                Some((_, value)) => {
                    return taken(format!("reserved on every host for {}", value.name));
                }
                None => {
                    return taken(format!(
                        "reserved on every host in a way that cannot be read: `portbook fleet release {} --protocol {}` takes it back",
                        number.port, number.protocol
                    ));
                }
            }
        }
        if let Some(entry) = &claim {
            let value = value::claim_value(entry);
            let host = value.as_ref().and_then(value::host_of);
            let of_name = value.and_then(|value| value.name);
            let is_ours =
                host.as_deref() == Some(EVERYWHERE) && of_name.as_deref() == Some(name.as_str());
            if !is_ours {
                return taken(match value::holder(entry) {
                    Some(host) => format!("claimed by {} of the fleet", claimant(&host)),
                    None => {
                        "claimed in a way that cannot be read: `portbook fleet evict '?'` takes it"
                            .to_owned()
                    }
                });
            }
        }
        if !has_session {
            let why = "the session of this host has ended; it opens another one by itself";
            return Err(FleetSilence::Away(why.to_owned()));
        }
        if let Some(hold) = found.next().flatten() {
            return Err(FleetSilence::Away(holding::told(&self.keys, &hold)));
        }
        Ok(Found { claim, everywhere })
    }

    /// Whether an entry is one of a reservation, rather than the claim of a host.
    fn is_of_reservation(&self, entry: &Entry) -> bool {
        if self.keys.read_everywhere(&entry.key).is_some() {
            return true;
        }
        value::claim_value(entry).is_some_and(|value| value.host == EVERYWHERE)
    }

    /// Goes on after a missing answer alone.
    fn unanswered(&self, error: EngineError) -> Result<(), FleetSilence> {
        match error {
            EngineError::Unknown(_) => Ok(()),
            EngineError::Denied(_) => Err(FleetSilence::Denied(self.host.clone())),
            other => Err(FleetSilence::Away(other.to_string())),
        }
    }

    async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        let count = steps.len();
        measured(
            count,
            &[tracing::Span::current()],
            self.engine.commit(compare, steps),
        )
        .await
        .0
    }
}

impl<E: Engine> Member<E> {
    /// Has an operator's request answered on a task of its own: the session loop waits for nothing but its session.
    pub(super) fn operate(&self, request: FleetRequest) {
        let operator = self.operator();
        let now_ms = self.service.clock().now().as_millisecond();
        // An asker that has gone changes nothing.
        tokio::spawn(async move {
            match request {
                FleetRequest::Reserve {
                    number,
                    name,
                    reply,
                } => {
                    let done = match operator {
                        Ok(operator) => operator.reserve(number, &name, now_ms).await,
                        Err(silence) => Err(silence),
                    };
                    let _ = reply.send(done);
                }
                FleetRequest::Release { number, reply } => {
                    let done = match operator {
                        Ok(operator) => operator.release(number).await,
                        Err(silence) => Err(silence),
                    };
                    let _ = reply.send(done);
                }
                // Others do not come here.
                _ => {}
            }
        });
    }

    /// Deletes what this host has said of reserved numbers, once its session has ended: it says nothing any more.
    pub(super) async fn forget_stands(&self) -> Answer<()> {
        let prefix = self.keys.stands_of(&self.identity.host);
        let said = view::entries_of(&self.engine, &prefix).await?;
        let steps: Vec<Step> = said
            .into_iter()
            .map(|entry| Step::Delete { key: entry.key })
            .collect();
        for batch in steps.chunks(MOST_STEPS) {
            self.engine.commit(Vec::new(), batch.to_vec()).await?;
        }
        Ok(())
    }

    fn operator(&self) -> Result<Operator<E>, FleetSilence> {
        if let Some(silence) = self.silence() {
            return Err(silence);
        }
        let session = self.session.key().filter(|_| self.may_commit());
        let none =
            || FleetSilence::Away("this host has no session there at this moment".to_owned());
        Ok(Operator {
            engine: self.engine.clone(),
            keys: self.keys.clone(),
            host: self.identity.host.clone(),
            session: session.ok_or_else(none)?,
        })
    }
}

fn no_answer() -> FleetSilence {
    FleetSilence::Away("etcd gave no answer in time; ask again, which does no harm".to_owned())
}

fn as_found(key: String, found: Option<&Entry>) -> Compare {
    match found {
        Some(entry) => Compare::unchanged(key, entry.modified),
        None => Compare::absent(key),
    }
}

fn put(key: String, value: &impl serde::Serialize) -> Step {
    Step::Put {
        key,
        // Plain values: this cannot fail.
        value: serde_json::to_vec(value).unwrap_or_default(),
        session: None,
    }
}

/// The claim of all hosts. It has no session, so that hosts of any version leave it alone.
fn claim_for(name: &Name) -> ClaimValue {
    ClaimValue {
        host: EVERYWHERE.to_owned(),
        session: String::new(),
        pool: String::new(),
        name: Some(name.to_string()),
        lease: String::new(),
        nonce: String::new(),
        fence: NO_FENCE.to_owned(),
        reclaim_s: 0,
        state: ClaimStage::Held.as_str().to_owned(),
    }
}

#[cfg(test)]
#[path = "reserving_tests.rs"]
mod tests;
