use super::*;
use crate::dashboard::tests_support::{HOSTILE, rendered};
use crate::engine::service::Caller;

fn page() -> Attempts {
    Attempts {
        frame: Frame::default(),
        now: Timestamp::UNIX_EPOCH,
        fields: vec![Field::text(
            &Params::default().with("name", HOSTILE),
            "name",
            "Name",
            "web",
        )],
        wrong: None,
        narrowed: false,
        found: Found::default(),
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
fn other_users_programs_are_one_without_a_name() {
    let found = || vec![way("node", 1000, 5), way("a", 7, 4), way("b", 7, 3)];
    let mine = ways(found(), &viewer(1000));
    let told: Vec<(&str, i64)> = mine.iter().map(|way| (&*way.who, way.attempts)).collect();
    let nameless = "a process that the kernel does not name of uid 7";
    assert_eq!(told, [(nameless, 7), ("node of uid 1000", 5)]);
    assert_eq!(ways(found(), &viewer(0)).len(), 3);
    let found = Found {
        ways: mine,
        ..Found::default()
    };
    assert_eq!([7, 5].map(|attempts| found.bar(attempts)), [1000, 714]);
}

#[test]
fn hostile_texts_are_inert() {
    let mut page = page();
    page.wrong = Some(HOSTILE.into());
    page.found.ways = ways(vec![way(HOSTILE, 0, 1)], &viewer(0));
    rendered(&page);
}

#[test]
fn empty_list_tells_the_next_step() {
    let mut page = page();
    assert!(page.render().unwrap().contains("portbook alloc"));
    page.narrowed = true;
    let html = page.render().unwrap();
    assert!(html.contains("href=\"/attempts\""), "{html}");
}
