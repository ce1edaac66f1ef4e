//! Lists are paged: pages contain every row exactly once, filters apply in every state, and nothing
//! reveals names that are hidden from the viewer.

use serde_json::{Value, json};

use crate::host::skipped;
use crate::support::{Answer, Place, Server, text};
use crate::veil;

/// Two users of a service of root's.
const OWNER: u32 = 65534;
const OTHER: u32 = 65533;

/// The pages that begin at an address.
fn pages(server: &Server, path: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let page = answer.json();
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(link(&answer), next, "{answer:?}");
        pages.push(page);
        assert!(pages.len() < 500, "{path} has no end");
    }
    pages
}

/// The address in the header `Link`.
fn link(answer: &Answer) -> Option<String> {
    let mut lines = answer.head.lines();
    let line = lines.find_map(|line| line.strip_prefix("link: <"))?;
    let address = line.strip_suffix(">; rel=\"next\"");
    Some(address.unwrap_or_else(|| panic!("{line}")).to_owned())
}

/// Values of one key in all rows of these pages.
fn each(pages: &[Value], list: &str, key: &str) -> Vec<Value> {
    let rows = pages.iter().flat_map(|page| page[list].as_array().unwrap());
    rows.map(|row| row[key].clone()).collect()
}

fn grant(server: &Server, wanted: &Value) -> String {
    let answer = server.allocate(wanted);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["leases"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn release(server: &Server, id: &str) {
    let answer = server.release(id);
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Released leases, the oldest first.
fn ended(server: &Server, wanted: &Value, count: usize) -> Vec<String> {
    let ids = (0..count).map(|_| {
        let id = grant(server, wanted);
        release(server, &id);
        id
    });
    ids.collect()
}

#[test]
fn pages_of_a_list_hold_every_row_once() {
    let place = Place::with_ports(8);
    let server = place.serve();
    let mut living: Vec<String> = (0..5).map(|_| grant(&server, &json!({}))).collect();
    let mut gone = ended(&server, &json!({}), 5);
    living.reverse();
    gone.reverse();
    for (query, ids) in [("", &living), ("state=ended&", &gone)] {
        for limit in [1, 2, 5, 1000] {
            let pages = pages(&server, &format!("/api/v1/leases?{query}limit={limit}"));
            // The console's own lease is the oldest of those that live.
            let found = each(&pages, "leases", "id");
            assert_eq!(&found[..ids.len()], &ids[..], "{query} {limit}");
            assert!(found.len() <= ids.len() + 1, "{query} {limit}");
            assert_eq!(pages.len(), found.len().div_ceil(limit), "{query} {limit}");
        }
    }
    let all = pages(&server, "/api/v1/attempts?limit=1000");
    let all = each(&all, "attempts", "seq");
    assert!(all.len() > 10);
    let by_threes = pages(&server, "/api/v1/attempts?since=1h&limit=3");
    assert_eq!(each(&by_threes, "attempts", "seq"), all);
    // All pages cover one hour: the hour before the first request.
    assert!(!by_threes[0]["next"].as_str().unwrap().contains("since=1h"));
}

/// The first page of a list, then what its `next` leads to once `meanwhile` was done.
fn with_news(server: &Server, path: &str, meanwhile: impl FnOnce()) -> Vec<Value> {
    let first = server.get(path).json();
    meanwhile();
    let rest = pages(server, first["next"].as_str().unwrap());
    let mut all = vec![first];
    all.extend(rest);
    each(&all, "leases", "id")
}

#[test]
fn leases_that_come_and_go_move_no_page() {
    let place = Place::with_ports(12);
    let server = place.serve();
    let ids: Vec<String> = (0..8).map(|_| grant(&server, &json!({}))).collect();
    let is = |wanted: &[usize]| wanted.iter().map(|at| json!(ids[*at])).collect::<Vec<_>>();
    // A listed lease ends, an unlisted one ends, and one is granted.
    let living = with_news(&server, "/api/v1/leases?limit=3", || {
        release(&server, &ids[6]);
        release(&server, &ids[2]);
        grant(&server, &json!({}));
    });
    assert_eq!(living[..7], is(&[7, 6, 5, 4, 3, 1, 0]));
    assert_eq!(living.len(), 8, "the console's own is the last: {living:?}");
    // Leases end in any order, and are listed in that of their grants.
    let gone = with_news(&server, "/api/v1/leases?state=ended&limit=1", || {
        release(&server, &ids[7]);
        release(&server, &ids[4]);
        release(&server, &ids[0]);
    });
    assert_eq!(gone, is(&[6, 4, 2, 0]));
}

#[test]
fn limit_beyond_a_list_is_refused() {
    let place = Place::with_ports(3);
    let server = place.serve();
    for path in [
        "/api/v1/leases?limit=1001",
        "/api/v1/leases?state=ended&limit=5000",
        "/api/v1/leases?limit=0",
        "/api/v1/attempts?limit=1001",
        "/api/v1/attempts?limit=0",
        "/api/v1/stats?limit=1001",
        "/api/v1/stats?limit=0",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_request", "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("1 to 1000"), "{path}: {detail}");
    }
    // These are always whole.
    for list in ["exclusions", "pools", "interfaces"] {
        let answer = server.get(&format!("/api/v1/{list}?limit=1"));
        assert_eq!(answer.status, 400, "{list}: {answer:?}");
        assert!(answer.body.contains("limit"), "{list}: {answer:?}");
        let whole = server.get(&format!("/api/v1/{list}"));
        assert_eq!(whole.status, 200, "{list}");
    }
    let answer = server.get("/api/v1/history/attempts?limit=0");
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn filters_count_in_every_state() {
    let mut place = Place::with_ports(10);
    let (first, second) = place.ports.split_at(5);
    let (first, second) = (
        crate::support::ranges(first),
        crate::support::ranges(second),
    );
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", &first);
    place.set("PORTBOOK_POOLS__OTHER__RANGES", &second);
    let server = place.serve();
    let plain = ended(&server, &json!({}), 2);
    let shop = ended(
        &server,
        &json!({"labels": {"team": "shop", "a\"b": "c\\d"}}),
        3,
    );
    let bank = ended(&server, &json!({"labels": {"team": "bank"}}), 2);
    let named = ended(&server, &json!({"name": "web"}), 2);
    let other = ended(&server, &json!({"pool": "other"}), 2);
    let newest = |of: &[&[String]]| of.concat().into_iter().rev().collect::<Vec<_>>();
    for (query, ids) in [
        ("label=team", newest(&[&shop, &bank])),
        ("label=team%3Dshop", newest(&[&shop])),
        ("label=a%22b%3Dc%5Cd", newest(&[&shop])),
        ("label=team%3Dnosuch", vec![]),
        ("label=nosuch", vec![]),
        ("name=web", newest(&[&named])),
        ("name=nosuch", vec![]),
        ("pool=other", newest(&[&other])),
        ("label=team&pool=other", vec![]),
    ] {
        for state in ["ended", "released"] {
            let path = format!("/api/v1/leases?state={state}&{query}&limit=1");
            let found = each(&pages(&server, &path), "leases", "id");
            assert_eq!(found, ids, "{path}");
        }
        let path = format!("/api/v1/leases?state=expired&{query}");
        assert_eq!(each(&pages(&server, &path), "leases", "id").len(), 0);
    }
    let before = format!("/api/v1/leases?state=ended&before={}", shop[0]);
    let found = each(&pages(&server, &before), "leases", "id");
    assert_eq!(found, newest(&[&plain]));
}

/// The body of an answer, which must not depend on viewer or name.
fn body(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!head.contains("link: "), "{answer}");
    body.to_owned()
}

/// Lists with a filter for names or labels.
const ASKED: [&str; 10] = [
    "/api/v1/leases?state=ended&name=NAME",
    "/api/v1/leases?state=ended&name=NAME&limit=1",
    "/api/v1/leases?state=released&name=NAME&limit=1",
    "/api/v1/leases?state=ended&label=NAME&limit=1",
    "/api/v1/leases?state=released&label=NAME",
    "/api/v1/leases?name=NAME",
    "/api/v1/leases?label=NAME&limit=1",
    "/api/v1/attempts?name=NAME&limit=1",
    "/api/v1/history/attempts?name=NAME",
    "/api/v1/history/attempts?name=NAME&limit=1",
];

#[test]
fn lists_do_not_tell_that_a_hidden_name_exists() {
    if !rustix::process::geteuid().is_root() {
        return skipped("hidden names", "it takes root to be two users");
    }
    let mut place = Place::with_ports(12);
    let server = veil::serve(&mut place);
    let labels = json!({"secret": "x"});
    for count in 0..3 {
        let wanted = json!({"name": "secret", "labels": labels, "prefer": place.ports[count]});
        let granted = veil::post(&server, OWNER, &wanted);
        let granted: Value =
            serde_json::from_str(granted.split("\r\n\r\n").last().unwrap()).unwrap();
        release(&server, granted["leases"][0]["id"].as_str().unwrap());
    }
    let living = json!({"name": "secret", "labels": labels});
    veil::post(&server, OWNER, &living);
    // The other user has leases of its own, so that its lists are not empty anyway.
    veil::post(&server, OTHER, &json!({"name": "mine"}));
    for path in ASKED {
        let own = veil::get(&server, OWNER, &path.replace("NAME", "secret"));
        assert!(
            own.contains("\"id\"") || own.contains("seq"),
            "{path}: {own}"
        );
        let [real, none] = ["secret", "nosuch"]
            .map(|name| body(&veil::get(&server, OTHER, &path.replace("NAME", name))));
        assert_eq!(real, none, "{path}");
        let [real, none] = ["secret", "nosuch"]
            .map(|name| server.web("GET", &path.replace("NAME", name), &[]).body);
        assert!(real.contains("\"id\"") || path.contains("attempts") || real == none);
    }
    for path in [
        "/leases?state=ended&name=NAME",
        "/leases?state=ended&label=NAME",
        "/leases?name=NAME",
        "/attempts?name=NAME",
    ] {
        // The page repeats the filter.
        let [real, none] = ["secret", "nosuch"].map(|name| {
            let page = veil::get(&server, OTHER, &path.replace("NAME", name));
            let page = page.replace(name, "NAME");
            let main = page.split("<main").nth(1).unwrap().to_owned();
            main.split("</main>").next().unwrap().to_owned()
        });
        assert_eq!(real, none, "{path}");
    }
}

#[test]
fn attempts_take_exactly_the_ports_of_their_schema() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let document = server.get("/api/v1/openapi.json").json();
    for path in ["/api/v1/attempts", "/api/v1/history/attempts"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array();
        let port = parameters.unwrap().iter().find(|one| one["name"] == "port");
        let schema = &port.unwrap()["schema"];
        for word in [
            "1",
            "80",
            "8000",
            "8888",
            "24117",
            "59999",
            "65535",
            "0080",
            " 80 ",
            "8000-8099",
            "8000-8999",
            "20000-29999",
            "1-65535",
            "80-80",
            "8000 - 8099",
            "0",
            "65536",
            "99999",
            "00",
            "",
            "-80",
            "80-",
            "8000-70000",
            "80,81",
            "8000-8099,9000",
            "http",
            "8.0",
            "0x50",
        ] {
            let query = serde_urlencoded::to_string([("port", word)]).unwrap();
            let answer = server.get(&format!("{path}?{query}"));
            let is_taken = answer.status == 200;
            assert!(is_taken || answer.status == 400, "{answer:?}");
            assert_eq!(admits(schema, word), is_taken, "{path} {word:?}");
        }
    }
}

fn admits(schema: &Value, word: &str) -> bool {
    let mut compiler = boon::Compiler::new();
    let mut schemas = boon::Schemas::new();
    let name = "memory:///schema.json";
    compiler.add_resource(name, schema.clone()).unwrap();
    let index = compiler.compile(name, &mut schemas).unwrap();
    schemas.validate(&json!(word), index).is_ok()
}

#[test]
fn limited_export_leads_to_the_rest() {
    let place = Place::with_ports(4);
    let server = place.serve();
    ended(&server, &json!({}), 3);
    let rows = |path: &str| {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        // The body comes in chunks.
        let body = answer.body.lines().filter(|line| line.starts_with('{'));
        let rows: Vec<String> = body.map(str::to_owned).collect();
        (rows, link(&answer))
    };
    for kind in ["attempts", "days", "endings"] {
        let path = format!("/api/v1/history/{kind}?format=jsonl");
        let (all, next) = rows(&path);
        assert_eq!(next, None, "{kind}");
        let (mut found, mut next) = rows(&format!("{path}&limit=2"));
        assert_eq!(found.len(), 2.min(all.len()), "{kind}");
        while let Some(path) = next {
            let (more, after) = rows(&path);
            assert!(!more.is_empty(), "{kind}");
            found.extend(more);
            next = after;
        }
        assert_eq!(found, all, "{kind}");
    }
}

#[test]
fn list_command_shows_more_leases_than_one_page() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let ids = ended(&server, &json!({}), 130);
    let labelled = ended(&server, &json!({"labels": {"team": "shop"}}), 1);
    let count = |document: &Value| document["leases"].as_array().unwrap().len();
    let all = place.json(&["list", "--all"]);
    assert!(count(&all) >= 131, "{}", count(&all));
    assert_eq!(all["more"], false);
    let few = place.json(&["list", "--state", "released", "--limit", "7"]);
    assert_eq!((count(&few), &few["more"]), (7, &json!(true)));
    let said = place.run(&["list", "--all", "--limit", "7"]);
    assert!(text(&said.stderr).contains("the first 7"), "{said:?}");
    let oldest = place.json(&[
        "list", "--state", "ended", "--sort", "granted", "--limit", "1",
    ]);
    assert_eq!(oldest["leases"][0]["id"], ids[0]);
    let shop = place.ok(&["list", "--all", "--label", "team=shop"]);
    assert!(
        shop.contains("LABELS") && shop.contains("team=shop"),
        "{shop}"
    );
    assert!(
        shop.contains(&labelled[0]) && shop.lines().count() == 2,
        "{shop}"
    );
    server.stop();
    // Without a service the record gives the same.
    let alone = place.json(&["list", "--state", "ended"]);
    assert!(count(&alone) >= 131, "{}", count(&alone));
    let named = place.json(&["list", "--all", "--name", "nosuch"]);
    assert_eq!(count(&named), 0);
}

#[test]
fn console_finds_ended_leases_beyond_its_first_page() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let labelled = ended(&server, &json!({"labels": {"team": "shop"}}), 1);
    let ids = ended(&server, &json!({}), 120);
    let page = |path: &str| server.web("GET", path, &[]).body;
    for query in ["label=team", "q=shop"] {
        let found = page(&format!("/leases?state=ended&{query}"));
        assert!(found.contains(&labelled[0]), "{query}");
        assert!(!found.contains("Next page"), "{query}");
    }
    // In any order on a page, the next one begins after all of it.
    let mut path = "/leases?state=ended&sort=port".to_owned();
    let mut found: Vec<String> = Vec::new();
    loop {
        let html = page(&path);
        let here = ids
            .iter()
            .filter(|id| html.contains(&format!("/leases/{id}\"")));
        found.extend(here.cloned());
        let Some((link, _)) = html.split_once("\" rel=\"next\">Next page") else {
            break;
        };
        path = link.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        path = path.replace("&amp;", "&");
        assert!(found.len() <= ids.len(), "told twice");
    }
    found.sort();
    assert_eq!(found, ids);
}
