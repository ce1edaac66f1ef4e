//! Points in time as people write them: a time ago, or a date.

use std::str::FromStr;

use jiff::Timestamp;

use super::duration::HumanDuration;
use super::text::{as_text, from_text};

/// A point in time, written `"7d"` for seven days ago or `"2030-01-31T12:00:00Z"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Time before now.
    Ago(HumanDuration),
    /// Point on the wall clock.
    At(Timestamp),
}

impl Moment {
    /// Point in time, counted back from `now` if need be.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.saturating_sub(span.0).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

/// A text that is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a time: write how long ago, such as 7d, or one such as 2030-01-31T12:00:00Z"
)]
pub struct NotAMoment(String);

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let time = text.trim().parse();
        time.map(Self::At).map_err(|_| NotAMoment(text.to_owned()))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ago(span) => span.fmt(f),
            Self::At(time) => time.fmt(f),
        }
    }
}

as_text!(Moment);
from_text!(Moment);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_times_ago_or_dates() {
        let now: Timestamp = "2030-01-08T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Moment>().unwrap().from(now).to_string();
        assert_eq!(at("7d"), "2030-01-01T12:00:00Z");
        assert_eq!(at("90m"), "2030-01-08T10:30:00Z");
        assert_eq!(at("2029-12-31T00:00:00+02:00"), "2029-12-30T22:00:00Z");
        assert_eq!(
            Moment::Ago(HumanDuration(Duration::from_hours(36)))
                .to_string()
                .parse(),
            Ok(Moment::Ago(HumanDuration(Duration::from_hours(36))))
        );
        for wrong in ["", "yesterday", "-7d", "2030-13-01T00:00:00Z"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong} was taken");
        }
    }
}
