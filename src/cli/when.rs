//! Times for people: in the local zone, to the minute, with the day unless it is today.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The local zone, and the present moment.
pub(super) struct Local {
    now: Zoned,
}

impl Local {
    /// Uses the zone of `TZ`, or of the system.
    pub(super) fn at(now: Timestamp) -> Self {
        Self {
            now: now.to_zoned(TimeZone::system()),
        }
    }

    fn zoned(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.now.time_zone().clone())
    }

    /// "14:02", "yesterday 14:02", "2026-11-27 14:02".
    pub(super) fn moment(&self, at: Timestamp) -> String {
        let at = self.zoned(at);
        let yesterday = self.now.date().checked_sub(1.day()).ok();
        if at.date() == self.now.date() {
            at.strftime("%H:%M").to_string()
        } else if Some(at.date()) == yesterday {
            at.strftime("yesterday %H:%M").to_string()
        } else {
            at.strftime("%Y-%m-%d %H:%M").to_string()
        }
    }

    /// A moment to the second.
    pub(super) fn second(&self, at: Timestamp) -> String {
        let second = self.zoned(at).strftime(":%S").to_string();
        self.moment(at) + &second
    }

    /// "yesterday 14:02 to 15:10", "since 14:02".
    pub(super) fn span(&self, from: Timestamp, until: Option<Timestamp>) -> String {
        let begin = self.moment(from);
        let Some(until) = until else {
            return format!("since {begin}");
        };
        let end = self.zoned(until);
        if end.date() == self.zoned(from).date() {
            format!("{begin} to {}", end.strftime("%H:%M"))
        } else {
            format!("{begin} to {}", self.moment(until))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_shown_unless_it_is_today() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let local = Local {
            now: now.to_zoned(zone),
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(local.moment(at("2026-11-29T08:05:59.9Z")), "09:05");
        assert_eq!(local.second(at("2026-11-29T08:05:59.9Z")), "09:05:59");
        assert_eq!(local.moment(at("2026-11-28T23:30:00Z")), "00:30");
        let (from, until) = (at("2026-11-28T13:02:00Z"), at("2026-11-28T14:10:00Z"));
        let told = local.span(from, Some(until));
        assert_eq!(told, "yesterday 14:02 to 15:10");
        let told = local.span(from, Some(at("2026-11-29T08:00:00Z")));
        assert_eq!(told, "yesterday 14:02 to 09:00");
        assert_eq!(
            local.span(at("2026-11-01T00:00:00Z"), None),
            "since 2026-11-01 01:00"
        );
    }
}
