//! Words for times, durations and shares on pages.

use jiff::Timestamp;

/// Stands for a missing value on every page.
pub const UNSET: &str = "–";

/// A moment as a page shows it: the distance from now, with the exact time in the title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// RFC 3339 to the second, for the script.
    pub machine: String,
    pub absolute: String,
    /// "12 s ago", "in 3 min".
    pub relative: String,
}

impl When {
    pub fn of(at: &Timestamp, now: &Timestamp) -> Self {
        // Deadlines are converted from the boot clock and vary by microseconds. Rounding to half a
        // second hides that.
        let rounded = Timestamp::from_second((at.as_millisecond() + 500).div_euclid(1000));
        let second = rounded.unwrap_or(*at);
        Self {
            machine: second.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            absolute: second.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            relative: relative(*at, *now),
        }
    }
}

/// Distance of a moment from now. The script writes the same words.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = (at.as_millisecond() - now.as_millisecond() + 500).div_euclid(1000);
    let distance = coarse(seconds.unsigned_abs());
    match seconds {
        0 => "just now".to_owned(),
        1.. => format!("in {distance}"),
        _ => format!("{distance} ago"),
    }
}

/// A duration in its largest unit alone, rounded down.
pub fn coarse(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The time of a number of milliseconds since 1970; 1970 if it is out of range.
pub fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
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

/// The kernel's words for an error number.
pub fn errno(number: i32) -> String {
    std::io::Error::from_raw_os_error(number).to_string()
}

/// A share in tenths of a percent. It is 0 or 1000 only if the share is exactly that.
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
    /// Whether the piece stood between backticks.
    pub is_code: bool,
    pub text: &'a str,
}

/// Splits a text at the backticks that mark commands.
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

    #[test]
    fn distances_use_their_largest_unit() {
        let now = moment(10_000_000_000);
        let told = |seconds: i64| relative(moment(10_000_000_000 + seconds * 1000), now);
        assert_eq!(told(0), "just now");
        assert_eq!(told(-12), "12 s ago");
        assert_eq!(told(-119), "1 min ago");
        assert_eq!(told(599), "in 9 min");
        assert_eq!(told(-7200), "2 h ago");
        assert_eq!(told(-172_799), "47 h ago");
        assert_eq!(told(-172_800), "2 days ago");
    }

    #[test]
    fn deadlines_that_vary_by_milliseconds_read_the_same() {
        let now = moment(0);
        let when = When::of(&moment(59_999), &now);
        assert_eq!(when, When::of(&moment(60_001), &now));
        assert_eq!(when.machine, "1970-01-01T00:01:00Z");
        assert_eq!(when.absolute, "1970-01-01 00:01:00 UTC");
        assert_eq!(when.relative, "in 1 min");
    }

    #[test]
    fn nearly_all_is_below_100_percent() {
        assert_eq!(percent(9_999, 10_000), "99.9 %");
        assert_eq!(percent(10_000, 10_000), "100 %");
        assert_eq!(percent(1, 10_000), "0.1 %");
        assert_eq!(percent(1, 2), "50 %");
        assert_eq!(percent(0, 0), "0 %");
    }

    #[test]
    fn short_durations_have_two_digits() {
        assert_eq!(micros(6.25), "6.2 µs");
        assert_eq!(micros(640.4), "640 µs");
        assert_eq!(micros(1530.0), "1.5 ms");
    }

    #[test]
    fn backticks_mark_code() {
        let code: Vec<bool> = pieces("Run `portbook list` now")
            .iter()
            .map(|p| p.is_code)
            .collect();
        assert_eq!(code, [false, true, false]);
        assert_eq!(pieces("`a`").len(), 1);
    }
}
