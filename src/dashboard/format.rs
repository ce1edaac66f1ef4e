//! How pages write times, durations, shares and counts.

use jiff::Timestamp;

/// What stands where there is nothing to tell, on every page the same.
pub const UNSET: &str = "–";

/// A moment as pages show it: how long ago, and exactly when in the title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// RFC 3339 to the second, for the script.
    pub machine: String,
    /// The same for a reader.
    pub absolute: String,
    /// "12 s ago", "in 3 min".
    pub relative: String,
}

impl When {
    /// A moment as seen from `now`.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        // Deadlines are told from another clock and tremble by microseconds; half a second hides it.
        let rounded = Timestamp::from_second((at.as_millisecond() + 500).div_euclid(1000));
        let second = rounded.unwrap_or(at);
        Self {
            machine: second.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            absolute: second.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            relative: relative(at, now),
        }
    }
}

/// How far `at` is from `now`. The script writes the same words.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = (at.as_millisecond() - now.as_millisecond() + 500).div_euclid(1000);
    let distance = coarse(seconds.unsigned_abs());
    match seconds {
        0 => "just now".to_owned(),
        1.. => format!("in {distance}"),
        _ => format!("{distance} ago"),
    }
}

/// A duration in its largest unit alone, cut off rather than rounded up.
pub fn coarse(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration of system calls.
pub fn micros(micros: f64) -> String {
    // From here on one digit would round to "10.0".
    if micros < 9.95 {
        format!("{micros:.1} µs")
    } else if micros < 1000.0 {
        format!("{micros:.0} µs")
    } else {
        format!("{:.1} ms", micros / 1000.0)
    }
}

/// A share in tenths of a percent. Neither 0 nor 100 is said of what is only nearly so.
pub fn per_mille<N: TryInto<u64>>(part: N, whole: N) -> u64 {
    let [part, whole] = [part, whole].map(|number| number.try_into().unwrap_or(0));
    let rounded = (part * 1000 + whole / 2).checked_div(whole).unwrap_or(0);
    match rounded {
        0 if part > 0 => 1,
        1000 if part < whole => 999,
        rounded => rounded,
    }
}

/// A share as "99.9 %".
pub fn percent<N: TryInto<u64>>(part: N, whole: N) -> String {
    let share = per_mille(part, whole);
    match share % 10 {
        0 => format!("{} %", share / 10),
        tenth => format!("{}.{tenth} %", share / 10),
    }
}

/// A piece of a text that marks commands with backticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Whether it stood between backticks.
    pub is_code: bool,
    /// The piece without them.
    pub text: &'a str,
}

/// The pieces of a text that marks commands with backticks.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(index, text)| Piece {
            is_code: index % 2 == 1,
            text,
        })
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn distances_are_told_in_their_largest_unit() {
        let now = at(10_000_000_000);
        let told = |seconds: i64| relative(at(10_000_000_000 + seconds * 1000), now);
        assert_eq!(told(0), "just now");
        assert_eq!(told(-12), "12 s ago");
        assert_eq!(told(-119), "1 min ago");
        assert_eq!(told(599), "in 9 min");
        assert_eq!(told(-7200), "2 h ago");
        assert_eq!(told(-172_799), "47 h ago");
        assert_eq!(told(-172_800), "2 days ago");
    }

    #[test]
    fn a_deadline_that_trembles_reads_the_same() {
        let now = at(0);
        assert_eq!(When::of(at(59_999), now), When::of(at(60_001), now));
        let when = When::of(at(59_999), now);
        assert_eq!(when.machine, "1970-01-01T00:01:00Z");
        assert_eq!(when.absolute, "1970-01-01 00:01:00 UTC");
        assert_eq!(when.relative, "in 1 min");
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(9_999, 10_000), "99.9 %");
        assert_eq!(percent(10_000, 10_000), "100 %");
        assert_eq!(percent(1, 10_000), "0.1 %");
        assert_eq!(percent(1, 2), "50 %");
        assert_eq!(percent(0, 0), "0 %");
    }

    #[test]
    fn short_times_read_well() {
        assert_eq!(micros(6.25), "6.2 µs");
        assert_eq!(micros(640.4), "640 µs");
        assert_eq!(micros(1530.0), "1.5 ms");
    }

    #[test]
    fn commands_in_sentences() {
        let code: Vec<bool> = pieces("Run `portbook list` now")
            .iter()
            .map(|p| p.is_code)
            .collect();
        assert_eq!(code, [false, true, false]);
        assert_eq!(pieces("`a`").len(), 1);
    }
}
