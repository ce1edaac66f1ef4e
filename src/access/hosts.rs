//! The names of the console, and requests from pages of other sites.

use actix_web::http::header::HeaderMap;

/// Whether the browser's headers name a page of another site as the source of the request.
pub fn is_foreign(headers: &HeaderMap, extra_hosts: &[String]) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign_site =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin = text("origin").is_some_and(|origin| {
        // "null" is what sandboxed and redirected pages send (RFC 6454, 7.3).
        let authority = origin.strip_prefix("http://");
        let host = text("host");
        authority.is_none() || authority != host || !is_ours(origin_host(origin), extra_hosts)
    });
    foreign_site || foreign_origin
}

fn origin_host(origin: &str) -> &str {
    origin.strip_prefix("http://").unwrap_or(origin)
}

/// Whether a Host names this console: a loopback name or address, or a configured name, with a port or
/// without (RFC 9110, section 7.2).
pub(super) fn is_ours(host: &str, extra_hosts: &[String]) -> bool {
    let name = without_port(host);
    let port = host[name.len()..].trim_start_matches(':');
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let loopback = match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(ip) => ip
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name
                    .parse::<std::net::Ipv4Addr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
    };
    loopback
        || extra_hosts
            .iter()
            .any(|extra| extra.eq_ignore_ascii_case(name))
}

/// Removes the port of a Host.
pub(super) fn without_port(host: &str) -> &str {
    let end_of_name = host.rfind(']').unwrap_or(0);
    match host[end_of_name..].find(':') {
        Some(colon) => &host[..end_of_name + colon],
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{self, HeaderValue};

    use super::*;

    #[test]
    fn only_loopback_names_and_configured_ones_are_ours() {
        for good in [
            "127.0.0.1:8888",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8888",
            "127.8.8.8",
            "box.test:9",
        ] {
            assert!(is_ours(good, &["box.test".into()]), "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "[::2]:1",
            "1.2.3.4",
            ":8888",
            "localhost:1:1",
            "127.0.0.1:8888@evil.test",
            "[::1]x:1",
        ] {
            assert!(!is_ours(bad, &[]), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8888"));
            for (name, value) in pairs {
                let name = header::HeaderName::from_static(name);
                headers.insert(name, HeaderValue::from_static(value));
            }
            is_foreign(&headers, &[])
        };
        assert!(!foreign(&[]));
        assert!(!foreign(&[
            ("origin", "http://127.0.0.1:8888"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(foreign(&[("origin", "http://127.0.0.1:9999")]));
        assert!(foreign(&[("origin", "null")]));
        assert!(foreign(&[("origin", "https://evil.test")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
    }
}
