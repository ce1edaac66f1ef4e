use super::*;
use crate::engine::service::Caller;

const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

fn page() -> Attempts {
    Attempts {
        frame: Frame::default(),
        fields: vec![Field::text(
            &Params::default().with("name", HOSTILE),
            "name",
            "Name",
            "web",
        )],
        wrong: None,
        narrowed: false,
        histogram: None,
        ways: Vec::new(),
        rows: Vec::new(),
        older: None,
        newest: None,
        csv: String::new(),
        json: String::new(),
    }
}

fn way(command: &str, uid: u32, attempts: i64) -> InTheWay {
    InTheWay {
        command: Some(command.into()),
        uid: Some(uid),
        attempts,
        last_ms: 1000 * attempts,
    }
}

fn viewer(uid: u32) -> Viewer {
    Viewer::Known(Caller::user(uid))
}

#[test]
fn others_in_the_way_are_one_and_nameless() {
    let found = || vec![way("node", 1000, 5), way("a", 7, 4), way("b", 7, 3)];
    let now = Timestamp::UNIX_EPOCH;
    let mine = ways(found(), &viewer(1000), now);
    let told: Vec<(&str, &str)> = mine.iter().map(|way| (&*way.who, &*way.attempts)).collect();
    assert_eq!(
        told,
        [
            ("a process that the kernel does not name of uid 7", "7"),
            ("node of uid 1000", "5"),
        ]
    );
    assert_eq!(mine[0].bar, bar::LENGTH);
    assert_eq!(ways(found(), &viewer(0), now).len(), 3);
}

#[test]
fn hostile_texts_are_inert_and_nothing_is_inline() {
    let now = Timestamp::UNIX_EPOCH;
    let mut page = page();
    page.wrong = Some(HOSTILE.into());
    page.ways = ways(vec![way(HOSTILE, 0, 1)], &viewer(0), now);
    let html = page.render().unwrap();
    assert!(!html.contains("<script>alert"), "{html}");
    for inline in ["style=", "<style", "onclick", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    assert_eq!(html.matches("<script").count(), 1);
}

#[test]
fn an_empty_list_says_what_to_do_next() {
    let mut page = page();
    assert!(page.render().unwrap().contains("portbook alloc"));
    page.narrowed = true;
    let html = page.render().unwrap();
    assert!(html.contains("href=\"/attempts\""), "{html}");
}
