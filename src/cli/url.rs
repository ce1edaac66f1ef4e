//! `portbook url`: the address of a service.

use std::net::IpAddr;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde_json::json;

use super::named::{Here, Lookup};
use super::{Failure, Global, browser, complete, print, print_json, with_backend};
use crate::answers::document::{LeaseDocument, VERSION};
use crate::domain::address::http_url;
use crate::domain::port::Protocol;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook url web                        http://127.0.0.1:24117
  curl \"$(portbook url web)/health\"
  portbook url web --path /admin --open   in a browser, too

A name is that of this folder, else that of the user. It need not listen yet: `portbook wait web` waits.")]
pub struct UrlArgs {
    /// Name, port or id of a lease.
    #[arg(add = ArgValueCandidates::new(complete::names))]
    pub(super) lease: String,
    /// Path behind host and port, such as /admin?tab=1.
    #[arg(long, value_parser = path)]
    pub(super) path: Option<String>,
    /// Use https rather than http.
    #[arg(long)]
    pub(super) https: bool,
    /// Open a browser, too.
    #[arg(long)]
    pub(super) open: bool,
}

const LOOKUP: Lookup = Lookup {
    command: "url",
    has_all: false,
    id: |lease| lease.id.to_string(),
};

pub(super) async fn run(global: &Global, args: &UrlArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let living = with_backend(&loaded, async |backend| backend.leases(false).await);
    let found = find(&living.await?, &args.lease)?;
    let urls = urls(&found, args)?;
    if global.json {
        print_json(&json!({ "version": VERSION, "urls": urls }))?;
    } else {
        print(&(urls.join("\n") + "\n"))?;
    }
    if args.open {
        browser::tell(urls.iter().try_for_each(browser::open));
    }
    Ok(())
}

/// Leases that a name, port or id means here; at least one.
pub(super) fn find(living: &[LeaseDocument], word: &str) -> Result<Vec<LeaseDocument>, Failure> {
    Here::now().find(living, word, false, LOOKUP)
}

/// Addresses of these leases; at least one.
pub(super) fn urls(found: &[LeaseDocument], args: &UrlArgs) -> Result<Vec<String>, Failure> {
    let urls: Result<Vec<String>, Failure> = found
        .iter()
        .filter(|lease| lease.protocol == Protocol::Tcp)
        .map(|lease| url(lease, args))
        .collect();
    let urls = urls?;
    if urls.is_empty() {
        let udp = format!(
            "{} is for UDP, which has no address for a browser",
            args.lease
        );
        return Err(Failure::other(udp));
    }
    Ok(urls)
}

/// Address of a lease. Its host comes from the service, which might be another program: nothing but an IP
/// address is taken.
fn url(lease: &LeaseDocument, args: &UrlArgs) -> Result<String, Failure> {
    let address = lease.host.split('%').next().unwrap_or_default();
    if address.parse::<IpAddr>().is_err() || lease.host.contains(|c: char| !is_of_host(c)) {
        let strange = "the service names no IP address as the host of this lease";
        return Err(Failure::other(strange));
    }
    let url = http_url(&lease.host, lease.port);
    let rest = url.strip_prefix("http").unwrap_or_default();
    let scheme = if args.https { "https" } else { "http" };
    let path = args.path.as_deref().unwrap_or_default();
    Ok(format!("{scheme}{rest}{path}"))
}

/// Whether a character can be in an IP address with a zone (`fe80::1%eth0.5`).
const fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '%' | '_' | '-')
}

/// Reads a path as it may stand in a URL.
pub(super) fn path(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(
            "a path begins with / and has no blanks or quotes (RFC 3986): write %20 for a blank"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(host: &str) -> LeaseDocument {
        let mut lease: LeaseDocument =
            serde_json::from_str(include_str!("../answers/example/lease.json")).unwrap();
        lease.host = host.to_owned();
        lease
    }

    #[test]
    fn host_of_a_strange_service_is_refused() {
        let args = UrlArgs {
            lease: String::new(),
            path: Some("/a".to_owned()),
            https: true,
            open: false,
        };
        assert_eq!(url(&lease("::1"), &args).unwrap(), "https://[::1]:21063/a");
        assert_eq!(
            url(&lease("10.0.0.1"), &args).unwrap(),
            "https://10.0.0.1:21063/a"
        );
        let zone = url(&lease("fe80::1%eth0"), &args).unwrap();
        assert_eq!(zone, "https://[fe80::1%25eth0]:21063/a");
        for strange in [
            "evil.example",
            "",
            "127.0.0.1/x",
            "::1%e th0",
            "::1%\u{1b}[2J",
        ] {
            assert!(url(&lease(strange), &args).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn paths_are_those_of_urls() {
        assert_eq!(path("/a?b=1&c=%20#d").unwrap(), "/a?b=1&c=%20#d");
        for wrong in ["", "a", "/a b", "/a\"b", "/a\nb", "@evil.example/", "/ä"] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
    }
}
