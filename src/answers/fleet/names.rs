//! Names of the fleet: all of them, or one, with waiting for a change.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::millis;
use crate::answers::operation::{
    Answered, Context, Description, Given, Input, Method, Operation, Output, Query, Sent, Tag,
};
use crate::answers::problem::{Code, Problem};
use crate::domain::fleet::{FleetName, Question, Told};
use crate::domain::lease::Name;
use crate::domain::port::{Port, PortSet, Protocol, ports_in_text};
use crate::engine::fleet::FleetSilence;

/// Longest wait for a change. Clients give up after half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// End of the tag of an answer that is not fresh.
const OLD: &str = "-old";

/// Published leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetNamesDocument {
    /// By name, host and lease.
    pub names: Vec<FleetName>,
    /// Whether etcd said so just now. `false` for the last known answer.
    pub fresh: bool,
    /// Time since the answer was read, in milliseconds.
    pub age_ms: u64,
    /// Whether there are more names than one answer has.
    pub more: bool,
    /// Changes when the names do, or `fresh`; for `unlike`.
    pub tag: String,
}

impl Output for FleetNamesDocument {}

impl FleetNamesDocument {
    fn of(told: &Told, is_wanted: impl Fn(&FleetName) -> bool) -> Self {
        let names = told.view.names.iter().filter(|name| is_wanted(name));
        let names: Vec<FleetName> = names.cloned().collect();
        let text = serde_json::to_vec(&names).unwrap_or_default();
        let age = if told.is_fresh { "" } else { OLD };
        Self {
            tag: format!("{:08x}{age}", crc32fast::hash(&text)),
            names,
            fresh: told.is_fresh,
            age_ms: millis(told.age),
            more: told.view.more,
        }
    }
}

/// Filters of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetNamesQuery {
    /// Of this host.
    pub host: Option<String>,
    /// On these ports: `3000`, `3000-3010`, or several with commas between them.
    #[schemars(schema_with = "ports_in_text")]
    pub ports: Option<PortSet>,
    /// `tcp` or `udp`; both if it is left out.
    pub protocol: Option<Protocol>,
    /// Only those whose host lives.
    pub live: bool,
}

impl FleetNamesQuery {
    fn matches(&self, name: &FleetName) -> bool {
        let is_on = |ports: &PortSet, port: Port| ports.contains(port);
        self.host.as_ref().is_none_or(|host| *host == name.host)
            && self
                .ports
                .as_ref()
                .is_none_or(|ports| is_on(ports, name.port))
            && self
                .protocol
                .is_none_or(|protocol| protocol == name.protocol)
            && (name.live || !self.live)
    }
}

pub struct ListFleetNames;

impl Operation for ListFleetNames {
    type Input = Query<FleetNamesQuery>;
    type Output = FleetNamesDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/names";
    const ID: &'static str = "listFleetNames";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "List the names of the fleet")
            .says(
                "Every published lease of every host. `live` is whether the session of its host lives. \
                 While etcd is away it is the last known list, with its age.",
            )
            .answers::<FleetNamesDocument>(
                200,
                "The names.",
                include_str!("../example/fleet_names.json"),
            )
            .refused(&[Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for ListFleetNames {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<FleetNamesQuery>,
    ) -> Result<FleetNamesDocument, Problem> {
        let told = context.service.fleet().ask(Question::Names(None)).await?;
        Ok(FleetNamesDocument::of(&told, |name| query.matches(name)))
    }
}

/// A name in the path.
#[derive(Debug, Clone)]
pub struct NamePath(pub Name);

impl Input for NamePath {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        given.path.name.parse().map(Self).map_err(Problem::invalid)
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.target = sent.target.replace("{name}", self.0.as_str());
        Ok(())
    }
}

/// Filter of one name, and waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetNameQuery {
    /// Only those whose host lives.
    pub live: bool,
    /// The `tag` of an earlier answer: wait up to 20 seconds for one with another tag.
    pub unlike: Option<String>,
}

pub struct ResolveFleetName;

impl Operation for ResolveFleetName {
    type Input = (NamePath, Query<FleetNameQuery>);
    type Output = FleetNamesDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/names/{name}";
    const ID: &'static str = "resolveFleetName";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Resolve a name")
            .says(
                "Where the name is served in the fleet; an empty list if nowhere. With `unlike` the answer \
                 comes when it changes, when etcd goes away or comes back, or after 20 seconds as it is.",
            )
            .answers::<FleetNamesDocument>(
                200,
                "The hosts and ports.",
                include_str!("../example/fleet_names.json"),
            )
            .refused(&[Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for ResolveFleetName {
    async fn answer(
        context: Context<'_>,
        (NamePath(name), Query(query)): (NamePath, Query<FleetNameQuery>),
    ) -> Result<FleetNamesDocument, Problem> {
        let question = Question::Names(Some(name));
        let document = |told: &Told| FleetNamesDocument::of(told, |name| name.live || !query.live);
        let Some(tag) = &query.unlike else {
            return Ok(document(&context.service.fleet().ask(question).await?));
        };
        let fleet = context.service.fleet();
        let told = fleet.follow(question.clone()).await?;
        let ask = async || {
            fleet
                .ask(question.clone())
                .await
                .map(|told| document(&told))
        };
        let change = async {
            tokio::select! {
                changed = changed(told, tag, document, &ask) => changed,
                () = fleet.left() => None,
            }
        };
        match timeout(LONGEST_WAIT, change).await.ok().flatten() {
            Some(changed) => Ok(changed),
            None => Ok(ask().await?),
        }
    }
}

/// Waits for an answer with another tag. One that is not fresh is asked for, as it has the leases of this host as they
/// are now. `None` if none comes any more.
async fn changed(
    mut told: Receiver<Option<Told>>,
    tag: &str,
    document: impl Fn(&Told) -> FleetNamesDocument,
    ask: impl AsyncFn() -> Result<FleetNamesDocument, FleetSilence>,
) -> Option<FleetNamesDocument> {
    let is_new = |told: &Option<Told>| match told {
        Some(told) if told.is_fresh => document(told).tag != *tag,
        Some(_) => !tag.ends_with(OLD),
        None => false,
    };
    loop {
        let news = told.wait_for(is_new).await.ok()?.as_ref().map(&document)?;
        if news.fresh {
            return Some(news);
        }
        let asked = ask().await.ok()?;
        if asked.tag != *tag {
            return Some(asked);
        }
        // etcd answers again: its follower will soon see that too.
        told.changed().await.ok()?;
    }
}
