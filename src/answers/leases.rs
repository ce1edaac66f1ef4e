//! Leases: listing, showing, renewing and releasing them, and the notes on them.

mod query;
mod seen;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{LeaseDocument, OutsiderDocument};
use super::operation::{
    Answered, Body, Context, Description, Method, Operation, Output, Query, Tag,
};
use super::paging;
use super::problem::{Code, Problem};
use super::veil::veil;
use super::viewer::Viewer;
use crate::answers::schema::Lasting;
use crate::domain::attempt::Occupant;
use crate::domain::container;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Lease, LeaseId, State};
use crate::domain::note::MAX_NOTE;
use crate::domain::outsider::Outsider;
use crate::engine::service::Service;
use crate::store::{LeaseFilter, StoreError};
use query::Place;
pub use query::{LeaseQuery, labelled};
pub use seen::Seen;

/// A lease in the books, with what the latest look found on its port. Show it only as [`shown`].
pub fn document(service: &Service, lease: &Lease) -> LeaseDocument {
    let outsiders = service.outsiders(lease.id).into_iter();
    let place = (lease.protocol, lease.port);
    let outsider = |outsider: Outsider| {
        let mut document = OutsiderDocument::from(outsider);
        let Occupant { pid, command, .. } = &document.occupant;
        let command = command
            .as_deref()
            .filter(|command| container::is_proxy(command));
        document.container_name = command
            .and_then(|command| service.container_of(place, pid.unwrap_or_default(), command));
        document
    };
    let mut document = LeaseDocument {
        outsiders: outsiders.map(outsider).collect(),
        hint: service.hint(lease.id),
        ..LeaseDocument::of(lease, service.clock())
    };
    if let Some(owner) = document.owner.as_mut().filter(|owner| owner.engine) {
        let (pid, command) = (owner.pid, &owner.command);
        owner.process.container_name = service.container_of(place, pid, command);
    }
    document
}

/// The lease as this viewer may see it.
pub fn shown(mut lease: LeaseDocument, viewer: &Viewer) -> LeaseDocument {
    if !viewer.sees(lease.uid) {
        return lease.seen_by_others();
    }
    for outsider in &mut lease.outsiders {
        let uid = outsider.occupant.uid;
        if !viewer.sees_program_of(uid) && !viewer.sees_program_of(None) {
            outsider.container_name = None;
        }
        veil(&mut outsider.occupant, viewer);
    }
    lease
}

impl Context<'_> {
    /// The document of a lease as the viewer may see it.
    pub fn lease(&self, lease: &Lease) -> LeaseDocument {
        shown(document(self.service, lease), self.viewer)
    }

    /// The document of a lease if it matches as the viewer sees it. Only then is it made.
    pub(super) fn matching(&self, query: &LeaseQuery, lease: Arc<Lease>) -> Option<LeaseDocument> {
        let seen = Seen::new(lease, self.viewer);
        query.matches(&seen).then(|| self.lease(seen.lease()))
    }
}

/// A page of leases.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseList {
    /// Newest first.
    pub leases: Vec<LeaseDocument>,
    /// Address of the next page; `null` on the last one.
    pub next: Option<String>,
}

impl Output for LeaseList {
    fn header(&self) -> Option<(&'static str, String)> {
        self.next.as_deref().map(paging::link)
    }
}

pub struct ListLeases;

impl Operation for ListLeases {
    type Input = Query<LeaseQuery>;
    type Output = LeaseList;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/leases";
    const ID: &'static str = "listLeases";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "List leases")
            .says(
                "Living leases, or ended ones if an end state or `ended` is given; newest first. Other \
                 users' leases show their place and their user, but no text of that user.",
            )
            .answers::<LeaseList>(200, "The leases.", include_str!("example/leases.json"))
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for ListLeases {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<LeaseQuery>,
    ) -> Result<LeaseList, Problem> {
        let limit = paging::limit(query.limit)?;
        let found = match query.place()? {
            Place::Books => living(context, &query, limit),
            Place::Record(state) => ended(context, &query, state, limit).await?,
        };
        let (leases, more) = paging::page(found, limit);
        let before = leases.last().filter(|_| more).map(|last| last.id);
        let next = before.map(|before| {
            let next = LeaseQuery {
                before: Some(before),
                ..query
            };
            paging::next::<Self>(&next)
        });
        Ok(LeaseList { leases, next })
    }
}

/// The first leases that match, and one more if there is one. Ids grow with time, so leases granted
/// between two pages belong to neither of them.
fn living(context: Context<'_>, query: &LeaseQuery, limit: u32) -> Vec<LeaseDocument> {
    let living = context.service.leases().into_iter().rev();
    let found = living.filter_map(|lease| context.matching(query, lease));
    found.take(limit as usize + 1).collect()
}

async fn ended(
    context: Context<'_>,
    query: &LeaseQuery,
    state: Option<State>,
    limit: u32,
) -> Result<Vec<LeaseDocument>, StoreError> {
    let filter = LeaseFilter {
        viewer: context.viewer.only_user(),
        name: query.name.clone(),
        label: query.label.clone(),
        pool: query.pool.clone(),
        state,
        before: query.before,
        limit: limit + 1,
    };
    let found = context.service.store().ended_leases(&filter).await?;
    Ok(found
        .iter()
        .map(|stored| context.lease(&stored.lease))
        .collect())
}

pub struct ShowLease;

impl Operation for ShowLease {
    type Input = LeaseId;
    type Output = LeaseDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/leases/{id}";
    const ID: &'static str = "showLease";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Show a lease")
            .says("Living or ended: `state` and `ended_at` tell the end of one that has ended.")
            .answers::<LeaseDocument>(200, "The lease.", include_str!("example/lease.json"))
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for ShowLease {
    async fn answer(context: Context<'_>, id: LeaseId) -> Result<LeaseDocument, Problem> {
        // A program that has begun to listen since the last round is seen now.
        context.service.look_at(id).await;
        let found = find(context.service, id).await?;
        let found = found.map(|lease| context.lease(&lease));
        found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such lease"))
    }
}

/// A lease, living or on record.
pub async fn find(service: &Service, id: LeaseId) -> Result<Option<Lease>, StoreError> {
    if let Some(lease) = service.lease(id) {
        return Ok(Some(Lease::clone(&lease)));
    }
    let stored = service.store().lease(id).await?;
    Ok(stored.map(|stored| stored.lease))
}

impl Output for LeaseDocument {}

/// Options of a release.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseQuery {
    /// Whether its name goes on knowing its port; it forgets it otherwise.
    pub remember: bool,
}

pub struct ReleaseLease;

impl Operation for ReleaseLease {
    type Input = (LeaseId, Query<ReleaseQuery>);
    type Output = ();
    const METHOD: Method = Method::Delete;
    const PATH: &'static str = "/api/v1/leases/{id}";
    const ID: &'static str = "releaseLease";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Release a lease")
            .says(
                "The port is free at once, and its name forgets it. The lease stays on record with its \
                 end state.",
            )
            .answers_nothing(204, "The lease has ended.")
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for ReleaseLease {
    async fn answer(
        context: Context<'_>,
        (id, Query(query)): (LeaseId, Query<ReleaseQuery>),
    ) -> Result<(), Problem> {
        let caller = context.viewer.caller()?;
        if query.remember {
            context.service.take_back(caller, id).await?;
        } else {
            context.service.release(caller, id).await?;
        }
        Ok(())
    }
}

/// Options of a renewal.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Renewal {
    /// From now on, above zero; as long as it was granted for if left out.
    #[schemars(with = "Option<Lasting>")]
    pub ttl: Option<HumanDuration>,
}

pub struct RenewLease;

impl Operation for RenewLease {
    type Input = (LeaseId, Body<Renewal>);
    type Output = LeaseDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/leases/{id}/renew";
    const ID: &'static str = "renewLease";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Renew a lease")
            .says("From now on for `ttl`, or for the lifetime that it was granted with.")
            .body_example(include_str!("example/renewal.json"))
            .answers::<LeaseDocument>(200, "The lease.", include_str!("example/lease.json"))
            .refused(&[Code::QuotaExceeded, Code::StoreUnavailable])
    }
}

impl Answered for RenewLease {
    async fn answer(
        context: Context<'_>,
        (id, Body(renewal)): (LeaseId, Body<Renewal>),
    ) -> Result<LeaseDocument, Problem> {
        let (caller, ttl) = (context.viewer.caller()?, renewal.ttl.map(|ttl| ttl.0));
        let renewed = context.service.renew(caller, id, ttl).await?;
        Ok(LeaseDocument::of(&renewed, context.service.clock()))
    }
}

/// A note on a lease.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The text; at most 128 characters. An empty or blank one removes the note.
    #[schemars(length(max = MAX_NOTE))]
    pub note: String,
}

pub struct NoteLease;

impl Operation for NoteLease {
    type Input = (LeaseId, Body<Note>);
    type Output = LeaseDocument;
    const METHOD: Method = Method::Put;
    const PATH: &'static str = "/api/v1/leases/{id}/note";
    const ID: &'static str = "noteLease";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Write a note on a lease")
            .says(
                "The note is the label `note`. It stays when the name gets its port again, unless that \
                 request has a label `note` too.",
            )
            .body_example(include_str!("example/note.json"))
            .answers::<LeaseDocument>(200, "The lease.", include_str!("example/lease.json"))
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for NoteLease {
    async fn answer(
        context: Context<'_>,
        (id, Body(note)): (LeaseId, Body<Note>),
    ) -> Result<LeaseDocument, Problem> {
        let caller = context.viewer.caller()?;
        let noted = context.service.note(caller, id, &note.note).await?;
        Ok(LeaseDocument::of(&noted, context.service.clock()))
    }
}
