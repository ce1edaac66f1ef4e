//! The note on a lease: a label that people write, which requests without one leave alone.

use std::collections::BTreeMap;

/// Key of the label.
pub const NOTE: &str = "note";

/// Maximum length of a note in characters, as of every label.
pub const MAX_NOTE: usize = 128;

/// Labels of a lease that is handed out once more: those of the request, or those of `before` if the
/// request has none. A note stays unless the request has another.
pub fn relabelled(
    before: &BTreeMap<String, String>,
    asked: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    if asked.is_empty() {
        return before.clone();
    }
    let mut labels = asked;
    if let Some(note) = before.get(NOTE) {
        let place = labels.entry(NOTE.to_owned());
        place.or_insert_with(|| note.clone());
    }
    labels
}

/// Writes a note among labels, or removes it if the text is empty or blank.
pub fn write(labels: &mut BTreeMap<String, String>, text: &str) {
    match text.trim() {
        "" => drop(labels.remove(NOTE)),
        text => drop(labels.insert(NOTE.to_owned(), text.to_owned())),
    }
}

/// Labels without the note, which is for people of this host.
#[cfg(feature = "fleet")]
pub fn without(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let others = labels.iter().filter(|(key, _)| *key != NOTE);
    others
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn request_changes_labels_but_not_the_note() {
        let before = labels(&[("note", "mine"), ("team", "web")]);
        assert_eq!(relabelled(&before, labels(&[])), before);
        let next = relabelled(&before, labels(&[("job", "7")]));
        assert_eq!(next, labels(&[("job", "7"), ("note", "mine")]));
        let next = relabelled(&before, labels(&[("note", "theirs")]));
        assert_eq!(next, labels(&[("note", "theirs")]));
    }

    #[test]
    fn blank_text_removes_the_note() {
        let mut own = labels(&[("team", "web")]);
        write(&mut own, "  until Friday ");
        assert_eq!(own[NOTE], "until Friday");
        write(&mut own, " ");
        assert_eq!(own, labels(&[("team", "web")]));
    }
}
