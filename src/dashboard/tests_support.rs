//! Support for the tests of pages.

use askama::Template;

/// A text that acts on a page or on a terminal unless it is escaped.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

/// Renders a page, in which hostile texts are inert and the content security policy blocks nothing.
///
/// # Panics
///
/// If a hostile text acts, or a style or a script is inline.
pub fn rendered(page: &impl Template) -> String {
    let html = page.render().unwrap();
    assert!(!html.contains("<script>alert"), "{html}");
    for inline in ["style=", "<style", "onclick", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    let own = [
        "<script src=\"/static/early.js?",
        "<script defer src=\"/static/portbook.js?",
    ];
    assert!(own.iter().all(|script| html.contains(script)));
    assert_eq!(html.matches("<script").count(), own.len());
    html
}
