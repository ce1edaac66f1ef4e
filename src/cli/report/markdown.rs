//! A report as Markdown (<https://github.github.com/gfm/>). Names in it come from anywhere: no text of a
//! cell can end the cell, begin a link or be read as HTML.

use std::fmt::Write;

use super::tally::{Report, Search};
use crate::domain::attempt::printable;
use crate::domain::words::counted;

/// Maximum number of rows of a table; pages of jobs have a limit.
const ROWS: usize = 50;

/// Writes a report.
pub(super) fn text(report: &Report) -> String {
    let mut text = "### Ports\n\n".to_owned();
    text += &summary(report);
    let met = report.met.iter().map(|met| {
        let by = met.by.as_deref().unwrap_or("not known");
        vec![
            format!("{}/{}", met.ports, met.protocol),
            in_words(met.how),
            by.to_owned(),
            met.times.to_string(),
        ]
    });
    text += &part("In the way", &["Port", "How", "By", "Times"], met);
    let moved = report.moved.iter().map(|moved| {
        let name = moved.name.as_deref().unwrap_or("-");
        vec![
            name.to_owned(),
            moved.from.to_string(),
            moved.to.to_string(),
            moved.why.clone(),
        ]
    });
    text += &part("Moved", &["Name", "From", "To", "Why"], moved);
    let refused = report.refusals.iter().map(|refusal| {
        let pool = refusal.pool.clone();
        vec![pool, refusal.detail.clone(), refusal.times.to_string()]
    });
    text += &part("Refused", &["Pool", "Why", "Times"], refused);
    let lost = report.lost.iter().map(|lost| {
        let name = lost.name.as_deref().unwrap_or("-");
        vec![name.to_owned(), lost.port.to_string(), lost.by.join(", ")]
    });
    text += &part("Lost to another program", &["Name", "Port", "By"], lost);
    text
}

fn summary(report: &Report) -> String {
    let of = report.label.as_ref().map_or_else(String::new, |label| {
        format!(" with label {}", escaped(label))
    });
    let since = report.since.map_or_else(String::new, |since| {
        format!(" since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC"))
    });
    let Some(search) = report.search else {
        return format!("No request{of}{since} is on record.\n");
    };
    let met: usize = report.met.iter().map(|met| met.times).sum();
    let mut text = format!(
        "{} for ports{of}{since}: {} granted, {} refused; {}.\n",
        counted(report.granted + report.refused, "request"),
        report.granted,
        report.refused,
        counted(report.leases, "lease"),
    );
    let met = match met {
        0 => "no port was in the way".to_owned(),
        met => format!("a port was in the way {}", counted(met, "time")),
    };
    let attempts = counted(report.attempts, "attempt");
    let _ = writeln!(text, "{attempts} to bind; {met}. {}", took(search));
    if report.more {
        text.push_str("Older requests are left out.\n");
    }
    text
}

fn took(search: Search) -> String {
    let Search {
        median_us,
        p90_us,
        longest_us,
        ..
    } = search;
    format!(
        "Half of the requests took at most {}, nine in ten {}, the longest {}.",
        length(median_us),
        length(p90_us),
        length(longest_us)
    )
}

/// A duration in milliseconds, or in seconds if it is long.
fn length(us: u64) -> String {
    match us {
        ..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `in_use`: `in use`.
fn in_words(how: &str) -> String {
    how.replace('_', " ")
}

/// A table below its title. Empty without rows.
fn part(title: &str, heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\n#### {title}\n\n| {} |\n", heading.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(heading.len()));
    for row in rows.iter().take(ROWS) {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let more = rows.len().saturating_sub(ROWS);
    if more > 0 {
        let _ = writeln!(text, "\n{} more.", counted(more, "row"));
    }
    text
}

/// Text without meaning in Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '#' => out.extend(['\\', c]),
            // GitHub makes links of these by itself.
            '@' => out.push_str("&#64;"),
            ':' => out.push_str("&#58;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_cell() {
        let rows = [vec![
            "a|b\n| c".to_owned(),
            "<img src=x>[l](https://e) @me `x`".to_owned(),
        ]];
        let table = part("T", &["A", "B"], rows.into_iter());
        let row = table.lines().last().unwrap();
        let end = "a\\|b\u{fffd}\\| c | &lt;img src=x>\\[l\\](https&#58;//e) &#64;me \\`x\\` |";
        assert_eq!(row, format!("| {end}"));
    }

    #[test]
    fn table_has_a_limit_that_is_told() {
        let rows = (0..60).map(|n| vec![n.to_string()]);
        let table = part("T", &["N"], rows);
        assert!(table.ends_with("| 49 |\n\n10 rows more.\n"), "{table}");
        assert_eq!(part("T", &["N"], std::iter::empty()), "");
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        assert_eq!(length(840), "0.8 ms");
        assert_eq!(length(12_345), "12.3 ms");
        assert_eq!(length(2_500_000), "2.5 s");
    }
}
