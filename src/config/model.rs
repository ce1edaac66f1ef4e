//! The settings as the rest of portbook uses them, and their defaults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::lease::Handover;
use crate::domain::local::LocalAddress;
use crate::domain::pool::{CONSOLE_POOL, DEFAULT_POOL, PORTSERVER_POOL, Pool, Strategy};
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::precedence::PREFER_SPAN;
use crate::domain::selector::{Selector, SelectorKind};
use crate::telemetry::LogFormat;

/// Every setting of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The pools by name; the built-in ones are always among them.
    pub pools: BTreeMap<String, Arc<Pool>>,
    /// Rules for single NICs, by their name.
    pub interfaces: BTreeMap<String, InterfaceRule>,
    /// The console.
    pub console: Console,
    /// The port server that test runners know.
    pub portserver: Portserver,
    /// Where the database, the token and the console's URL lie.
    pub data_dir: PathBuf,
    /// The API socket.
    pub socket: PathBuf,
    /// The file mode of the API socket: 0o600 or 0o660.
    pub socket_mode: u32,
    /// How leases are stored.
    pub store: Store,
    /// What is learned of ports, how fast it fades, and how long the past is kept.
    pub history: History,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// What holds for one NIC, whichever pool a port comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceRule {
    /// The ports that may be granted there, in place of the pool's.
    pub ranges: Option<PortSet>,
    /// Ports that are never granted there.
    pub exclude: PortSet,
}

/// The console: the dashboard and the API on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Whether it runs at all.
    pub enabled: bool,
    /// Exactly this address and port, or no start. In place of `address` and `pool`.
    pub listen: Option<SocketAddr>,
    /// The address it listens on, on a port of its pool.
    pub address: IpAddr,
    /// The pool its port comes from.
    pub pool: String,
    /// Names beyond localhost that a browser may call it by.
    pub allowed_hosts: Vec<String>,
    /// How many threads answer requests.
    pub workers: NonZeroUsize,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: None,
            address: Ipv4Addr::LOCALHOST.into(),
            pool: CONSOLE_POOL.to_owned(),
            allowed_hosts: Vec::new(),
            workers: const { NonZeroUsize::MIN.saturating_add(1) },
        }
    }
}

/// The port server that test runners know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portserver {
    /// Where it listens; not at all if absent.
    pub address: Option<LocalAddress>,
    /// The pool its ports come from.
    pub pool: String,
}

impl Default for Portserver {
    fn default() -> Self {
        Self {
            address: None,
            pool: PORTSERVER_POOL.to_owned(),
        }
    }
}

/// How leases are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// How many requests one commit may carry.
    pub batch_max: NonZeroU32,
    /// How often the write-ahead log is folded into the database.
    pub checkpoint_interval: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            batch_max: const { NonZeroU32::MIN.saturating_add(255) },
            checkpoint_interval: Duration::from_secs(5),
        }
    }
}

/// What is learned of ports, how fast it fades, and how long the past is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// How often it is looked who is on which port.
    pub snapshot_interval: Duration,
    /// After how long what was learned counts half.
    pub half_life: Duration,
    /// How long attempts, allocations and ended leases are kept.
    pub attempts_for: Duration,
    /// How many attempts are kept at most.
    pub attempts_max: NonZeroU32,
    /// How long the sums of each day are kept, and the last port of a name.
    pub totals_for: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self {
            attempts_for: Duration::from_hours(30 * 24),
            attempts_max: const { NonZeroU32::MIN.saturating_add(999_999) },
            totals_for: Duration::from_hours(400 * 24),
            snapshot_interval: Duration::from_mins(1),
            half_life: Duration::from_hours(72),
        }
    }
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The base of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`.
    pub endpoint: Option<String>,
    /// What the standard variables name in its place. No setting of portbook's own: here because
    /// a trace that went there can be looked at too.
    pub collector: Option<String>,
    /// Where a trace can be looked at: a URL with `{trace_id}` in it, and maybe `{span_id}`.
    pub trace_url: Option<String>,
    /// The service's name in traces.
    pub service_name: Option<String>,
    /// Which share of traces is kept, from 0 to 1.
    pub sample_ratio: f64,
    /// Which log lines are written, as tracing-subscriber's `EnvFilter` reads it.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            endpoint: None,
            collector: None,
            trace_url: None,
            service_name: None,
            sample_ratio: 1.0,
            log: "info".to_owned(),
            log_format: LogFormat::default(),
        }
    }
}

/// Where Jaeger has its pages, on the host that takes spans (<https://www.jaegertracing.io/docs/>).
const JAEGER_PAGES: &str = ":16686/trace/{trace_id}?uiFind={span_id}";

impl Telemetry {
    /// The address of the page about a trace, at this span where there is one: `trace_url`, or
    /// Jaeger's usual one on the host that takes spans. None where neither is known.
    pub fn trace_link(&self, trace_id: &str, span_id: Option<&str>) -> Option<String> {
        let of_jaeger = || {
            let collector = self.endpoint.as_ref().or(self.collector.as_ref())?;
            let (scheme, rest) = collector.split_once("://")?;
            // A user and a password are for the collector alone.
            let authority = rest.split('/').next()?.rsplit('@').next()?;
            // An IPv6 address has colons of its own, within brackets.
            let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
            let port = authority.get(end..)?.find(':');
            let host = port.map_or(authority, |colon| &authority[..end + colon]);
            Some(format!("{scheme}://{host}{JAEGER_PAGES}"))
        };
        let template = self.trace_url.clone().or_else(of_jaeger)?;
        let link = template.replace("{trace_id}", trace_id);
        Some(link.replace("{span_id}", span_id.unwrap_or_default()))
    }
}

/// The pools that exist without being written down.
pub const BUILT_IN_POOLS: [&str; 2] = [DEFAULT_POOL, CONSOLE_POOL];

/// What a pool is as far as nobody says otherwise. Only the built-in ones have ranges.
pub(super) fn default_pool(name: &str) -> Pool {
    let (ranges, prefer, interfaces) = match name {
        DEFAULT_POOL => (ports(20_000, 29_999), None, SelectorKind::Any),
        CONSOLE_POOL => (
            ports(8888, 8988),
            Port::new(8888),
            SelectorKind::Address(Ipv4Addr::LOCALHOST.into()),
        ),
        // The range of the reference program.
        PORTSERVER_POOL => (ports(15_000, 24_999), None, SelectorKind::Any),
        _ => (PortSet::EMPTY, None, SelectorKind::Any),
    };
    let (protocol, handover) = match name {
        // Its clients bind the port themselves, for either protocol, often without SO_REUSEADDR.
        PORTSERVER_POOL => (Protocols::Both, Handover::Release),
        _ => (Protocols::default(), Handover::default()),
    };
    Pool {
        name: name.into(),
        ranges,
        exclude: PortSet::EMPTY,
        static_band: PortSet::EMPTY,
        browser_safe: false,
        prefer,
        prefer_span: PREFER_SPAN,
        strategy: Strategy::of_pool(prefer),
        max_attempts: None,
        attempt_timeout: Duration::from_secs(5),
        cool_down: Duration::from_secs(10),
        release_cool_down: Duration::from_mins(1),
        protocol,
        interfaces: vec![Selector {
            negated: false,
            kind: interfaces,
        }],
        handover,
        claim_within: Duration::from_mins(10),
        names_idle: Duration::from_hours(24),
        gone_after: Duration::from_hours(1),
        ttl: None,
        max_ttl: None,
        max_leases: None,
        max_leases_per_user: None,
    }
}

fn ports(first: u16, last: u16) -> PortSet {
    match (Port::new(first), Port::new(last)) {
        (Some(first), Some(last)) => PortSet::range(first, last),
        _ => PortSet::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_looked_at_where_it_is_said_or_in_jaeger_beside_the_collector() {
        let link = |endpoint: Option<&str>, trace_url: Option<&str>| {
            let telemetry = Telemetry {
                endpoint: endpoint.map(str::to_owned),
                trace_url: trace_url.map(str::to_owned),
                ..Telemetry::default()
            };
            telemetry.trace_link("0af7", Some("b7ad"))
        };
        let jaeger = "http://127.0.0.1:16686/trace/0af7?uiFind=b7ad";
        assert_eq!(link(None, None), None);
        assert_eq!(link(Some("http://127.0.0.1:4318"), None).unwrap(), jaeger);
        assert_eq!(link(Some("http://127.0.0.1/v"), None).unwrap(), jaeger);
        let six = link(Some("http://[::1]:4318"), None).unwrap();
        assert_eq!(six, "http://[::1]:16686/trace/0af7?uiFind=b7ad");
        let own = link(
            Some("http://a"),
            Some("https://g/t?id={trace_id}#{span_id}"),
        );
        assert_eq!(own.unwrap(), "https://g/t?id=0af7#b7ad");
    }

    #[test]
    fn a_collector_of_the_environment_has_pages_too_and_keeps_its_password() {
        let telemetry = Telemetry {
            collector: Some("http://me:secret@c:4318/v1/traces".to_owned()),
            ..Telemetry::default()
        };
        let link = telemetry.trace_link("0af7", None);
        assert_eq!(link.unwrap(), "http://c:16686/trace/0af7?uiFind=");
        let endpoint = Some("http://own:4318".to_owned());
        let link = Telemetry {
            endpoint,
            ..telemetry
        };
        let link = link.trace_link("0af7", None).unwrap();
        assert!(link.starts_with("http://own:16686/"), "{link}");
    }
}
