//! Services that listen, in the formats of programs that look for them: Prometheus, Traefik, Caddy.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::LeaseDocument;
use super::leases::LeaseQuery;
use super::operation::{Answered, Context, Description, Method, Operation, Output, Query, Tag};
use super::problem::Problem;
use crate::domain::address::{host_with_port, http_url};
use crate::domain::lease::{CONSOLE_NAME, Name};
use crate::domain::port::Protocol;

/// Longest label of a host name (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;

/// Filters of the services.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoveryQuery {
    /// Of this name.
    pub name: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    pub label: Option<String>,
}

impl From<DiscoveryQuery> for LeaseQuery {
    fn from(query: DiscoveryQuery) -> Self {
        let DiscoveryQuery { name, pool, label } = query;
        Self {
            name,
            pool,
            label,
            ..Self::default()
        }
    }
}

/// A service: a named lease that listens for TCP. The console is none: it refuses other host names.
fn services(leases: &[LeaseDocument]) -> impl Iterator<Item = (&LeaseDocument, &Name)> {
    let listening = leases.iter().filter(|lease| lease.is_listened_on());
    let tcp = listening.filter(|lease| lease.protocol == Protocol::Tcp);
    let named = tcp.filter_map(|lease| Some((lease, lease.name.as_ref()?)));
    named.filter(|(_, name)| name.as_str() != CONSOLE_NAME)
}

/// Targets of Prometheus
/// (<https://prometheus.io/docs/prometheus/latest/http_sd/>).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PrometheusTargets(pub Vec<PrometheusTarget>);

/// One service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusTarget {
    /// Host and port.
    pub targets: Vec<String>,
    /// Facts of the lease, for `relabel_configs`; those of the user's labels begin with
    /// `__meta_portbook_label_`.
    pub labels: BTreeMap<String, String>,
}

impl Output for PrometheusTargets {}

impl PrometheusTargets {
    /// The services among these leases.
    pub fn of(leases: &[LeaseDocument]) -> Self {
        Self(services(leases).map(target).collect())
    }
}

fn target((lease, name): (&LeaseDocument, &Name)) -> PrometheusTarget {
    let facts = [
        ("name", name.to_string()),
        ("service", name.service().to_owned()),
        ("pool", lease.pool.clone()),
        ("lease", lease.id.to_string()),
        ("uid", lease.uid.to_string()),
    ];
    let folder = lease.directory.iter();
    let folder = folder.map(|folder| ("directory", folder.to_string_lossy().into_owned()));
    let owner = lease.owner.iter();
    let command = owner.map(|owner| ("command", owner.command.clone()));
    let labels = lease.labels.iter();
    let labels = labels.map(|(key, value)| (format!("label_{}", folded(key)), value.clone()));
    let facts = facts.into_iter().chain(folder).chain(command);
    let facts = facts.map(|(key, value)| (key.to_owned(), value));
    PrometheusTarget {
        targets: vec![host_with_port(&lease.host, lease.port)],
        labels: facts
            .chain(labels)
            .map(|(key, value)| (format!("__meta_portbook_{key}"), value))
            .collect(),
    }
}

/// A key as Prometheus takes it: letters, digits and `_`.
pub fn folded(key: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    key.chars().map(fold).collect()
}

/// Configuration of Traefik's HTTP provider
/// (<https://doc.traefik.io/traefik/providers/http/>).
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikConfiguration {
    /// `None` without a service: Traefik refuses empty lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<TraefikHttp>,
}

/// Routers and services by the same names.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikHttp {
    pub routers: BTreeMap<String, TraefikRouter>,
    pub services: BTreeMap<String, TraefikService>,
}

/// A host name, and the service that answers it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikRouter {
    /// Rule for the host name, in Traefik's language.
    pub rule: String,
    pub service: String,
}

/// A service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraefikService {
    pub load_balancer: TraefikServers,
}

/// Servers of a service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikServers {
    pub servers: Vec<TraefikServer>,
}

/// One server.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikServer {
    pub url: String,
}

impl Output for TraefikConfiguration {}

impl TraefikConfiguration {
    /// The services among these leases, each at a host name of its own below `localhost`.
    pub fn of(leases: &[LeaseDocument]) -> Self {
        let mut http = TraefikHttp::default();
        for (host, lease) in hosts(leases) {
            // No host has a `_`, so that different hosts have different names.
            let name = host.replace('.', "_");
            let rule = format!("Host(`{host}`)");
            let service = name.clone();
            let router = TraefikRouter { rule, service };
            http.routers.insert(name.clone(), router);
            let url = http_url(&lease.host, lease.port);
            let servers = vec![TraefikServer { url }];
            let load_balancer = TraefikServers { servers };
            http.services.insert(name, TraefikService { load_balancer });
        }
        Self {
            http: (!http.routers.is_empty()).then_some(http),
        }
    }
}

/// The services among these leases as a Caddyfile
/// (<https://caddyserver.com/docs/caddyfile/directives/reverse_proxy>).
pub fn caddyfile(leases: &[LeaseDocument]) -> String {
    let sites = hosts(leases).into_iter().map(|(host, lease)| {
        let at = host_with_port(&lease.host, lease.port);
        format!("{host} {{\n\treverse_proxy {at}\n}}\n")
    });
    sites.collect::<Vec<_>>().join("\n")
}

/// Host names of the services: `web.localhost`, and `web.TREE.localhost` for a name of a folder. Browsers
/// find everything below `localhost` on this host (RFC 6761, 6.3). Of several with one name all but the
/// first have their port in it.
fn hosts(leases: &[LeaseDocument]) -> Vec<(String, &LeaseDocument)> {
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    for (lease, name) in services(leases) {
        let folder = lease
            .directory
            .as_deref()
            .and_then(std::path::Path::file_name);
        let folder = folder.map(|folder| label(&folder.to_string_lossy()));
        let below = folder.filter(|folder| !folder.is_empty());
        let below = below.map_or_else(String::new, |folder| format!(".{folder}"));
        let host = |first: &str| format!("{first}{below}.localhost");
        let mut found = host(&label(name.as_str()));
        if taken.contains(&found) {
            found = host(&label(&format!("{}-{name}", lease.port)));
        }
        if taken.insert(found.clone()) {
            hosts.push((found, lease));
        }
    }
    hosts
}

/// A text as a label of a host name: lower-case letters, digits, and hyphens between them.
fn label(text: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let folded: String = text.chars().map(fold).take(LONGEST_LABEL).collect();
    folded.trim_matches('-').to_owned()
}

/// The leases that match, as the viewer may see them.
fn found(context: Context<'_>, query: DiscoveryQuery) -> Vec<LeaseDocument> {
    let query = LeaseQuery::from(query);
    let living = context.service.leases().into_iter();
    let found = living.filter_map(|lease| context.matching(&query, lease));
    found.collect()
}

pub struct PrometheusDiscovery;

impl Operation for PrometheusDiscovery {
    type Input = Query<DiscoveryQuery>;
    type Output = PrometheusTargets;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/discovery/prometheus";
    const ID: &'static str = "prometheusDiscovery";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Discover services for Prometheus")
            .says(
                "Named TCP leases whose program listens, for `http_sd_configs`. Labels that begin with \
                 `__meta_` are for `relabel_configs`.",
            )
            .answers::<PrometheusTargets>(
                200,
                "The services.",
                include_str!("example/prometheus.json"),
            )
    }
}

impl Answered for PrometheusDiscovery {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<DiscoveryQuery>,
    ) -> Result<PrometheusTargets, Problem> {
        Ok(PrometheusTargets::of(&found(context, query)))
    }
}

pub struct TraefikDiscovery;

impl Operation for TraefikDiscovery {
    type Input = Query<DiscoveryQuery>;
    type Output = TraefikConfiguration;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/discovery/traefik";
    const ID: &'static str = "traefikDiscovery";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Discover services for Traefik")
            .says(
                "Named TCP leases whose program listens, for Traefik's HTTP provider: `web.localhost` is \
                 lease `web` of the user, `web.TREE.localhost` that of a folder.",
            )
            .answers::<TraefikConfiguration>(
                200,
                "The routers and services.",
                include_str!("example/traefik.json"),
            )
    }
}

impl Answered for TraefikDiscovery {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<DiscoveryQuery>,
    ) -> Result<TraefikConfiguration, Problem> {
        Ok(TraefikConfiguration::of(&found(context, query)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The documented lease with other values of some fields.
    fn lease(changes: &Value) -> LeaseDocument {
        let mut lease: Value = serde_json::from_str(include_str!("example/lease.json")).unwrap();
        let fields = lease.as_object_mut().unwrap();
        fields.insert("state".into(), "active".into());
        fields.extend(changes.as_object().unwrap().clone());
        serde_json::from_value(lease).unwrap()
    }

    #[test]
    fn only_named_listening_tcp_leases_are_services() {
        let others = [
            json!({ "name": null }),
            json!({ "state": "handed" }),
            json!({ "state": "lost" }),
            json!({ "protocol": "udp" }),
            json!({ "name": CONSOLE_NAME }),
        ];
        let others = others.map(|changes| lease(&changes));
        assert_eq!(PrometheusTargets::of(&others).0, []);
        let empty = serde_json::to_value(TraefikConfiguration::of(&others)).unwrap();
        assert_eq!(empty, json!({}));
        assert_eq!(caddyfile(&others), "");
    }

    #[test]
    fn targets_have_the_facts_of_their_lease() {
        let web = lease(&json!({
            "name": "web", "port": 3000, "host": "fd77::1", "directory": "/srv/shop",
            "labels": { "team.name": "infra" },
        }));
        let target = &PrometheusTargets::of(&[web]).0[0];
        assert_eq!(target.targets, ["[fd77::1]:3000"]);
        let label = |name: &str| target.labels[&format!("__meta_portbook_{name}")].clone();
        assert_eq!(label("name"), "web");
        assert_eq!(label("directory"), "/srv/shop");
        assert_eq!(label("label_team_name"), "infra");
    }

    #[test]
    fn host_names_are_distinct_and_hold_nothing_but_letters_digits_and_hyphens() {
        let of = |name: &str, folder: Option<&str>, port: u16| {
            lease(&json!({ "name": name, "directory": folder, "port": port, "host": "127.0.0.1" }))
        };
        let leases = [
            of("Web", None, 3000),
            of("web", Some("/srv/a `b` {c}"), 3001),
            of("web", Some("/tmp/a -b- {c}"), 3002),
            of("api_1.x", Some("/"), 3003),
            of("web-a--b---c", None, 3004),
        ];
        let names: Vec<String> = hosts(&leases).into_iter().map(|(host, _)| host).collect();
        let wanted = [
            "web.localhost",
            "web.a--b---c.localhost",
            "3002-web.a--b---c.localhost",
            "api-1-x.localhost",
            "web-a--b---c.localhost",
        ];
        assert_eq!(names, wanted);
        let http = TraefikConfiguration::of(&leases).http.unwrap();
        assert_eq!((http.routers.len(), http.services.len()), (5, 5));
        assert_eq!(http.routers["web_localhost"].rule, "Host(`web.localhost`)");
        assert_eq!(
            http.services["web_localhost"].load_balancer.servers[0].url,
            "http://127.0.0.1:3000"
        );
        assert!(
            caddyfile(&leases).starts_with("web.localhost {\n\treverse_proxy 127.0.0.1:3000\n}\n")
        );
    }
}
