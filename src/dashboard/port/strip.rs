//! The last seven days of a port as a strip: when it was leased, and when others were seen on it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::dashboard::format::{coarse, percent};

/// The strip is so many units long: ten seconds of a week are about one.
pub(super) const LENGTH: i64 = 60_480;

const WEEK_MS: i64 = 7 * 86_400_000;

/// A time from one millisecond to another.
pub(super) type Span = (i64, i64);

/// A time in which others were seen, and the program in words.
pub(super) type Visit = (Span, String);

/// Number of programs that a stretch of the strip names.
const NAMED: usize = 3;

/// A week of a port.
#[derive(Debug)]
pub(super) struct Strip {
    /// When it was leased, and when others were seen on it.
    pub(super) lanes: [Lane; 2],
    /// So much of it passed before anybody looked.
    pub(super) unwatched: i64,
    /// The same in a sentence.
    pub(super) says: String,
}

/// A line of a strip.
#[derive(Debug)]
pub(super) struct Lane {
    /// What it is of.
    pub(super) label: &'static str,
    /// Its class in the stylesheet.
    pub(super) class: &'static str,
    /// When it was so.
    pub(super) segments: Vec<Segment>,
}

/// A stretch of a strip.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins.
    pub(super) x: i64,
    /// How long it is.
    pub(super) width: i64,
    /// From when to when.
    pub(super) says: String,
}

/// When the week began that ends now.
pub(super) fn begin(now: Timestamp) -> i64 {
    now.as_millisecond() - WEEK_MS
}

impl Strip {
    /// The week that ends now, of which only what came after the first snapshot is known.
    pub(super) fn of(
        ours: &[Span],
        others: &[Visit],
        watched: Option<i64>,
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
            says: says(&leased, &seen, watched),
        }
    }
}

/// What was watched, in a sentence.
fn says(leased: &[Span], seen: &[Span], watched: Span) -> String {
    let all = share(&[watched]);
    let [leased, seen] = [leased, seen].map(|spans| merged(spans, watched));
    let either: Vec<Span> = leased.iter().chain(&seen).copied().collect();
    let busy = share(&merged(&either, watched));
    let time = match watched.1 - watched.0 {
        WEEK_MS => "the last seven days".to_owned(),
        0 => return "Nobody has looked yet.".to_owned(),
        ms => format!(
            "the {} since the first look",
            coarse(ms.unsigned_abs() / 1000)
        ),
    };
    format!(
        "Leased {} of {time}, in others' hands {}, free {}.",
        percent(share(&leased), all),
        percent(share(&seen), all),
        percent(all - busy, all),
    )
}

/// Where a moment is on a strip that begins at another.
fn place(ms: i64, begin: i64) -> i64 {
    (ms - begin) * LENGTH / WEEK_MS
}

/// Programs that were there in a time, each once: ": node (uid 0), python3 (uid 1000)".
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
        // What was short is a line all the same.
        let width = (place(until, begin) - x).max(LENGTH / 600);
        Self {
            x: x.min(LENGTH - width),
            width,
            says: format!("{} to {}{named}", clock(from), clock(until)),
        }
    }
}

pub(super) fn clock(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN);
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The seconds of spans that do not overlap.
fn share(spans: &[Span]) -> usize {
    let ms: i64 = spans.iter().map(|(from, until)| until - from).sum();
    usize::try_from(ms / 1000).unwrap_or(0)
}

/// What lies within a time, in order, what overlaps or touches as one.
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
    fn spans_that_overlap_are_one_and_the_rest_is_cut_off() {
        let spans = [(50, 70), (0, 20), (10, 30), (30, 35), (90, 200), (300, 400)];
        assert_eq!(merged(&spans, (15, 100)), [(15, 35), (50, 70), (90, 100)]);
    }

    #[test]
    fn a_strip_tells_each_share() {
        let now = Timestamp::from_millisecond(WEEK_MS).unwrap();
        let day = WEEK_MS / 7;
        let ours = [(-day, day), (3 * day, 4 * day)];
        let python = ((0, day), "python3 (uid 1000)".to_owned());
        let strip = Strip::of(&ours, &[python], Some(-day), now);
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
            "Leased 28.6 % of the last seven days, in others' hands 14.3 %, free 71.4 %."
        );
    }

    #[test]
    fn what_nobody_watched_was_not_free() {
        let now = Timestamp::from_millisecond(WEEK_MS).unwrap();
        let day = WEEK_MS / 7;
        let ours = [(4 * day, 6 * day)];
        let strip = Strip::of(&ours, &[], Some(5 * day), now);
        assert_eq!(strip.unwatched, LENGTH * 5 / 7);
        assert_eq!(
            strip.says,
            "Leased 50 % of the 2 days since the first look, in others' hands 0 %, free 50 %."
        );
        let strip = Strip::of(&ours, &[], None, now);
        assert_eq!(
            (strip.unwatched, &*strip.says),
            (LENGTH, "Nobody has looked yet.")
        );
    }

    #[test]
    fn a_moment_is_still_seen() {
        let segment = Segment::of((WEEK_MS, WEEK_MS), 0, "");
        assert_eq!((segment.x + segment.width, segment.width), (LENGTH, 100));
    }
}
