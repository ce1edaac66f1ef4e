//! Worlds: who comes to which port and when, drawn from a seed. A world knows nothing of policies,
//! but for the adversarial one, whose occupants follow yesterday's winners.

use portbook::domain::port::{Port, PortSet};

/// Seconds.
pub type Time = u32;

pub const HOUR: Time = 3600;
pub const DAY: Time = 24 * HOUR;

/// The night in which everything changes, where it does.
pub const SHIFT_DAY: Time = 5;

/// Kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Programs that start once and stay.
    Static,
    /// Programs that come about once a day, for hours, each about its own time.
    Recurring,
    /// Programs of working hours, and jobs that come every hour for minutes.
    DayNight,
    /// A contiguous range in which ports come and go all the time.
    Churn,
    /// Recurring ones that are all replaced by others in one night.
    Shift,
    /// Recurring ones that no snapshot shows.
    Invisible,
    /// Occupants that come for what was granted most the day before.
    Adversarial,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Static,
        Self::Recurring,
        Self::DayNight,
        Self::Churn,
        Self::Shift,
        Self::Invisible,
        Self::Adversarial,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Recurring => "recurring",
            Self::DayNight => "day-night",
            Self::Churn => "churn",
            Self::Shift => "shift",
            Self::Invisible => "invisible",
            Self::Adversarial => "adversarial",
        }
    }

    pub fn parse(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| format!("there is no world {word}"))
    }

    /// Whether snapshots show its occupants, and none is set on the policy.
    pub const fn is_visible(self) -> bool {
        !matches!(self, Self::Invisible | Self::Adversarial)
    }
}

/// One stay of an occupant on a port, if the port is free when it comes.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    pub port: Port,
    pub from: Time,
    pub until: Time,
}

/// A host and its occupants.
#[derive(Debug)]
pub struct World {
    pub kind: Kind,
    pub ports: PortSet,
    pub days: u32,
    pub seed: u64,
    /// By the time that they come.
    pub stays: Vec<Stay>,
}

impl World {
    pub fn new(kind: Kind, size: u16, seed: u64, days: u32) -> Self {
        let first = if size > 10_000 { 1_500 } else { 20_000 };
        let ports = match (Port::new(first), Port::new(first + (size - 1))) {
            (Some(first), Some(last)) => PortSet::range(first, last),
            _ => PortSet::EMPTY,
        };
        let mut drawn = Drawn {
            rng: fastrand::Rng::with_seed(seed ^ (u64::from(size) << 32) ^ ((kind as u64) << 56)),
            all: ports.iter().collect(),
            end: days * DAY,
            stays: Vec::new(),
        };
        match kind {
            Kind::Static => drawn.settlers(0.10),
            Kind::Recurring | Kind::Invisible => drawn.recurring(0.20, 0, days),
            Kind::DayNight => {
                drawn.working_hours(0.25);
                drawn.hourly_jobs(0.02);
            }
            Kind::Churn => drawn.churn(0.20),
            Kind::Shift => {
                drawn.recurring(0.20, 0, SHIFT_DAY.min(days));
                drawn.recurring(0.20, SHIFT_DAY.min(days), days);
            }
            Kind::Adversarial => {}
        }
        let mut stays = drawn.stays;
        stays.sort_unstable_by_key(|stay| (stay.from, stay.port));
        Self {
            kind,
            ports,
            days,
            seed,
            stays,
        }
    }
}

impl World {
    /// A host of a fleet, with the stays that it draws.
    pub fn with_stays(ports: PortSet, seed: u64, days: u32, mut stays: Vec<Stay>) -> Self {
        stays.sort_unstable_by_key(|stay| (stay.from, stay.port));
        Self {
            kind: Kind::Recurring,
            ports,
            days,
            seed,
            stays,
        }
    }
}

struct Drawn {
    rng: fastrand::Rng,
    all: Vec<Port>,
    end: Time,
    stays: Vec<Stay>,
}

impl Drawn {
    /// Some ports, as a share of all.
    fn some(&mut self, share: f64) -> Vec<Port> {
        let mut ports = self.all.clone();
        self.rng.shuffle(&mut ports);
        let count = (share * ports.len() as f64).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        ports.truncate(count as usize);
        ports
    }

    fn stay(&mut self, port: Port, from: Time, length: Time) {
        if from < self.end {
            let until = from + length.max(1);
            self.stays.push(Stay { port, from, until });
        }
    }

    /// Half of them are there from the beginning, the others come some time.
    fn settlers(&mut self, share: f64) {
        for port in self.some(share) {
            let from = if self.rng.bool() {
                0
            } else {
                self.rng.u32(0..self.end)
            };
            self.stay(port, from, self.end);
        }
    }

    /// Four days of five, at a time of their own give or take half an hour, for two to twelve hours.
    fn recurring(&mut self, share: f64, first_day: u32, end_day: u32) {
        for port in self.some(share) {
            let hour = self.rng.u32(0..DAY);
            let length = self.rng.u32(2 * HOUR..12 * HOUR);
            for day in first_day..end_day {
                if self.rng.f64() < 0.8 {
                    let late = self.rng.u32(0..HOUR);
                    let from = (day * DAY + hour + late).saturating_sub(HOUR / 2);
                    self.stay(port, from, length);
                }
            }
        }
    }

    /// From about nine to about six, but for the weekend.
    fn working_hours(&mut self, share: f64) {
        for port in self.some(share) {
            for day in (0..self.end / DAY).filter(|day| day % 7 < 5) {
                let from = day * DAY + 8 * HOUR + self.rng.u32(0..2 * HOUR);
                let length = 8 * HOUR + self.rng.u32(0..2 * HOUR);
                if self.rng.f64() < 0.9 {
                    self.stay(port, from, length);
                }
            }
        }
    }

    /// Every hour about the same minute, for five minutes or so.
    fn hourly_jobs(&mut self, share: f64) {
        for port in self.some(share) {
            let minute = self.rng.u32(0..HOUR);
            for hour in 0..self.end / HOUR {
                let length = self.rng.u32(120..600);
                let from = hour * HOUR + minute + self.rng.u32(0..60);
                self.stay(port, from, length);
            }
        }
    }

    /// A contiguous range, at most 4,000 ports, each busy half of the time.
    fn churn(&mut self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let length = ((share * self.all.len() as f64) as usize).clamp(1, 4_000);
        let first = self.rng.usize(0..=self.all.len() - length);
        for port in self.all.clone().drain(first..first + length) {
            let mut time = self.exponential(30 * 60);
            while time < self.end {
                let busy = self.exponential(30 * 60);
                self.stay(port, time, busy);
                time += busy + self.exponential(30 * 60);
            }
        }
    }

    fn exponential(&mut self, mean: Time) -> Time {
        exponential(&mut self.rng, mean)
    }
}

/// A time drawn so that nothing is known from how long it has lasted; ten seconds at least.
pub fn exponential(rng: &mut fastrand::Rng, mean: Time) -> Time {
    let drawn = -(1.0 - rng.f64()).ln() * f64::from(mean);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few days in seconds at most"
    )]
    let seconds = drawn.min(f64::from(30 * DAY)) as Time;
    seconds.max(10)
}
