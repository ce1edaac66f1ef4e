//! Text from outside (names, paths, programs, reasons) on its way to an agent. An agent may take what it
//! reads for an instruction, so such text is printable, short, and marked as data.

use serde_json::{Map, Value};

use crate::domain::attempt::printable;

/// Maximum length of one text, in characters.
const LONGEST: usize = 600;

/// Maximum number of entries of one list.
const MOST: usize = 100;

/// Maximum number of characters in all texts of one document.
const ROOM: usize = 20_000;

/// Maximum number of lines of a report.
const LINES: usize = 40;

/// Mark of a line that is data.
const MARK: &str = "| ";

/// A text without characters that steer, and without those that people do not see.
fn plain(text: &str) -> String {
    cut(text, LONGEST)
}

/// A sentence of portbook, which may name several things.
pub(super) fn own(text: &str) -> String {
    cut(text, 2 * LONGEST)
}

fn cut(text: &str, longest: usize) -> String {
    let mut shown = text
        .chars()
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c });
    let mut kept: String = shown.by_ref().take(longest).collect();
    if shown.next().is_some() {
        kept.push('\u{2026}');
    }
    printable(&kept)
}

/// Whether a character has no shape of its own, so that people do not see a text which models read.
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Lines of a report, each marked as data. Empty lines are left out.
pub(super) fn quoted(report: &str) -> String {
    let mut lines = report.lines().filter(|line| !line.trim().is_empty());
    let mut shown: Vec<String> = lines
        .by_ref()
        .take(LINES)
        .map(|line| format!("{MARK}{}", plain(line.trim_end())))
        .collect();
    let more = lines.count();
    if more > 0 {
        shown.push(format!("{MARK}\u{2026} {more} more lines"));
    }
    shown.join("\n")
}

/// A document with plain texts, short lists and bounded size. `true` if anything was left out.
pub(super) fn bounded(document: Map<String, Value>) -> (Map<String, Value>, bool) {
    let mut room = Room {
        left: ROOM,
        is_short: false,
    };
    (room.object(document), room.is_short)
}

/// A document without the members that are null.
pub(super) fn without_nulls(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    document
}

struct Room {
    left: usize,
    is_short: bool,
}

impl Room {
    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(list) => {
                self.is_short |= list.len() > MOST;
                let kept = list.into_iter().take(MOST);
                kept.map(|one| self.value(one)).collect()
            }
            Value::Object(object) => Value::Object(self.object(object)),
            number => {
                self.left = self.left.saturating_sub(1);
                number
            }
        }
    }

    fn object(&mut self, object: Map<String, Value>) -> Map<String, Value> {
        self.is_short |= object.len() > MOST;
        let kept = object.into_iter().take(MOST);
        kept.map(|(key, value)| (self.text(&key), self.value(value)))
            .collect()
    }

    fn text(&mut self, text: &str) -> String {
        let kept = cut(text, LONGEST.min(self.left));
        self.is_short |= kept.ends_with('\u{2026}') && !text.ends_with('\u{2026}');
        self.left = self.left.saturating_sub(kept.chars().count());
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn shown(document: Value) -> (Value, bool) {
        let Value::Object(document) = document else {
            panic!("no object: {document}");
        };
        let (document, is_short) = bounded(document);
        (Value::Object(document), is_short)
    }

    #[test]
    fn hidden_and_steering_characters_are_replaced() {
        // Tags of Unicode are letters that models read and people do not see.
        let smuggled = "web\u{e0072}\u{e006d}\u{200b}\u{1b}[2J\n\u{202e}";
        assert_eq!(
            plain(smuggled),
            "web\u{fffd}\u{fffd}\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn long_texts_are_cut_with_a_sign() {
        assert_eq!(plain(&"x".repeat(LONGEST)).chars().count(), LONGEST);
        let long = plain(&"x".repeat(LONGEST + 1));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('\u{2026}'));
    }

    #[test]
    fn every_line_of_a_report_is_marked() {
        assert_eq!(
            quoted("one\n\n  two\u{2028}three\r\n"),
            "| one\n|   two\u{fffd}three"
        );
        let many = quoted(&"line\n".repeat(LINES + 2));
        assert!(many.ends_with("| line\n| \u{2026} 2 more lines"), "{many}");
    }

    #[test]
    fn short_documents_stay_as_they_are() {
        let document = json!({"port": 3000, "name": "web", "list": [1, null, true, 0.5]});
        assert_eq!(shown(document.clone()), (document, false));
    }

    #[test]
    fn long_lists_and_texts_are_told() {
        assert!(shown(json!({"list": vec![1; MOST + 1]})).1);
        let (document, is_short) = shown(json!({"a": {"b": ["x".repeat(1000)]}}));
        assert!(is_short, "{document}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn reports_have_only_marked_lines(text in any::<String>()) {
            for line in quoted(&text).split('\n').filter(|line| !line.is_empty()) {
                prop_assert!(line.starts_with(MARK));
                prop_assert!(line.chars().all(|c| !c.is_control() && !is_hidden(c)));
            }
        }

        #[test]
        fn documents_have_a_bounded_size(key in any::<String>(), text in ".{0,900}", count in 0_usize..120) {
            let (document, _) = shown(json!({ key: vec![json!({ "text": text }); count] }));
            prop_assert!(document.to_string().chars().count() < 2 * ROOM);
        }
    }
}
