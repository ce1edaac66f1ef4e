//! Settings of the service but for its pools: types, defaults, rules and explanations.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use super::rule::{
    absolute, host_names, http_base, labels, listenable, log_filter, loopback, not_empty, not_zero,
    share, trace_url,
};
use super::rule_fleet::{engine_addresses, key_prefix, session_time};
use super::table::settings;
use crate::domain::fleet::{HostName, Publish};
use crate::domain::local::LocalAddress;
use crate::domain::pool::{CONSOLE_POOL, PORTSERVER_POOL};
use crate::domain::port::PortSet;
use crate::domain::prior::PriorSharing;
use crate::telemetry::LogFormat;

/// Every setting of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Pools by name; the built-in ones are always among them.
    pub pools: BTreeMap<String, Arc<Pool>>,
    /// Rules for single NICs, by their names.
    pub interfaces: BTreeMap<String, InterfaceRule>,
    pub console: Console,
    pub client: Client,
    pub portserver: Portserver,
    pub fleet: Fleet,
    /// Directory of the database, the token and the file with the console's URL.
    pub data_dir: PathBuf,
    /// API socket.
    pub socket: PathBuf,
    /// File mode of the API socket: 0o600 or 0o660.
    pub socket_mode: u32,
    pub store: Store,
    pub history: History,
    pub telemetry: Telemetry,
}

settings! {
    /// A NIC can have ports of its own, in place of those of the pools, and ports that are never
    /// granted on it.
    pub struct InterfaceRule {
        /// Ports that may be granted there, in place of the pool's.
        ranges: Option<PortSet> = None, rule not_empty, example "\"31000-31999\"";
        /// Ports that are never granted there.
        exclude: PortSet = PortSet::EMPTY, example "\"31500\"";
    }
}

settings! {
    /// The console: dashboard and API on loopback. It has no login, so no other address is taken.
    pub struct Console {
        /// Whether it runs.
        enabled: bool = true;
        /// Exactly this address and port, or no start. In place of address and pool.
        listen: Option<SocketAddr> = None, rule listenable, example "\"127.0.0.1:9000\"";
        /// Address to listen on.
        address: IpAddr = Ipv4Addr::LOCALHOST.into(), rule loopback;
        /// Pool that its port comes from.
        pool: String = CONSOLE_POOL.to_owned();
        /// Names beyond localhost that a browser may call it by, such as devbox.lan.
        allowed_hosts: Vec<String> = Vec::new(), rule host_names;
        /// Number of threads that answer requests.
        workers: NonZeroUsize = const { NonZeroUsize::MIN.saturating_add(1) };
    }
}

settings! {
    /// Commands, and programs that embed portbook, as clients of a running service.
    pub struct Client {
        /// Time limit for each answer of the service.
        timeout: Duration = Duration::from_secs(30), rule not_zero, example "\"30s\"";
        /// Users, beside the caller and root, whose services may be believed, such as 993.
        trusted_uids: Vec<u32> = Vec::new();
        /// Labels of every lease that is asked for: KEY=VALUE, such as job=1234 in a CI job.
        labels: Vec<String> = Vec::new(), rule labels;
    }
}

settings! {
    /// The port server that test runners know (the portpicker package and its relatives). Its clients
    /// cannot give a port back: it is theirs until their process has been reaped and the port is free.
    pub struct Portserver {
        /// Socket to listen on: @ and a name for an abstract socket, which every local user may open, or
        /// a path, with the permissions of socket_mode. It does not run unless this is set.
        address: Option<LocalAddress> = None, example "\"@unittest-portserver\"";
        /// Pool that its ports come from. Its own has 15000-24999; change them in [pools.portserver].
        pool: String = PORTSERVER_POOL.to_owned();
    }
}

settings! {
    /// A fleet: several hosts that find each other's names, over etcd. It needs a portbook that was built
    /// with the feature `fleet`, and begins at the next start. No local request waits for etcd.
    pub struct Fleet {
        /// Addresses of etcd, such as https://etcd-1:2379. Plain http:// is for loopback alone. There is
        /// no fleet unless it is set.
        engine: Vec<String> = Vec::new(), rule engine_addresses;
        /// Name of this host in the fleet. The machine's own name unless set.
        host: Option<HostName> = None, example "\"build-1\"";
        /// Certificate of the authority that signed those of etcd, a PEM file.
        ca: Option<PathBuf> = None, rule absolute, example "\"/etc/portbook/fleet/ca.pem\"";
        /// Certificate of this host, a PEM file, whose common name etcd takes for the user.
        certificate: Option<PathBuf> = None, rule absolute, example "\"/etc/portbook/fleet/host.pem\"";
        /// Key of that certificate, a PEM file with mode 0600.
        key: Option<PathBuf> = None, rule absolute, example "\"/etc/portbook/fleet/host.key\"";
        /// Beginning of all keys in etcd, one for each fleet.
        prefix: String = "/portbook/v1/".to_owned(), rule key_prefix;
        /// Time after which a host that is silent is no longer live, from 2s to 1h.
        session: Duration = Duration::from_secs(30), rule session_time;
        /// Leases that others may find: "named", "all" or "nothing".
        publish: Publish = Publish::Named;
        /// Knowledge of busy ports that the hosts share: "commands" (ports, and the names of the commonest programs
        /// on them), "ports" or "nothing", which reads nothing either.
        prior: PriorSharing = PriorSharing::Commands;
        /// Address of this host that others are told. All of its own ones unless set.
        address: Option<IpAddr> = None, example "\"192.0.2.7\"";
    }
}

settings! {
    /// The record of leases.
    pub struct Store {
        /// Number of commits at which the ledger is brought into the tables; fewer wait for a second.
        batch_max: NonZeroU32 = const { NonZeroU32::MIN.saturating_add(2047) };
        /// Time between two checkpoints of an idle record, which fold SQLite's write-ahead log into the database.
        checkpoint_interval: Duration = Duration::from_secs(5), rule not_zero;
    }
}

settings! {
    /// The past: what attempts and snapshots taught, and how long it is kept. Rows that are deleted
    /// have been added up per day, pool, interface and port.
    pub struct History {
        /// Time that attempts, allocations and ended leases are kept.
        attempts_for: Duration = Duration::from_hours(30 * 24), rule not_zero, example "\"30d\"";
        /// Maximum number of attempts kept; the older ones go first.
        attempts_max: NonZeroU32 = const { NonZeroU32::MIN.saturating_add(999_999) };
        /// Time that the sums of each day are kept, and the last port of a name that is no longer used.
        totals_for: Duration = Duration::from_hours(400 * 24), rule not_zero, example "\"400d\"";
        /// Time between two snapshots of the programs on all ports.
        snapshot_interval: Duration = Duration::from_mins(1), rule not_zero;
        /// Time after which what was learned counts half.
        half_life: Duration = Duration::from_hours(72), rule not_zero, example "\"3d\"";
    }
}

settings! {
    /// Logs and traces.
    pub struct Telemetry(collector: Option<String>) {
        /// Base of an OTLP/HTTP collector. Nothing is sent unless it is set, here or by the standard
        /// variables of OpenTelemetry.
        endpoint: Option<String> = None, rule http_base, example "\"http://127.0.0.1:4318\"";
        /// Page of a trace, with {trace_id} and perhaps {span_id} in it. Jaeger's usual page on the
        /// endpoint's host unless set.
        trace_url: Option<String> = None, rule trace_url,
            example "\"http://127.0.0.1:16686/trace/{trace_id}?uiFind={span_id}\"";
        /// Name of the service in traces.
        service_name: Option<String> = None, example "\"portbook\"";
        /// Share of traces that is kept, from 0 to 1.
        sample_ratio: f64 = 1.0, rule share;
        /// Log lines that are written: a level, or levels by module such as "warn,portbook=debug".
        log: String = "info".to_owned(), rule log_filter;
        /// Form of log lines: "text" or "json".
        log_format: LogFormat = LogFormat::default();
    }
}

/// Path of a trace in Jaeger, on the host that takes spans (<https://www.jaegertracing.io/docs/>).
const JAEGER_PAGES: &str = ":16686/trace/{trace_id}?uiFind={span_id}";

impl Telemetry {
    /// Address of the page about a trace, at a span if one is given: `trace_url`, or Jaeger's usual
    /// page on the host that takes spans. `None` if neither is set.
    pub fn trace_link(&self, trace_id: &str, span_id: Option<&str>) -> Option<String> {
        let template = self.trace_url.clone().or_else(|| self.jaeger_page())?;
        let link = template.replace("{trace_id}", trace_id);
        Some(link.replace("{span_id}", span_id.unwrap_or_default()))
    }

    fn jaeger_page(&self) -> Option<String> {
        let collector = self.endpoint.as_ref().or(self.collector.as_ref())?;
        let (scheme, rest) = collector.split_once("://")?;
        // A user and a password are for the collector alone.
        let authority = rest.split('/').next()?.rsplit('@').next()?;
        // An IPv6 address has colons of its own, within brackets.
        let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let port = authority.get(end..)?.find(':');
        let host = port.map_or(authority, |colon| &authority[..end + colon]);
        Some(format!("{scheme}://{host}{JAEGER_PAGES}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(endpoint: Option<&str>, trace_url: Option<&str>) -> Telemetry {
        Telemetry {
            collector: None,
            endpoint: endpoint.map(str::to_owned),
            trace_url: trace_url.map(str::to_owned),
            service_name: None,
            sample_ratio: 1.0,
            log: String::new(),
            log_format: LogFormat::Text,
        }
    }

    #[test]
    fn trace_link_is_the_configured_page_or_jaegers() {
        let link = |endpoint: Option<&str>, trace_url: Option<&str>| {
            telemetry(endpoint, trace_url).trace_link("0af7", Some("b7ad"))
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
    fn trace_link_hides_the_password_of_the_collector() {
        let collector = Some("http://me:secret@c:4318/v1/traces".to_owned());
        let of_environment = Telemetry {
            collector: collector.clone(),
            ..telemetry(None, None)
        };
        let link = of_environment.trace_link("0af7", None);
        assert_eq!(link.unwrap(), "http://c:16686/trace/0af7?uiFind=");
        let of_settings = Telemetry {
            collector,
            ..telemetry(Some("http://own:4318"), None)
        };
        let link = of_settings.trace_link("0af7", None).unwrap();
        assert!(link.starts_with("http://own:16686/"), "{link}");
    }
}
