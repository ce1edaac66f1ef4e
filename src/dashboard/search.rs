//! `/search`: the search box of every page, for ports, names, processes and interfaces.

use actix_web::HttpResponse;

use super::frame::Params;
use super::page::see;
use crate::domain::port::Port;

/// Leads to the page for the search text.
pub(super) async fn find(params: Params) -> HttpResponse {
    see(&target(params.get("q").unwrap_or_default()))
}

/// The page for a search text: `5000`, `udp:5000`, `:free 5000`, `name:web`, `pid:123`, `if:eth0`, or
/// the id of a lease. Any other text is searched for among the leases.
fn target(typed: &str) -> String {
    let typed = typed.trim();
    if let Some(near) = typed.strip_prefix(":free") {
        return with("/try", "prefer", near.trim());
    }
    if let Some((key, value)) = typed.split_once(':') {
        let value = value.trim();
        match key.trim() {
            "tcp" | "udp" if is_port(value) => return format!("/ports/{}/{value}", key.trim()),
            "name" => return with("/leases", "name", value),
            "pid" => return with("/leases", "pid", value),
            "if" => return with("/interfaces", "name", value),
            "pool" => return with("/leases", "pool", value),
            "label" => return with("/leases", "label", value),
            "" if is_port(value) => return format!("/ports/tcp/{value}"),
            _ => {}
        }
    }
    if let Ok(port) = typed.parse::<Port>() {
        return format!("/ports/tcp/{port}");
    }
    if typed.len() == 36 && uuid::Uuid::try_parse(typed).is_ok() {
        return format!("/leases/{typed}");
    }
    with("/leases", "q", typed)
}

fn is_port(text: &str) -> bool {
    text.parse::<Port>().is_ok()
}

fn with(path: &str, key: &str, value: &str) -> String {
    Params::default().with(key, value).link(path)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn search_texts_lead_to_their_pages() {
        for (typed, page) in [
            ("5000", "/ports/tcp/5000"),
            (":5000", "/ports/tcp/5000"),
            ("udp:53", "/ports/udp/53"),
            (":free 5000", "/try?prefer=5000"),
            ("name:web", "/leases?name=web"),
            ("pid:123", "/leases?pid=123"),
            ("if:eth0", "/interfaces?name=eth0"),
            ("99999", "/leases?q=99999"),
            ("<b>&x=1", "/leases?q=%3Cb%3E%26x%3D1"),
            (
                "01a211b9-02b5-71a1-b3ab-022a59ccacda",
                "/leases/01a211b9-02b5-71a1-b3ab-022a59ccacda",
            ),
        ] {
            assert_eq!(target(typed), page);
        }
    }
}
