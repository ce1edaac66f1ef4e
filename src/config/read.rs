//! Which settings there are: each is asked for here, once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::finding::Problem;
use super::model::{
    BUILT_IN_POOLS, Console, History, InterfaceRule, Portserver, Settings, Store, Telemetry,
    default_pool,
};
use super::place::Places;
use super::reader::{Reader, Section};
use super::value::{Selectors, SocketMode, Words};
use crate::domain::duration::HumanDuration;
use crate::domain::pool::{PORTSERVER_POOL, Pool, Strategy};
use crate::domain::port::PortSet;
use crate::domain::selector::{Selector, SelectorKind};

/// Reads every setting. Where a value is wrong its default stands in, and the reader has a finding.
pub(super) fn settings(reader: &mut Reader<'_>, places: &Places) -> Settings {
    let (data_dir, socket) = paths(&mut reader.section([]), places);
    Settings {
        data_dir,
        socket,
        socket_mode: reader.section([]).value("socket_mode", SocketMode(0o600)).0,
        console: console(reader.section(["console"])),
        portserver: portserver(reader.section(["portserver"])),
        pools: pools(reader),
        interfaces: interfaces(reader),
        store: store(reader.section(["store"])),
        history: history(reader.section(["history"])),
        telemetry: telemetry(reader.section(["telemetry"])),
    }
}

/// Someone who sets a data directory and no socket runs a service of its own beside the usual
/// one: its socket lies in its data directory.
fn paths(root: &mut Section<'_, '_>, places: &Places) -> (PathBuf, PathBuf) {
    let given = root.is_given("data_dir");
    let default = places.data_dir();
    let data_dir = root.optional_checked("data_dir", default, |path| absolute(path));
    let data_dir = data_dir.unwrap_or_else(|| {
        let problem = Problem::new(
            "there is no home directory to put it in",
            "set it, or the variable XDG_STATE_HOME",
        );
        root.fail("data_dir", problem);
        PathBuf::new()
    });
    let default = match places.socket() {
        Some(socket) if !given => socket,
        _ => data_dir.join("portbook.sock"),
    };
    let socket = root.checked("socket", default, |path| absolute(path));
    if let Err(problem) = fits_a_socket(&socket) {
        root.fail("socket", problem);
    }
    (data_dir, socket)
}

fn console(mut section: Section<'_, '_>) -> Console {
    let default = Console::default();
    Console {
        enabled: section.value("enabled", default.enabled),
        listen: section.optional_checked("listen", default.listen, listenable),
        address: section.checked("address", default.address, |ip| loopback(*ip)),
        pool: section.value("pool", default.pool),
        allowed_hosts: section
            .checked("allowed_hosts", Words(default.allowed_hosts), host_names)
            .0,
        workers: section.value("workers", default.workers),
    }
}

fn portserver(mut section: Section<'_, '_>) -> Portserver {
    let default = Portserver::default();
    Portserver {
        address: section.optional("address", default.address),
        pool: section.value("pool", default.pool),
    }
}

/// Only pools without a problem: the checks that compare settings have nothing to say on others.
fn pools(reader: &mut Reader<'_>) -> BTreeMap<String, Arc<Pool>> {
    let given = reader.layers.tables("pools").into_iter();
    // Nobody else takes from the port server's pool, so without one it would only be in the way.
    let of_portserver = reader.section(["portserver"]).is_given("address");
    let of_portserver = of_portserver.then_some(PORTSERVER_POOL);
    let built_in = BUILT_IN_POOLS.into_iter().chain(of_portserver);
    let names: BTreeSet<String> = given.chain(built_in.map(str::to_owned)).collect();
    let pools = names.into_iter().filter_map(|name| {
        let pool = pool(reader.section(["pools", &name]), &name)?;
        Some((name, Arc::new(pool)))
    });
    pools.collect()
}

fn pool(mut section: Section<'_, '_>, name: &str) -> Option<Pool> {
    let before = section.problems();
    let base = default_pool(name);
    if !is_pool_name(name) {
        let problem = Problem::new(
            format!("\"{name}\" is not a name for a pool"),
            "use small letters, digits and _ alone",
        );
        section.fail("ranges", problem);
    }
    let (ranges, exclude) = ports_of_pool(&mut section, &base);
    // A preferred port that nobody asked for gives way to ranges that somebody did.
    let free = |port: &_| ranges.contains(*port) && !exclude.contains(*port);
    let prefer = section.optional("prefer", base.prefer.filter(free));
    let pool = Pool {
        prefer,
        prefer_span: section.value("prefer_span", base.prefer_span),
        strategy: section.value("strategy", Strategy::of_pool(prefer)),
        static_band: section.value("static_band", base.static_band),
        browser_safe: section.value("browser_safe", base.browser_safe),
        max_attempts: section.optional("max_attempts", base.max_attempts),
        attempt_timeout: lasting(&mut section, "attempt_timeout", base.attempt_timeout),
        cool_down: section.value("cool_down", HumanDuration(base.cool_down)).0,
        release_cool_down: section
            .value("release_cool_down", HumanDuration(base.release_cool_down))
            .0,
        protocol: section.value("protocol", base.protocol),
        interfaces: section.value("interfaces", Selectors(base.interfaces)).0,
        handover: section.value("handover", base.handover),
        claim_within: lasting(&mut section, "claim_within", base.claim_within),
        names_idle: section
            .value("names_idle", HumanDuration(base.names_idle))
            .0,
        gone_after: lasting(&mut section, "gone_after", base.gone_after),
        ttl: section
            .optional_checked("ttl", base.ttl.map(HumanDuration), not_zero)
            .map(|ttl| ttl.0),
        max_ttl: section
            .optional_checked("max_ttl", base.max_ttl.map(HumanDuration), not_zero)
            .map(|ttl| ttl.0),
        max_leases: section.optional("max_leases", base.max_leases),
        max_leases_per_user: section.optional("max_leases_per_user", base.max_leases_per_user),
        name: base.name,
        ranges,
        exclude,
    };
    (section.problems() == before).then_some(pool)
}

fn ports_of_pool(section: &mut Section<'_, '_>, base: &Pool) -> (PortSet, PortSet) {
    if base.ranges.is_empty() && !section.is_given("ranges") {
        let problem = Problem::new(
            format!("the pool {} has no ports", base.name),
            "say which it may grant, such as ranges = \"3000-3999\"",
        );
        section.fail("ranges", problem);
    }
    let ranges = section.checked("ranges", base.ranges.clone(), not_empty);
    let exclude = section.value("exclude", base.exclude.clone());
    (ranges, exclude)
}

fn interfaces(reader: &mut Reader<'_>) -> BTreeMap<String, InterfaceRule> {
    let names = reader.layers.tables("interfaces").into_iter();
    let rules = names.map(|name| {
        let mut section = reader.section(["interfaces", &name]);
        if !is_nic_name(&name) {
            let problem = Problem::new(
                format!("\"{name}\" is not the name of one interface"),
                "name a NIC as the host does, such as eth0",
            );
            section.fail("ranges", problem);
        }
        let rule = InterfaceRule {
            ranges: section.optional_checked("ranges", None, not_empty),
            exclude: section.value("exclude", PortSet::EMPTY),
        };
        (name, rule)
    });
    rules.collect()
}

fn store(mut section: Section<'_, '_>) -> Store {
    let default = Store::default();
    Store {
        batch_max: section.value("batch_max", default.batch_max),
        checkpoint_interval: lasting(
            &mut section,
            "checkpoint_interval",
            default.checkpoint_interval,
        ),
    }
}

fn history(mut section: Section<'_, '_>) -> History {
    let default = History::default();
    History {
        attempts_for: lasting(&mut section, "attempts_for", default.attempts_for),
        attempts_max: section.value("attempts_max", default.attempts_max),
        totals_for: lasting(&mut section, "totals_for", default.totals_for),
        snapshot_interval: lasting(&mut section, "snapshot_interval", default.snapshot_interval),
        half_life: lasting(&mut section, "half_life", default.half_life),
    }
}

fn telemetry(mut section: Section<'_, '_>) -> Telemetry {
    let default = Telemetry::default();
    Telemetry {
        endpoint: section.optional_checked("endpoint", default.endpoint, http_base),
        collector: default.collector,
        trace_url: section.optional_checked("trace_url", default.trace_url, trace_url),
        service_name: section.optional("service_name", default.service_name),
        sample_ratio: section.checked("sample_ratio", default.sample_ratio, share),
        log: section.checked("log", default.log, log_filter),
        log_format: section.value("log_format", default.log_format),
    }
}

/// A length of time that must not be zero.
fn lasting(section: &mut Section<'_, '_>, name: &str, default: Duration) -> Duration {
    section.checked(name, HumanDuration(default), not_zero).0
}

fn rule(holds: bool, message: impl Into<String>, hint: &str) -> Result<(), Problem> {
    if holds {
        return Ok(());
    }
    Err(Problem::new(message, hint))
}

fn not_zero(span: &HumanDuration) -> Result<(), Problem> {
    let hint = "write a longer one, such as \"10s\"";
    rule(!span.0.is_zero(), "no time at all is too short", hint)
}

fn not_empty(ports: &PortSet) -> Result<(), Problem> {
    let hint = "write ports such as \"8888-8988,9100\"";
    rule(!ports.is_empty(), "there is no port in it", hint)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape of a rule")]
fn share(ratio: &f64) -> Result<(), Problem> {
    let message = format!("{ratio} is not a share");
    rule(
        (0.0..=1.0).contains(ratio),
        message,
        "write a number from 0 to 1",
    )
}

/// A relative path would mean another place in each folder that a command is called from.
fn absolute(path: &std::path::Path) -> Result<(), Problem> {
    let message = format!("\"{}\" is not an absolute path", path.display());
    rule(
        path.is_absolute(),
        message,
        "start it with / (~ is not replaced)",
    )
}

/// `sun_path` has room for 107 bytes and a NUL (unix(7)).
fn fits_a_socket(path: &std::path::Path) -> Result<(), Problem> {
    let length = path.as_os_str().len();
    let message = format!("a path of {length} bytes is too long for a socket");
    rule(length <= 107, message, "set one of 107 bytes at most")
}

/// Nobody would have to log in to a console that others can reach, so it stays on loopback.
fn loopback(ip: IpAddr) -> Result<(), Problem> {
    let message =
        format!("{ip} can be reached from beyond this host, and the console has no login");
    rule(
        ip.is_loopback(),
        message,
        "use 127.0.0.1 or ::1, and a tunnel such as ssh -L from elsewhere",
    )
}

fn listenable(address: &SocketAddr) -> Result<(), Problem> {
    loopback(address.ip())?;
    let hint = "name a port, or leave listen out and let the pool choose";
    rule(address.port() != 0, "0 is not a port", hint)
}

fn host_names(hosts: &Words) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = |host: &String| !host.is_empty() && host.bytes().all(plain);
    match hosts.0.iter().find(|host| !is_name(host)) {
        None => Ok(()),
        Some(wrong) => Err(Problem::new(
            format!("\"{wrong}\" is not a host name"),
            "write the name alone, such as \"devbox.lan\", without scheme and port",
        )),
    }
}

fn http_base(endpoint: &String) -> Result<(), Problem> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme));
    let message = format!("\"{endpoint}\" is not the address of a collector");
    let host = rest
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    rule(
        !host.is_empty(),
        message,
        "write one such as \"http://127.0.0.1:4318\"",
    )?;
    let message = "an address with a password would be shown to whoever reads the settings";
    rule(
        !host.contains('@'),
        message,
        "use OTEL_EXPORTER_OTLP_HEADERS for credentials",
    )
}

fn trace_url(template: &String) -> Result<(), Problem> {
    let web = template.starts_with("http://") || template.starts_with("https://");
    rule(
        web && template.contains("{trace_id}"),
        format!("\"{template}\" is not where a trace can be looked at"),
        "write a URL such as \"http://127.0.0.1:16686/trace/{trace_id}\"",
    )
}

fn log_filter(filter: &String) -> Result<(), Problem> {
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(
            format!("\"{filter}\" is not a log filter ({error})"),
            "write one such as \"info\" or \"warn,portbook=debug\"",
        )),
    }
}

fn is_pool_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain)
}

fn is_nic_name(name: &str) -> bool {
    match name.parse() {
        Ok(Selector {
            negated: false,
            kind: SelectorKind::Interface(nic),
        }) => !nic.contains(['*', '?']),
        _ => false,
    }
}
