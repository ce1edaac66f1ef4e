//! The last seven days of a port as a strip: times in which it was leased, and times in which other
//! programs were seen on it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::dashboard::format::{coarse, moment, percent};

/// Length of the strip; ten seconds of a week are about one unit.
pub const LENGTH: i64 = 60_480;

const WEEK_MS: i64 = 7 * 86_400_000;

/// A time from one millisecond to another.
pub type Span = (i64, i64);

/// A time in which a program was seen, with the program in words.
pub type Visit = (Span, String);

/// Maximum number of programs that a segment names.
const NAMED: usize = 3;

/// A week of a port.
#[derive(Debug)]
pub struct Strip {
    /// Leases, then other programs.
    pub lanes: [Lane; 2],
    /// Length of the time before the first snapshot.
    pub unwatched: i64,
    /// The strip in a sentence.
    pub says: String,
}

/// A line of a strip.
#[derive(Debug)]
pub struct Lane {
    pub label: &'static str,
    /// Class in the stylesheet.
    pub class: &'static str,
    pub segments: Vec<Segment>,
}

/// A time on a strip.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment {
    pub x: i64,
    pub width: i64,
    pub says: String,
}

/// Begin of the week that ends now, in milliseconds.
pub fn begin(now: Timestamp) -> i64 {
    now.as_millisecond() - WEEK_MS
}

impl Strip {
    /// The week that ends now, of which the time after the first snapshot is known; of a port outside
    /// of all pools its leases alone are.
    pub fn of(
        ours: &[Span],
        others: &[Visit],
        watched: Option<i64>,
        in_pool: bool,
        now: Timestamp,
    ) -> Self {
        let week = (begin(now), now.as_millisecond());
        let watched = (watched.unwrap_or(week.1).clamp(week.0, week.1), week.1);
        let spans: Vec<Span> = others.iter().map(|(span, _)| *span).collect();
        let (leased, seen) = (merged(ours, week), merged(&spans, week));
        let lane = |label, class, spans: &[Span], visits: &[Visit]| Lane {
            label,
            class,
            segments: spans
                .iter()
                .map(|span| Segment::of(*span, week.0, &named(*span, visits)))
                .collect(),
        };
        Self {
            lanes: [
                lane("leased", "strip-ours", &leased, &[]),
                lane("others", "strip-others", &seen, others),
            ],
            unwatched: place(watched.0, week.0),
            says: if in_pool {
                says(&leased, &seen, watched)
            } else {
                says_of_leases(&leased, week)
            },
        }
    }
}

/// The shares of the watched time, in a sentence.
fn says(leased: &[Span], seen: &[Span], watched: Span) -> String {
    let all = seconds(&[watched]);
    let [leased, seen] = [leased, seen].map(|spans| merged(spans, watched));
    let either: Vec<Span> = leased.iter().chain(&seen).copied().collect();
    let busy = seconds(&merged(&either, watched));
    let time = match watched.1 - watched.0 {
        WEEK_MS => "the last seven days".to_owned(),
        0 => return "No snapshot was taken yet.".to_owned(),
        ms => format!(
            "the {} since the first snapshot",
            coarse(ms.unsigned_abs() / 1000)
        ),
    };
    format!(
        "Leased {} of {time}, used by other programs {}, free {}.",
        percent(seconds(&leased), all),
        percent(seconds(&seen), all),
        percent(all - busy, all),
    )
}

/// The share of the leases. Other programs are not looked for on ports outside of all pools.
fn says_of_leases(leased: &[Span], week: Span) -> String {
    format!(
        "Leased {} of the last seven days. Snapshots look for other programs on ports of pools only, \
         and this port is in no pool.",
        percent(seconds(leased), seconds(&[week])),
    )
}

/// Place of a moment on a strip that begins at `begin`.
fn place(ms: i64, begin: i64) -> i64 {
    (ms - begin) * LENGTH / WEEK_MS
}

/// Programs seen in a span, each once: ": node (uid 0), python3 (uid 1000)".
fn named((from, until): Span, visits: &[Visit]) -> String {
    let within = |visit: &&Visit| visit.0.0 <= until && visit.0.1 >= from;
    let programs: BTreeSet<&str> = visits
        .iter()
        .filter(within)
        .map(|(_, who)| &**who)
        .collect();
    let first: Vec<&str> = programs.iter().copied().take(NAMED).collect();
    match programs.len() {
        0 => String::new(),
        count if count > NAMED => format!(": {} and {} more", first.join(", "), count - NAMED),
        _ => format!(": {}", first.join(", ")),
    }
}

impl Segment {
    fn of((from, until): Span, begin: i64, named: &str) -> Self {
        let x = place(from, begin);
        // Short times are visible too.
        let width = (place(until, begin) - x).max(LENGTH / 600);
        Self {
            x: x.min(LENGTH - width),
            width,
            says: format!("{} to {}{named}", clock(moment(from)), clock(moment(until))),
        }
    }
}

/// A moment to the minute.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Seconds of spans that do not overlap.
fn seconds(spans: &[Span]) -> usize {
    let ms: i64 = spans.iter().map(|(from, until)| until - from).sum();
    usize::try_from(ms / 1000).unwrap_or(0)
}

/// Clips spans to a window, sorts them, and merges those that overlap or touch.
fn merged(spans: &[Span], (begin, end): Span) -> Vec<Span> {
    let clipped = spans
        .iter()
        .map(|(from, until)| ((*from).max(begin), (*until).min(end)));
    let mut spans: Vec<Span> = clipped.filter(|(from, until)| from <= until).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for (from, until) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_spans_are_merged_and_clipped() {
        let spans = [(50, 70), (0, 20), (10, 30), (30, 35), (90, 200), (300, 400)];
        assert_eq!(merged(&spans, (15, 100)), [(15, 35), (50, 70), (90, 100)]);
    }

    #[test]
    fn strip_tells_each_share() {
        let now = Timestamp::from_millisecond(WEEK_MS).unwrap();
        let day = WEEK_MS / 7;
        let ours = [(-day, day), (3 * day, 4 * day)];
        let python = ((0, day), "python3 (uid 1000)".to_owned());
        let strip = Strip::of(&ours, &[python], Some(-day), true, now);
        assert_eq!(strip.unwatched, 0);
        let segments = &strip.lanes[0].segments;
        let places: Vec<(i64, i64)> = segments.iter().map(|one| (one.x, one.width)).collect();
        assert_eq!(places, [(0, 8640), (25_920, 8640)]);
        assert_eq!(
            strip.lanes[1].segments[0].says,
            "1970-01-01 00:00 UTC to 1970-01-02 00:00 UTC: python3 (uid 1000)"
        );
        assert_eq!(
            strip.says,
            "Leased 28.6 % of the last seven days, used by other programs 14.3 %, free 71.4 %."
        );
    }

    #[test]
    fn unwatched_time_does_not_count_as_free() {
        let now = Timestamp::from_millisecond(WEEK_MS).unwrap();
        let day = WEEK_MS / 7;
        let ours = [(4 * day, 6 * day)];
        let strip = Strip::of(&ours, &[], Some(5 * day), true, now);
        assert_eq!(strip.unwatched, LENGTH * 5 / 7);
        assert_eq!(
            strip.says,
            "Leased 50 % of the 2 days since the first snapshot, used by other programs 0 %, free 50 %."
        );
        let strip = Strip::of(&ours, &[], None, true, now);
        assert_eq!(
            (strip.unwatched, &*strip.says),
            (LENGTH, "No snapshot was taken yet.")
        );
    }

    #[test]
    fn port_outside_of_pools_is_not_said_to_be_free() {
        let now = Timestamp::from_millisecond(WEEK_MS).unwrap();
        let strip = Strip::of(&[(0, WEEK_MS / 7)], &[], Some(0), false, now);
        assert!(
            strip
                .says
                .starts_with("Leased 14.3 % of the last seven days. Snapshots")
        );
        assert!(!strip.says.contains("free"), "{}", strip.says);
    }

    #[test]
    fn short_times_are_visible() {
        let segment = Segment::of((WEEK_MS, WEEK_MS), 0, "");
        assert_eq!((segment.x + segment.width, segment.width), (LENGTH, 100));
    }
}
