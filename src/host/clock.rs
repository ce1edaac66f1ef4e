//! The only place that reads the time; tests pass a clock that they move.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::domain::lease::BootTime;

/// A source of wall-clock and boot-time readings.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Mutex<Reading>>),
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    boot: BootTime,
}

impl Clock {
    /// The host's own clocks.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Makes a clock that stands still until [`Clock::advance`] or [`Clock::set_wall`] moves it.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(Reading {
            wall: Timestamp::UNIX_EPOCH,
            boot: BootTime(Duration::from_secs(1)),
        }))))
    }

    /// Time of day (`CLOCK_REALTIME`): for records, never for deadlines.
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(reading) => read(reading).wall,
        }
    }

    /// Time since boot, sleep included (`CLOCK_BOOTTIME`): for deadlines and durations.
    pub fn boot(&self) -> BootTime {
        match &self.0 {
            Source::System => {
                let time = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
                BootTime(Duration::new(seconds, nanos))
            }
            Source::Manual(reading) => read(reading).boot,
        }
    }

    /// Time of day at which a deadline on the boot-time clock is due, as the wall clock stands now.
    pub fn wall_time_of(&self, deadline: BootTime) -> Timestamp {
        let (now, boot) = (self.now(), self.boot());
        let moved = if deadline >= boot {
            now.saturating_add(deadline.since(boot))
        } else {
            now.saturating_sub(boot.since(deadline))
        };
        moved.unwrap_or(Timestamp::MAX)
    }

    /// Moves both readings of a manual clock forward. The system's clocks stay as they are.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(reading) = &self.0 {
            let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.boot = reading.boot.after(by);
            reading.wall = reading.wall.saturating_add(by).unwrap_or(Timestamp::MAX);
        }
    }

    /// Sets the time of day alone of a manual clock, as an administrator might.
    pub fn set_wall(&self, wall: Timestamp) {
        if let Source::Manual(reading) = &self.0 {
            reading.lock().unwrap_or_else(PoisonError::into_inner).wall = wall;
        }
    }
}

fn read(reading: &Mutex<Reading>) -> Reading {
    *reading.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_goes_forward_and_a_manual_clock_only_when_told() {
        let system = Clock::system();
        assert!(system.boot() <= system.boot());
        let manual = Clock::manual();
        let before = manual.boot();
        assert_eq!(manual.boot(), before);
        manual.advance(Duration::from_secs(2));
        assert_eq!(manual.boot().since(before), Duration::from_secs(2));
    }

    #[test]
    fn a_changed_wall_clock_moves_no_deadline() {
        let clock = Clock::manual();
        let deadline = clock.boot().after(Duration::from_mins(1));
        clock.set_wall("2030-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(deadline.since(clock.boot()), Duration::from_mins(1));
        assert_eq!(
            clock.wall_time_of(deadline).to_string(),
            "2030-01-01T00:01:00Z"
        );
    }
}
