//! Rules that single settings have to keep, beyond their types.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::finding::Problem;
use crate::domain::port::PortSet;
use crate::domain::selector::{Selector, SelectorKind};

/// A check of one value.
pub(super) type Rule<T> = fn(&T) -> Result<(), Problem>;

fn rule(holds: bool, message: impl Into<String>, hint: &str) -> Result<(), Problem> {
    if holds {
        return Ok(());
    }
    Err(Problem::new(message, hint))
}

pub(super) fn not_zero(length: &Duration) -> Result<(), Problem> {
    let hint = "write a longer one, such as \"10s\"";
    rule(!length.is_zero(), "no time at all is too short", hint)
}

pub(super) fn not_empty(ports: &PortSet) -> Result<(), Problem> {
    let hint = "write ports such as \"8888-8988,9100\"";
    rule(!ports.is_empty(), "there is no port in it", hint)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape of a rule")]
pub(super) fn share(ratio: &f64) -> Result<(), Problem> {
    let message = format!("{ratio} is not a share");
    let hint = "write a number from 0 to 1";
    rule((0.0..=1.0).contains(ratio), message, hint)
}

#[expect(clippy::ptr_arg, reason = "the shape of a rule")]
/// A relative path would mean another place in each folder that a command is called from.
pub(super) fn absolute(path: &PathBuf) -> Result<(), Problem> {
    let message = format!("\"{}\" is not an absolute path", path.display());
    let hint = "start it with / (~ is not replaced)";
    rule(path.is_absolute(), message, hint)
}

/// `sun_path` has room for 107 bytes and a NUL (unix(7)).
pub(super) fn fits_a_socket(path: &Path) -> Result<(), Problem> {
    let length = path.as_os_str().len();
    let message = format!("a path of {length} bytes is too long for a socket");
    rule(length <= 107, message, "set one of 107 bytes at most")
}

/// The console has no login, so it must not be reachable from other hosts.
pub(super) fn loopback(ip: &IpAddr) -> Result<(), Problem> {
    let message =
        format!("{ip} can be reached from beyond this host, and the console has no login");
    let hint = "use 127.0.0.1 or ::1, and a tunnel such as ssh -L from elsewhere";
    rule(ip.is_loopback(), message, hint)
}

pub(super) fn listenable(address: &SocketAddr) -> Result<(), Problem> {
    loopback(&address.ip())?;
    let hint = "name a port, or leave listen out and let the pool choose";
    rule(address.port() != 0, "0 is not a port", hint)
}

#[expect(clippy::ptr_arg, reason = "the shape of a rule")]
pub(super) fn labels(labels: &Vec<String>) -> Result<(), Problem> {
    let is_label = |word: &String| word.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    match labels.iter().find(|word| !is_label(word)) {
        None => Ok(()),
        Some(wrong) => Err(Problem::new(
            format!("\"{wrong}\" is not a label"),
            "write KEY=VALUE, such as \"job=1234\"",
        )),
    }
}

#[expect(clippy::ptr_arg, reason = "the shape of a rule")]
pub(super) fn host_names(hosts: &Vec<String>) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = |host: &String| !host.is_empty() && host.bytes().all(plain);
    match hosts.iter().find(|host| !is_name(host)) {
        None => Ok(()),
        Some(wrong) => Err(Problem::new(
            format!("\"{wrong}\" is not a host name"),
            "write the name alone, such as \"devbox.lan\", without scheme and port",
        )),
    }
}

pub(super) fn http_base(endpoint: &String) -> Result<(), Problem> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split('/').next());
    let host = host.unwrap_or_default();
    rule(
        !host.is_empty(),
        format!("\"{endpoint}\" is not the address of a collector"),
        "write one such as \"http://127.0.0.1:4318\"",
    )?;
    rule(
        !host.contains('@'),
        "an address with a password would be shown to every reader of the settings",
        "use OTEL_EXPORTER_OTLP_HEADERS for credentials",
    )
}

pub(super) fn trace_url(template: &String) -> Result<(), Problem> {
    let web = template.starts_with("http://") || template.starts_with("https://");
    rule(
        web && template.contains("{trace_id}"),
        format!("\"{template}\" is not the page of a trace"),
        "write a URL such as \"http://127.0.0.1:16686/trace/{trace_id}\"",
    )
}

pub(super) fn log_filter(filter: &String) -> Result<(), Problem> {
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(
            format!("\"{filter}\" is not a log filter ({error})"),
            "write one such as \"info\" or \"warn,portbook=debug\"",
        )),
    }
}

pub(super) fn pool_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    rule(
        !name.is_empty() && name.bytes().all(plain),
        format!("\"{name}\" is not a name for a pool"),
        "use small letters, digits and _ alone",
    )
}

pub(super) fn nic_name(name: &str) -> Result<(), Problem> {
    let is_one = match name.parse() {
        Ok(Selector {
            negated: false,
            kind: SelectorKind::Interface(nic),
        }) => !nic.contains(['*', '?']),
        _ => false,
    };
    rule(
        is_one,
        format!("\"{name}\" is not the name of one interface"),
        "name a NIC as the host does, such as eth0",
    )
}
