//! Following leases: by the events of a service, or by looking at the record when an owner ends and
//! every few seconds.

use std::time::Duration;

use tokio::time::Instant;

use super::Subject;
use super::ends::Ends;
use super::events::{Events, News};
use super::owner::{any_ends, has_ended, owner_of};
use crate::answers::document::LeaseDocument;
use crate::cli::{Failure, advice, named, note, target};
use crate::client::Client;
use crate::config::Loaded;
use crate::domain::hint::HintKind;
use crate::domain::lease::{LeaseId, Name, State};
use crate::domain::port::Protocols;
use crate::host::readiness::Readiness;
use crate::library::Error;
use crate::library::backend::Backend;
use crate::library::find;

/// Pause between two looks at the record, or for a service that has gone.
const ROUND: Duration = Duration::from_secs(1);

/// Pause while the kernel would report the end of a known owner.
const LONG_ROUND: Duration = Duration::from_secs(5);

/// The leases that concern a subject.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) living: Vec<LeaseDocument>,
    /// Leases that were known and have ended.
    pub(super) ended: Vec<LeaseDocument>,
    /// Name that the living leases have in common, where they were found by a number that no lease has
    /// as its port.
    pub(super) called: Option<Name>,
}

pub(super) struct Follow<'a> {
    loaded: &'a Loaded,
    source: Source,
    /// Descriptors that are readable once a known owner has ended.
    owners: Vec<Readiness>,
    ends: Ends,
    /// Whether a service or a record is needed, as for a name.
    is_needed: bool,
    is_first: bool,
    told: Told,
}

/// Notes that were printed.
#[derive(Debug, Default)]
struct Told {
    of_none: bool,
    of_shut: bool,
}

enum Source {
    Service(Box<Backend>, Events),
    /// No service: the record, to be looked at again at this time.
    Record(Instant),
}

impl<'a> Follow<'a> {
    pub(super) fn new(loaded: &'a Loaded, is_needed: bool) -> Self {
        Self {
            loaded,
            source: Source::Record(Instant::now()),
            owners: Vec::new(),
            ends: Ends::default(),
            is_needed,
            is_first: true,
            told: Told::default(),
        }
    }

    /// Whether the program of a lease ended while it was followed, even if it was never seen.
    pub(super) fn was_parked(&self, lease: &LeaseDocument) -> bool {
        self.ends.has(lease)
    }

    fn look_again_later(&mut self) {
        let round = if self.owners.is_empty() {
            ROUND
        } else {
            LONG_ROUND
        };
        self.source = Source::Record(Instant::now() + round);
    }

    /// Leases of the subject now, and those of `known` that have ended. `None` if neither a service
    /// nor the record answers at this moment.
    pub(super) async fn look(
        &mut self,
        subject: &Subject,
        known: &[LeaseId],
    ) -> Result<Option<Look>, Failure> {
        let looked = self.try_look(subject, known).await;
        let is_first = std::mem::replace(&mut self.is_first, false);
        let must_work = self.is_needed && is_first;
        match looked {
            Ok(look) => Ok(look.map(|look| self.without_the_dead(look, is_first))),
            Err(error) if must_work => Err(error.into()),
            Err(_) => {
                self.look_again_later();
                Ok(None)
            }
        }
    }

    /// Removes owners that have ended, of which the service may not know yet. If an owner had ended
    /// before the first look, its successor is waited for.
    fn without_the_dead(&mut self, mut look: Look, is_first: bool) -> Look {
        for lease in &mut look.living {
            let is_dead = lease.owner.as_ref().is_some_and(has_ended);
            if is_dead {
                lease.owner = None;
            }
            if is_first {
                self.ends.begin(lease, is_dead);
            }
        }
        look
    }

    async fn try_look(
        &mut self,
        subject: &Subject,
        known: &[LeaseId],
    ) -> Result<Option<Look>, Error> {
        if let Source::Service(backend, _) = &self.source {
            let look = Self::look_in(backend, subject, known).await?;
            self.owners = look.living.iter().filter_map(owner_of).collect();
            return Ok(Some(look));
        }
        if let Some(client) = find::find(self.loaded).await? {
            return self.first_look(client, subject, known).await.map(Some);
        }
        if !self.is_needed && !self.loaded.settings.data_dir.is_dir() {
            self.look_again_later();
            return Ok(None);
        }
        let backend = Backend::open(self.loaded).await?;
        let look = Self::look_in(&backend, subject, known).await;
        backend.close().await;
        let look = look?;
        self.owners = look.living.iter().filter_map(owner_of).collect();
        self.look_again_later();
        Ok(Some(look))
    }

    /// Subscribes to the events of a service, and then looks, so that none is missed in between. Those
    /// that came before the look are old.
    async fn first_look(
        &mut self,
        client: Client,
        subject: &Subject,
        known: &[LeaseId],
    ) -> Result<Look, Error> {
        let mut events = Events::of(&client).await?;
        let backend = Backend::Service(client);
        let look = Self::look_in(&backend, subject, known).await?;
        if let Backend::Service(client) = &backend {
            events.note_look(client).await?;
        }
        self.owners = look.living.iter().filter_map(owner_of).collect();
        self.source = Source::Service(Box::new(backend), events);
        Ok(look)
    }

    async fn look_in(
        backend: &Backend,
        subject: &Subject,
        known: &[LeaseId],
    ) -> Result<Look, Error> {
        let mut look = Look::default();
        match subject {
            Subject::Port(port) => {
                for protocol in Protocols::Both.each() {
                    look.living
                        .extend(backend.leases_on(*protocol, *port).await?);
                }
                if look.living.is_empty() && known.is_empty() {
                    look.living = named::called(backend, *port).await?;
                    let first = look.living.first();
                    look.called = first.and_then(|lease| lease.name.clone());
                }
            }
            Subject::Name(name) => {
                let all = backend.leases_named(name).await?;
                look.living = if all.is_empty() {
                    by_id(backend, name.as_str()).await
                } else {
                    // Leases of other scopes alone do not count; one of this scope may come yet.
                    target::leases(&all, name.as_str()).unwrap_or_default()
                };
            }
        }
        for id in known {
            if !look.living.iter().any(|lease| lease.id == *id) {
                look.ended.push(backend.lease(*id).await?);
            }
        }
        look.ended.retain(|lease| lease.state.is_ended());
        Ok(look)
    }

    /// Has a service look at the programs that it has not seen to listen yet. It does so once a second: a program that
    /// ends before the next time would be told that it never listened.
    pub(super) async fn have_seen(&self, subject: &Subject, living: &[LeaseDocument]) {
        // What is not told costs a hint at most.
        let _ = self.try_have_seen(subject, living).await;
    }

    async fn try_have_seen(
        &self,
        subject: &Subject,
        living: &[LeaseDocument],
    ) -> Result<(), Error> {
        if let (Source::Service(backend, _), false) = (&self.source, living.is_empty()) {
            return look_at(backend, living).await;
        }
        let Some(client) = find::find(self.loaded).await? else {
            return Ok(());
        };
        let backend = Backend::Service(client);
        let look = Self::look_in(&backend, subject, &[]).await?;
        look_at(&backend, &look.living).await
    }

    /// Prints a note, once, that a lease of the name, or its program, is yet to come.
    pub(super) fn tell_of_none(&mut self, subject: &Subject, living: &[LeaseDocument]) {
        let Subject::Name(name) = subject else { return };
        let away = |lease: &LeaseDocument| lease.state == State::Reserved;
        let missing = if living.is_empty() {
            format!("no lease here is called {name} yet: waiting for one")
        } else if living.iter().all(away) {
            format!("the program of {name} is away: waiting for it to come")
        } else {
            return;
        };
        if !std::mem::replace(&mut self.told.of_none, true) {
            note(&missing);
        }
    }

    /// Prints a note, once, on a port that nothing reaches, whether its program listens or not.
    pub(super) fn tell_of_shut(&mut self, living: &[LeaseDocument]) {
        let is_shut = |lease: &LeaseDocument| {
            let hint = lease.hint.as_ref();
            hint.is_some_and(|hint| {
                matches!(hint.kind, HintKind::ShutByFence | HintKind::ClaimLost)
            })
        };
        let shut: Vec<LeaseDocument> = living.iter().filter(|one| is_shut(one)).cloned().collect();
        if !shut.is_empty() && !std::mem::replace(&mut self.told.of_shut, true) {
            advice::tell_all(&shut);
        }
    }

    /// Returns once the leases may have changed. Can be cancelled without loss.
    pub(super) async fn changed(&mut self, subject: &Subject, known: &[LeaseId]) {
        let source = &mut self.source;
        let news = async {
            match source {
                Source::Service(_, events) => events.heard_of(subject, known).await,
                Source::Record(next) => {
                    tokio::time::sleep_until(*next).await;
                    News::Unknown
                }
            }
        };
        let news = tokio::select! {
            news = news => news,
            () = any_ends(&self.owners) => {
                // The descriptor stays readable, so it is waited for once.
                self.owners.clear();
                News::Unknown
            }
        };
        match news {
            News::Event(heard) => self.ends.hear(&heard),
            News::Gone => self.look_again_later(),
            News::Unknown => {}
        }
    }

    /// Opens the service or the record, to ask about a port.
    pub(super) async fn backend(&self) -> Option<Backend> {
        Backend::open(self.loaded).await.ok()
    }
}

/// Asks for each lease whose program was not seen to listen: the service looks before it answers.
async fn look_at(backend: &Backend, living: &[LeaseDocument]) -> Result<(), Error> {
    for lease in living.iter().filter(|lease| lease.state == State::Handed) {
        backend.lease(lease.id).await?;
    }
    Ok(())
}

/// Living lease of this id.
async fn by_id(backend: &Backend, word: &str) -> Vec<LeaseDocument> {
    let Ok(id) = word.parse() else {
        return Vec::new();
    };
    let lease = backend.lease(id).await;
    lease
        .into_iter()
        .filter(|lease| !lease.state.is_ended())
        .collect()
}
