//! Variables of the environment that other programs set, and that must not keep portbook from starting.

use super::finding::{Finding, Problem};
use crate::telemetry::propagation;

/// Warns of variables that look like settings or standards and are ignored.
pub(super) fn variables(environment: &[(String, String)]) -> Vec<Finding> {
    let warned = environment.iter().filter_map(|(name, value)| {
        let problem = if is_service_link(name) {
            Problem::new(
                "it looks like a service link of Kubernetes and is ignored",
                "set enableServiceLinks to false, or give the Kubernetes service another name than portbook",
            )
        } else if name == "TRACEPARENT" && !propagation::is_well_formed(value.trim()) {
            Problem::new(
                "it is no trace context and is ignored",
                "write 00-TRACE-SPAN-FLAGS in hexadecimal digits, or unset it",
            )
        } else {
            return None;
        };
        let source = format!("environment ({name})");
        Some(Finding::warning(&"", &source, problem))
    });
    warned.collect()
}

/// Whether Kubernetes sets a variable of this name for a service called `portbook` or `portbook-…`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>):
/// `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT`, `…_PORT_8888_TCP[_PROTO|_PORT|_ADDR]`. No
/// setting has such a name.
pub(super) fn is_service_link(name: &str) -> bool {
    let Some(link) = name.strip_prefix("PORTBOOK_") else {
        return false;
    };
    if link.contains("__") {
        return false;
    }
    let link = format!("_{link}");
    let of_service = link.ends_with("_SERVICE_HOST")
        || link.ends_with("_SERVICE_PORT")
        || link.contains("_SERVICE_PORT_");
    let ends_as_port = link.ends_with("_PORT") && link != "_PORT";
    of_service
        || ends_as_port
        || link.match_indices("_PORT_").any(|(at, word)| {
            let mut rest = link[at + word.len()..].split('_');
            let is_number = |text: &str| text.parse::<u16>().is_ok();
            let is_protocol = |text: &str| ["TCP", "UDP", "SCTP"].contains(&text);
            rest.next().is_some_and(is_number) && rest.next().is_some_and(is_protocol)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_told_from_settings() {
        for link in [
            "PORTBOOK_SERVICE_HOST",
            "PORTBOOK_SERVICE_PORT",
            "PORTBOOK_SERVICE_PORT_HTTP",
            "PORTBOOK_PORT_8888_TCP",
            "PORTBOOK_PORT_8888_TCP_ADDR",
            "PORTBOOK_CONSOLE_PORT",
            "PORTBOOK_CONSOLE_PORT_53_UDP_PROTO",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        for other in [
            "PORTBOOK_SOCKET",
            "PORTBOOK_SOCKET_MODE",
            "PORTBOOK_DATA_DIR",
            "PORTBOOK_SOCKET_PROT",
            "PORTBOOK_POOLS__DEFAULT__RANGES",
            "PORTBOOK_POOLS__WEB_PORT__RANGES",
            "MY_SERVICE_HOST",
        ] {
            assert!(!is_service_link(other), "{other}");
        }
    }
}
