//! Lengths of time as people write them, in configuration, API and command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};
use jiff::{SignedDuration, SpanRelativeTo};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::text::as_text;

/// Words for the form of a duration, for the way out of a wrong one.
pub const EXPECTS: &str = "a duration such as \"10s\" or \"1h30m\", or a number of seconds";

/// Maximum length. Beyond it a deadline could leave the range of a clock.
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// A length of time, written `"1h30m"` or as a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    fn bounded<E: de::Error>(length: Duration) -> Result<Self, E> {
        if length > LONGEST {
            return Err(E::custom(
                "a duration is ten years at most: write a shorter one",
            ));
        }
        Ok(Self(length))
    }

    /// A day is always 24 hours here: what is counted is time, not dates.
    fn parse(text: &str) -> Option<Duration> {
        let span = SpanParser::new().parse_span(text.trim()).ok()?;
        let length: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(length).ok()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = SpanPrinter::new().spacing(Spacing::None);
        f.write_str(&printer.unsigned_duration_to_string(&self.0))
    }
}

as_text!(HumanDuration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = HumanDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTS)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
        let length = HumanDuration::parse(text)
            .ok_or_else(|| E::custom(format!("\"{text}\" is not a duration: write {EXPECTS}")))?;
        HumanDuration::bounded(length)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<HumanDuration, E> {
        HumanDuration::bounded(Duration::from_secs(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<HumanDuration, E> {
        let seconds = u64::try_from(seconds)
            .map_err(|_| E::custom(format!("{seconds} is not a duration: write {EXPECTS}")))?;
        self.visit_u64(seconds)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<HumanDuration, E> {
        let length = Duration::try_from_secs_f64(seconds);
        HumanDuration::bounded(
            length
                .map_err(|_| E::custom(format!("{seconds} is not a duration: write {EXPECTS}")))?,
        )
    }
}

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a duration: write it as 30s, 10m or 1h30m, or as a number of seconds; ten years at most"
)]
pub struct NotADuration(String);

impl FromStr for HumanDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let seconds = text.trim().parse().ok().map(Duration::from_secs);
        seconds
            .or_else(|| Self::parse(text))
            .filter(|length| *length <= LONGEST)
            .map(Self)
            .ok_or_else(|| NotADuration(text.to_owned()))
    }
}

/// Writes a length of time in its largest whole unit, for tables: "3d", "2h", "5m", "9s".
pub fn coarse(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit);
    let (unit, word) = unit.unwrap_or((1, "s"));
    format!("{}{word}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(json: &str) -> Result<Duration, String> {
        let span: Result<HumanDuration, _> = serde_json::from_str(json);
        span.map(|span| span.0).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_texts_or_seconds() {
        assert_eq!(span("\"1h30m\""), Ok(Duration::from_mins(90)));
        assert_eq!(span("\"7d\""), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(span("10"), Ok(Duration::from_secs(10)));
        assert_eq!(span("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["\"soon\"", "-1", "\"-5s\"", "\"99999d\"", "1e300", "true"] {
            assert!(span(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn a_flag_is_written_in_the_same_words() {
        assert_eq!("90".parse(), Ok(HumanDuration(Duration::from_secs(90))));
        assert_eq!("1h30m".parse(), Ok(HumanDuration(Duration::from_mins(90))));
        for wrong in ["", "soon", "-5s", "99999d"] {
            assert!(wrong.parse::<HumanDuration>().is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let coarse = |seconds| coarse(Duration::from_secs(seconds));
        assert_eq!(coarse(0), "0s");
        assert_eq!(coarse(119), "1m");
        assert_eq!(coarse(7_199), "1h");
        assert_eq!(coarse(259_200), "3d");
    }

    proptest! {
        #[test]
        fn a_duration_survives_being_written_down(ms in 0u64..10_000_000_000) {
            let written = HumanDuration(Duration::from_millis(ms));
            let text = serde_json::to_string(&written).unwrap();
            prop_assert_eq!(serde_json::from_str::<HumanDuration>(&text).unwrap(), written);
        }
    }
}
