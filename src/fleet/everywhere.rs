//! The hosts' side of numbers that are reserved on every host: each takes them, and says whether it has them.
//!
//! What the fleet says is compared with what this host has said, in this order, so that nothing has to be on
//! record: a number that this host called held, and that the fleet reserves no more, was taken back by an
//! operator. An engine that was emptied has forgotten both, and so the number stays with its name until an
//! operator says something else. No host ever writes a reservation.
//!
//! A host says that it takes a number before it does. One that is killed before it can say that it has the number finds
//! that after its start, and lets go of it if it was taken back meanwhile.
//!
//! A host wakes when a reservation changes, when a lease on such a number ends, and, while it objects, from time
//! to time, since no event tells of the end of programs outside of portbook.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::counter::Standing;
use super::engine::{Answer, Compare, Engine, EngineError, News, Outcome, Step, Watch};
use super::key::Keys;
use super::reserving::MOST_RESERVED;
use super::telling::measured;
use super::value::{self, StandValue};
use super::view;
use crate::domain::claim::Number;
use crate::domain::event::{Event, EventKind};
use crate::domain::everywhere::Kept;
use crate::domain::fleet::HostName;
use crate::domain::lease::Name;

/// Pause before an objecting host tries again.
const AGAIN: Duration = Duration::from_secs(15);

/// Pause after a failure. No event tells of the engine's return.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after several of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The leases of a host, as far as reserved numbers need them.
pub trait Lessor: Send + Sync + 'static {
    /// Returns the reason for which a number could not be kept for a name at this moment. Nothing is changed.
    fn check(&self, number: Number, name: &Name)
    -> impl Future<Output = Result<(), String>> + Send;

    /// Keeps a number for a name. Returns the reason if it cannot, in a few words.
    fn keep(&self, number: Number, name: &Name) -> impl Future<Output = Result<(), String>> + Send;

    /// Lets go of a number. `name`: the one that it was kept for, if that is known.
    fn let_go(
        &self,
        number: Number,
        name: Option<&Name>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Tells which numbers are kept, and which are busy.
    fn tell(&self, numbers: &BTreeMap<Number, Kept>);
}

/// The reserved numbers of one host.
pub struct Everywhere<E, L> {
    pub engine: E,
    pub keys: Keys,
    pub host: HostName,
    pub lessor: L,
    /// What was told last.
    told: BTreeMap<Number, Kept>,
    rng: fastrand::Rng,
}

/// What the engine has, read in the order of the fields.
struct Read {
    /// What this host has said, with the revision of its key.
    said: BTreeMap<Number, (StandValue, u64)>,
    /// Names of reserved numbers, with the revisions at which they were reserved.
    reserved: BTreeMap<Number, (Name, u64)>,
    /// Numbers that are reserved, in whatever way.
    present: BTreeSet<Number>,
    /// Revision of the second read.
    revision: u64,
}

impl<E: Engine, L: Lessor> Everywhere<E, L> {
    pub fn new(engine: E, keys: Keys, host: HostName, lessor: L) -> Self {
        Self {
            engine,
            keys,
            host,
            lessor,
            told: BTreeMap::new(),
            rng: fastrand::Rng::new(),
        }
    }

    /// Keeps reserved numbers while a session is open, for as long as it is polled.
    pub(super) async fn serve(
        mut self,
        mut standing: watch::Receiver<Standing>,
        mut events: broadcast::Receiver<Event>,
    ) {
        loop {
            let now = standing.borrow_and_update().clone();
            let following = async {
                match now {
                    Standing::In(open) => {
                        let session = self.keys.session(&self.host, &open.session);
                        self.follow(&session, &mut events).await;
                    }
                    Standing::Joining | Standing::Out => std::future::pending().await,
                }
            };
            tokio::select! {
                () = following => return,
                changed = standing.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }

    /// Settles, and waits for a reason to do so again. It ends with the events.
    async fn follow(&mut self, session: &str, events: &mut broadcast::Receiver<Event>) {
        let mut pause = PAUSE;
        loop {
            let waited = match self.settle(session).await {
                Ok(revision) => {
                    pause = PAUSE;
                    self.wait(revision, events).await
                }
                Err(error) => Err(error),
            };
            match waited {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "could not follow the numbers that are reserved on every host; that is tried again");
                    tokio::time::sleep(self.about(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes and lets go of numbers as the fleet says, and says what became of that. Returns the revision up to
    /// which it knows.
    pub async fn settle(&mut self, session: &str) -> Answer<u64> {
        let read = self.read().await?;
        let gone = read
            .said
            .iter()
            .filter(|(number, _)| !read.present.contains(number));
        for (number, (said, _)) in gone {
            self.let_go(session, *number, said).await?;
        }
        self.told
            .retain(|number, _| read.reserved.contains_key(number));
        let mut names = BTreeSet::new();
        for (number, (name, reserved_at)) in &read.reserved {
            let is_first = names.insert(name);
            let mut said = read.said.get(number);
            let busy = if is_first {
                self.keep(session, *number, name, &mut said).await?
            } else {
                Some("its name has another number".to_owned())
            };
            let kept = Kept {
                name: name.clone(),
                busy: busy.as_deref().map(value::reason),
            };
            self.told.insert(*number, kept.clone());
            self.lessor.tell(&self.told);
            let stand = kept.busy.map_or(StandValue::Held, StandValue::Busy);
            // An answer to an earlier reservation of the number is none to this one.
            if said.is_none_or(|(said, at)| *said != stand || at < reserved_at) {
                self.say(session, *number, &stand).await?;
            }
        }
        self.lessor.tell(&self.told);
        Ok(read.revision)
    }

    /// Keeps a number, and says before that it does. Returns the reason if it cannot. `said` is what this host said
    /// last.
    async fn keep(
        &self,
        session: &str,
        number: Number,
        name: &Name,
        said: &mut Option<&(StandValue, u64)>,
    ) -> Answer<Option<String>> {
        let is_said = match said {
            Some((StandValue::Held, _)) => true,
            Some((StandValue::Taking(of), _)) => of == name,
            _ => false,
        };
        if !is_said {
            // A host that objects is to say nothing new each time that it tries again.
            if let Err(why) = self.lessor.check(number, name).await {
                return Ok(Some(why));
            }
            let taking = StandValue::Taking(name.clone());
            self.say(session, number, &taking).await?;
            *said = None;
        }
        Ok(self.lessor.keep(number, name).await.err())
    }

    async fn read(&self) -> Answer<Read> {
        let own = view::listed(&self.engine, &self.keys.stands_of(&self.host)).await?;
        let all = view::listed(&self.engine, &self.keys.everywhere()).await?;
        if all.revision < own.revision {
            return Err(EngineError::Fault("etcd has lost changes".into()));
        }
        let said = own.entries.iter().filter_map(|entry| {
            let (_, number, said) = value::stand(&self.keys, entry)?;
            Some((number, (said, entry.modified)))
        });
        let reserved = all.entries.iter().filter_map(|entry| {
            let (number, value) = value::everywhere(&self.keys, entry)?;
            Some((number, (value.name, entry.created)))
        });
        let keys = all.entries.iter().map(|entry| &entry.key);
        Ok(Read {
            present: keys
                .filter_map(|key| self.keys.read_everywhere(key))
                .collect(),
            said: said.collect(),
            reserved: reserved.take(MOST_RESERVED).collect(),
            revision: all.revision,
        })
    }

    /// Lets go of a number that was taken back, and then of what this host has said of it.
    async fn let_go(&mut self, session: &str, number: Number, said: &StandValue) -> Answer<()> {
        let name = match said {
            StandValue::Held => Some(self.told.get(&number).map(|kept| &kept.name)),
            StandValue::Taking(name) => Some(Some(name)),
            StandValue::Busy(_) => None,
        };
        if let Some(name) = name {
            let let_go = self.lessor.let_go(number, name).await;
            let_go.map_err(EngineError::Fault)?;
        }
        let step = Step::Delete {
            key: self.keys.stand(&self.host, number),
        };
        let compare = vec![
            Compare::absent(self.keys.everywhere_of(number)),
            Compare::present(session.to_owned()),
        ];
        self.commit(compare, step).await
    }

    /// Says whether this host has a number, as long as it is reserved.
    async fn say(&self, session: &str, number: Number, stand: &StandValue) -> Answer<()> {
        let step = Step::Put {
            key: self.keys.stand(&self.host, number),
            // Plain values: this cannot fail.
            value: serde_json::to_vec(stand).unwrap_or_default(),
            session: None,
        };
        let compare = vec![
            Compare::present(self.keys.everywhere_of(number)),
            Compare::present(session.to_owned()),
        ];
        self.commit(compare, step).await
    }

    async fn commit(&self, compare: Vec<Compare>, step: Step) -> Answer<()> {
        match measured(
            1,
            &[tracing::Span::current()],
            self.engine.commit(compare, vec![step]),
        )
        .await
        .0?
        {
            Outcome::Done { .. } => Ok(()),
            // All is read anew.
            Outcome::Refused { .. } => Err(EngineError::Fault(
                "the reservation has changed, or the session of this host has ended".into(),
            )),
        }
    }

    /// Waits for a reason to settle again. `false` if the journal has ended.
    async fn wait(
        &mut self,
        revision: u64,
        events: &mut broadcast::Receiver<Event>,
    ) -> Answer<bool> {
        let mut watch = self
            .engine
            .watch(&self.keys.everywhere(), revision + 1)
            .await?;
        let is_busy = self.told.values().any(|kept| kept.busy.is_some());
        let again = if is_busy {
            self.about(AGAIN)
        } else {
            Duration::MAX
        };
        tokio::select! {
            news = watch.next() => news.map(|_: News| true),
            () = tokio::time::sleep(again) => Ok(true),
            is_open = self.ending(events) => Ok(is_open),
        }
    }

    /// Waits until a lease on a reserved number ends, or events were missed. `false` if there are none any more.
    async fn ending(&self, events: &mut broadcast::Receiver<Event>) -> bool {
        loop {
            match events.recv().await {
                Ok(event) if self.concerns(&event) => return true,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
            }
        }
    }

    fn concerns(&self, event: &Event) -> bool {
        let (Some(protocol), Some(port)) = (event.protocol, event.port) else {
            return false;
        };
        event.kind == EventKind::Ended && self.told.contains_key(&Number { protocol, port })
    }

    /// This time, or up to a quarter more, so that hosts do not beat in step.
    fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.rng.f64() / 4.0)
    }
}

#[cfg(test)]
#[path = "everywhere_tests.rs"]
mod tests;
