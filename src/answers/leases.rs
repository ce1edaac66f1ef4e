//! Leases: listing, showing, renewing and releasing them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::document::LeaseDocument;
use super::operation::{
    Answered, Body, Context, Description, Method, Operation, Output, Query, Tag,
};
use super::paging::{self, MAX_LIMIT};
use super::problem::{Code, Problem};
use super::viewer::Viewer;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Lease, LeaseId, Name, State};
use crate::domain::words::words_of;
use crate::engine::service::Service;
use crate::store::{LeaseFilter, StoreError};

/// Word for every state that ends a lease.
const ENDED: &str = "ended";

/// Filters of a list of leases. Other users' leases match by what the viewer sees of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Of this name.
    pub name: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// In this state; `ended` stands for all that end a lease.
    #[schemars(schema_with = "states")]
    pub state: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    pub label: Option<String>,
    /// Maximum number of leases in the answer, from 1 to 1000; 100 if left out.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub limit: Option<u32>,
    /// Only those granted before this one.
    pub before: Option<LeaseId>,
}

fn states(_: &mut SchemaGenerator) -> Schema {
    let words = words_of::<State>().chain([ENDED]);
    json_schema!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

impl LeaseQuery {
    /// Whether a living lease, as its viewer sees it, matches.
    fn matches(&self, lease: &LeaseDocument) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let label = self.label.as_deref();
        same(&self.name, lease.name.as_ref().map(Name::as_str))
            && same(&self.pool, Some(&lease.pool))
            && same(&self.state, Some(lease.state.as_str()))
            && label.is_none_or(|label| labelled(lease, label))
            && self.before.is_none_or(|before| lease.id < before)
    }

    fn place(&self) -> Result<Place, Problem> {
        let state = match self.state.as_deref() {
            None => return Ok(Place::Books),
            Some(ENDED) => return Ok(Place::Record(None)),
            Some(word) => word.parse::<State>(),
        };
        let state = state.map_err(|error| Problem::invalid(format!("state: {error}")))?;
        Ok(if state.is_ended() {
            Place::Record(Some(state))
        } else {
            Place::Books
        })
    }
}

/// Place of the leases of a query.
enum Place {
    /// Living ones.
    Books,
    /// Ended ones, in one state or in any.
    Record(Option<State>),
}

/// Whether a lease has a label: `team`, or `team=shop` for this value of it.
pub fn labelled(lease: &LeaseDocument, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => lease.labels.get(key).is_some_and(|is| is == value),
        None => lease.labels.contains_key(wanted),
    }
}

/// The lease as this viewer may see it.
pub fn shown(lease: LeaseDocument, viewer: &Viewer) -> LeaseDocument {
    if viewer.sees(lease.uid) {
        lease
    } else {
        lease.seen_by_others()
    }
}

impl Context<'_> {
    /// The document of a lease as the viewer may see it.
    pub fn lease(&self, lease: &Lease) -> LeaseDocument {
        shown(LeaseDocument::of(lease, self.service.clock()), self.viewer)
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
    let living = context.service.leases();
    let found = living.iter().rev().map(|lease| context.lease(lease));
    let found = found.filter(|lease| query.matches(lease));
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
    /// From now on; as long as it was granted for if left out.
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
