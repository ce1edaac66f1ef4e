//! Pages of the console: errors as pages, and requests tried without a login.

use serde_json::json;

use crate::support::{Answer, Place, Server, occupant, ports, ports_in_a_row};
use crate::tools::eventually;

/// The Accept header of a browser that opens a page.
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

/// A header that a browser sends once it is logged in.
pub fn cookie(server: &Server) -> String {
    let login = server
        .api("POST", "/api/v1/logins", Some(&json!({})))
        .json();
    let answer = server.web("GET", login["path"].as_str().unwrap(), &[]);
    cookie_of(&answer)
}

fn cookie_of(answer: &Answer) -> String {
    let mut lines = answer.head.lines();
    let line = lines.find(|line| line.to_lowercase().starts_with("set-cookie: "));
    let line = line.unwrap_or_else(|| panic!("no session: {answer:?}"));
    line["set-cookie: ".len()..]
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

/// Sends a form as a browser with this cookie does.
pub fn send(server: &Server, path: &str, cookie: &str, form: &str) -> Answer {
    let host = format!("127.0.0.1:{}", server.console_port());
    let length = form.len();
    server.raw(&format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\n\
         Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
    ))
}

fn events(server: &Server, kind: &str) -> usize {
    let status = server.web("GET", "/", &[]).body;
    status.matches(&format!(">{kind}<")).count()
}

#[test]
fn a_browser_sees_every_error_as_a_page() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let cases = [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/leases/nothing", 404, "not_found"),
        ("POST", "/map", 401, "unauthorized"),
        ("POST", "/leases/release", 401, "unauthorized"),
        ("POST", "/logout", 403, "forbidden"),
        ("OPTIONS", "/map", 405, "method_not_allowed"),
    ];
    for (method, path, status, code) in cases {
        let page = server.web(method, path, &[BROWSER]);
        assert_eq!(page.status, status, "{method} {path}: {page:?}");
        let head = page.head.to_lowercase();
        assert!(head.contains("content-type: text/html"), "{page:?}");
        assert!(head.contains("content-security-policy: default-src 'none'"));
        let allow = head.contains("\nallow: ");
        assert_eq!(allow, status == 405, "{page:?}");
        for part in ["aria-label=\"Pages\"", "href=\"/\"", code] {
            assert!(page.body.contains(part), "{method} {path}: no {part}");
        }
        assert!(page.body.contains(&format!("href=\"/errors/{code}\"")));
        let login = page.body.contains("class=\"button main\" href=\"/login\"");
        assert_eq!(login, status == 401, "{page:?}");
    }
    let foreign = [("Host", "evil.test"), BROWSER];
    let head = "GET /map HTTP/1.1\r\nConnection: close\r\n";
    let lines: String = foreign
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    let page = server.raw(&format!("{head}{lines}\r\n"));
    assert_eq!(page.status, 421, "{page:?}");
    let home = format!("href=\"{}\"", server.console);
    assert!(page.body.contains(&home), "{page:?}");
}

#[test]
fn other_clients_and_paths_of_the_api_get_json() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let json = [("Accept", "application/json")];
    for (path, headers) in [
        ("/nowhere", &[][..]),
        ("/nowhere", &json),
        ("/api/v1/nowhere", &[BROWSER]),
        ("/livez/nowhere", &[BROWSER]),
    ] {
        let answer = server.web("GET", path, headers);
        assert_eq!(answer.json()["code"], "not_found", "{path}");
        let head = answer.head.to_lowercase();
        assert!(head.contains("content-type: application/problem+json"));
    }
}

#[test]
fn error_after_a_login_keeps_the_session_frame() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let cookie = cookie(&server);
    for path in ["/nowhere", "/leases/nothing"] {
        let page = server.web("GET", path, &[BROWSER, ("Cookie", &cookie)]);
        assert_eq!(page.status, 404);
        assert!(page.body.contains("action=\"/logout\""), "{page:?}");
    }
}

#[test]
fn reader_without_a_login_may_try_a_request() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let page = server.web("GET", "/try?pool=default", &[BROWSER]);
    assert!(page.body.contains("Would be granted"), "{page:?}");
    assert!(page.body.contains("Log in to allocate it"));
    assert!(!page.body.contains("method=\"post\" action=\"/try\""));
    let led = [BROWSER, ("Sec-Fetch-Site", "cross-site")];
    let page = server.web("GET", "/try?pool=default", &led);
    assert!(page.body.contains("You came from another site"), "{page:?}");
    assert!(!page.body.contains("Would be granted"));
    let form = "pool=default";
    assert_eq!(send(&server, "/try", "a=b", form).status, 401);
}

#[test]
fn a_refused_question_leaves_nothing() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let process = occupant(place.ports[0]);
    let before = server.get("/api/v1/attempts").json();
    let path = format!("/try?port={}", place.ports[0]);
    let page = server.web("GET", &path, &[BROWSER]);
    assert!(page.body.contains("Nothing would be granted"), "{page:?}");
    let asked = json!({"port": place.ports[0], "dry_run": true});
    // An answer does not wait long for the name of the program in its way, and a busy host is slow to tell it.
    eventually("the program on the port is named", || {
        let refused = server.allocate(&asked).json();
        assert_eq!(refused["code"], "port_in_use");
        let occupant = &refused["attempts"][0]["occupant"];
        (occupant["pid"] == process.0.id()).then_some(())
    });
    assert_eq!(server.get("/api/v1/attempts").json(), before);
    assert_eq!(events(&server, "refused"), 0);
    let stats = server.get("/api/v1/stats").body;
    assert!(!stats.contains("\"refused\":1"), "{stats}");
}

/// Three ports of one block of 64: a bind on one of them is evidence for all.
fn neighbours() -> Vec<u16> {
    let first = ports_in_a_row(5);
    let of_next_block = 64 - first % 64;
    let first = first + if of_next_block < 3 { of_next_block } else { 0 };
    (first..first + 3).collect()
}

#[test]
fn excluded_ports_of_a_choice_are_named() {
    let mut place = Place::on(neighbours(), ports(4));
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let server = place.serve();
    let wanted = json!({"port": place.ports[1]});
    let lease = server.allocate(&wanted);
    assert_eq!(lease.status, 201, "{lease:?}");
    let page = server.web("GET", "/try?pool=default", &[BROWSER]).body;
    let said = format!("Left out of this list: 1 port leased: {}.", place.ports[1]);
    assert!(page.contains(&said), "{page}");
    let told = format!("1 of 3 ports was leased: {}.", place.ports[1]);
    assert!(page.contains(&told), "{page}");
    assert!(page.contains(">equal cost<"), "{page}");
    assert!(!page.contains(">dearer<"), "{page}");
}

#[test]
fn the_process_on_an_address_is_named() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let occupant = occupant(place.ports[0]);
    let path = format!("/ports/tcp/{}", place.ports[0]);
    let page = server.web("GET", &path, &[BROWSER]).body;
    let said = format!("(pid {}), listening, ", occupant.0.id());
    let user = page.split(&said).nth(1);
    let user = user.unwrap_or_else(|| panic!("{said}: {page}"));
    assert!(user.split('<').next().unwrap().contains("uid "), "{page}");
}

#[test]
fn an_interface_tells_how_full_each_pool_is_on_it() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let lease = server.allocate(&json!({}));
    assert_eq!(lease.status, 201, "{lease:?}");
    let page = server.web("GET", "/interfaces", &[BROWSER]).body;
    let said = "Pool default on lo: 1 held, 2 free";
    assert!(page.contains(&format!("aria-label=\"{said}\"")), "{page}");
}

#[test]
fn interface_counts_wildcard_leases_as_the_list_does() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let lease = server.allocate(&json!({"count": 2}));
    assert_eq!(lease.status, 201, "{lease:?}");
    let page = server.web("GET", "/interfaces?name=lo", &[BROWSER]).body;
    let rows = |interface| {
        let path = format!("/leases?interface={interface}");
        let list = server.web("GET", &path, &[BROWSER]).body;
        list.matches("<tr id=\"lease-").count()
    };
    // The console's own lease is on the loopback interface alone.
    assert_eq!((rows("lo"), rows("any")), (1, 2));
    let said = "<a href=\"/leases?interface=lo\">1 lease</a> on its own addresses, \
                <a href=\"/leases?interface=any\">2 leases</a> on every interface";
    assert!(page.contains(said), "{page}");
}

#[test]
fn words_above_the_leases_are_true_of_them() {
    let place = Place::with_ports(60);
    let server = place.serve();
    let names: Vec<String> = (0..55).map(|number| format!("n{number}")).collect();
    assert_eq!(server.allocate(&json!({"names": names})).status, 201);
    let page = |path: &str| server.web("GET", path, &[BROWSER]).body;
    for (path, said) in [
        ("/leases", ">56 living, those in trouble first<"),
        (
            "/leases?name=n7",
            ">1 of 56 living, those in trouble first<",
        ),
        (
            "/leases?q=nowhere",
            ">0 of 56 living, those in trouble first<",
        ),
        ("/leases?sort=-port", ">56 living, by port, descending<"),
        (
            "/leases?state=ended",
            ">0 ended on this page, newest first<",
        ),
    ] {
        let page = page(path);
        assert!(page.contains(said), "{path}: no {said}: {page}");
    }
    let first = page("/leases?rows=50&sort=port");
    assert!(first.contains("Rows 1 to 50 of 56"), "{first}");
    assert!(!first.contains("Previous page") && first.contains("Next page"));
    let second = page("/leases?rows=50&sort=port&page=2");
    assert!(second.contains("Rows 51 to 56 of 56"), "{second}");
    assert_eq!(second.matches("<tr id=\"lease-").count(), 6);
    assert!(
        second.contains("href=\"/leases?rows=50&#38;sort=port\""),
        "{second}"
    );
}

#[test]
fn labels_and_choice_of_all_are_in_the_list() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let hostile = "<script>alert(1)</script>\"'&\u{202e}";
    let wanted = json!({"name": "web", "labels": {"team": hostile}});
    assert_eq!(server.allocate(&wanted).status, 201);
    let cookie = cookie(&server);
    let page = |path: &str, cookie: &str| server.web("GET", path, &[("Cookie", cookie)]).body;
    let list = page("/leases?name=web", &cookie);
    assert!(list.contains("team=&#60;script&#62;alert(1)"), "{list}");
    assert!(!list.contains("<script>alert") && !list.contains('\u{202e}'));
    assert!(
        list.contains("href=\"/leases?name=web&#38;choose=all\""),
        "{list}"
    );
    assert!(!list.contains(" checked"), "{list}");
    let all = page("/leases?name=web&choose=all", &cookie);
    assert!(all.contains("aria-label=\"Choose "), "{all}");
    assert!(all.contains(" checked"), "{all}");
    assert!(
        !page("/leases?choose=all", "").contains(" checked"),
        "without a login"
    );
}

#[test]
fn leases_are_grouped_with_true_numbers() {
    let place = Place::with_ports(5);
    let server = place.serve();
    let hostile = "<i>\u{202e}b";
    for (name, team) in [("a1", "a"), ("a2", "a"), ("b1", hostile)] {
        let wanted = json!({"name": name, "labels": {"team": team}});
        assert_eq!(server.allocate(&wanted).status, 201);
    }
    let page = |path: &str| server.web("GET", path, &[BROWSER]);
    let grouped = page("/leases?group=label:team&rows=50").body;
    let heads = grouped.split("<details class=\"lease-group").skip(1);
    let heads: Vec<&str> = heads
        .map(|rest| rest.split("</summary>").next().unwrap())
        .collect();
    let says = [
        "<bdi>team=a</bdi></b> <span class=\"faint\">2 leases<",
        "<bdi>team=&#60;i&#62;",
        "<bdi>without the label team</bdi></b> <span class=\"faint\">1 lease<",
    ];
    assert_eq!(heads.len(), says.len(), "{heads:?}");
    for (head, says) in heads.iter().zip(says) {
        assert!(head.contains(says), "{head}: no {says}");
    }
    assert!(!grouped.contains('\u{202e}'), "{grouped}");
    assert!(
        grouped.contains("href=\"/leases?rows=50&#38;label=team%3Da\""),
        "{grouped}"
    );
    assert!(
        page("/leases?rows=50&label=team%3Da")
            .body
            .contains(">2 of 4 living")
    );
    assert_eq!(page("/leases?group=colour").status, 400);
}

#[test]
fn last_free_port_is_shown_beside_busy_ones() {
    let mut place = Place::with_ports(3);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let _occupants = [occupant(place.ports[0]), occupant(place.ports[1])];
    let server = place.serve();
    let looked = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(looked.status, 201, "{looked:?}");
    let page = server.web("GET", "/try?pool=default", &[BROWSER]).body;
    let said = "Left out of this list: 2 ports seen busy by the latest snapshot: ";
    assert!(page.contains(said), "{page}");
    let rest = page.split(said).nth(1).unwrap().split('.').next().unwrap();
    assert!(rest.contains(&place.ports[0].to_string()), "{rest}");
}

#[test]
fn long_pages_without_texts_of_users_are_compressed() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let is_packed = |path: &str| {
        let answer = server.web("HEAD", path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(answer.status, 200, "{path}");
        let head = answer.head.to_lowercase();
        assert!(
            server.web("GET", path, &[]).body.contains("portbook"),
            "{path}"
        );
        head.contains("content-encoding: gzip")
    };
    for path in [
        "/api",
        "/map",
        "/static/portbook.css",
        "/static/portbook.js",
        "/static/early.js",
    ] {
        assert!(is_packed(path), "{path}");
    }
    // The length of a compressed text tells of what it repeats.
    for path in ["/", "/leases", "/map?block=20"] {
        assert!(!is_packed(path), "{path}");
    }
    place.ok(&["exclude", "9", "--reason", "a text"]);
    assert!(!is_packed("/map"));
}

#[test]
fn the_map_says_what_it_calls_leased() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let page = server.web("GET", "/map", &[BROWSER]).body;
    let said = "Leased are all granted ports, whether the owner listens or not.";
    assert!(page.contains(said), "{page}");
}

#[test]
fn a_lease_whose_owner_is_away_is_called_so_everywhere() {
    let place = Place::with_ports(2);
    let server = place.serve();
    place.ok(&["run", "--", "true"]);
    place.ok(&["run", "--name", "web", "--", "true"]);
    let lease = eventually("the owner is away", || {
        let list = server.get("/api/v1/leases?name=web").json();
        let lease = &list["leases"][0];
        (lease["state"] == "reserved").then(|| lease.clone())
    });
    let page = |path: &str| server.web("GET", path, &[BROWSER]).body;
    let gone = "<bdi>its owner is gone, and no name kept the port</bdi>";
    let overview = eventually("the end of the lease without a name", || {
        Some(page("/")).filter(|overview| overview.contains(gone))
    });
    for said in [
        ">Owners away<",
        "The owner of a lease is away; its name keeps the port.",
        "<bdi>its owner is away</bdi>",
    ] {
        assert!(overview.contains(said), "{said}: {overview}");
    }
    let means = "reserved: its owner is away, and the name keeps the port";
    let list = page("/leases?state=reserved");
    assert!(list.contains(&format!(" selected>{means}<")), "{list}");
    let away = "<span class=\"faint\">away</span>";
    let of_lease = page(&format!("/leases/{}", lease["id"].as_str().unwrap()));
    assert!(
        of_lease.contains(&format!("<dd>{means}</dd>")),
        "{of_lease}"
    );
    let of_port = page(&format!("/ports/tcp/{}", lease["port"]));
    for page in [&list, &of_lease, &of_port, &overview] {
        assert!(page.contains(away), "{page}");
    }
    assert!(!of_lease.contains("gone"), "{of_lease}");
}
