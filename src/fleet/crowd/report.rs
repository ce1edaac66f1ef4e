//! Figures of the crowd beside those that were reckoned.

use std::io::Write as _;
use std::time::Duration;

use super::server::{Moment, Server};
use crate::telemetry::Stopwatch;

/// Number of hosts that the reckoned figures are of.
const RECKONED_HOSTS: f64 = 5_000.0;

/// A stretch of time that is measured.
pub struct Meter {
    from: Moment,
    begun: Stopwatch,
}

/// Figures of a stretch of time.
pub struct Stretch {
    pub seconds: f64,
    /// Figures at its end.
    pub end: Moment,
    from: Moment,
}

impl Meter {
    /// Begins with the figures of the engine as they are.
    pub async fn start(server: &Server) -> Self {
        Self {
            from: server.read().await.unwrap_or_default(),
            begun: Stopwatch::start(),
        }
    }

    /// Begins with an engine that has just been started: only its log counts on.
    pub async fn at_start(server: &Server) -> Self {
        let begun = Stopwatch::start();
        let logged = server.read().await.map_or(0.0, |now| now.logged);
        let from = Moment {
            logged,
            ..Moment::default()
        };
        Self { from, begun }
    }

    pub async fn stop(&self, server: &Server) -> Stretch {
        let seconds = self.begun.elapsed().as_secs_f64();
        Stretch {
            seconds,
            end: server.read().await.unwrap_or_default(),
            from: self.from,
        }
    }
}

impl Stretch {
    /// Growth of a figure.
    pub fn grown(&self, figure: fn(&Moment) -> f64) -> f64 {
        figure(&self.end) - figure(&self.from)
    }

    /// Growth of a figure a second.
    pub fn rate(&self, figure: fn(&Moment) -> f64) -> f64 {
        self.grown(figure) / self.seconds.max(0.001)
    }
}

/// Writer of figures.
pub struct Report {
    hosts: f64,
}

impl Report {
    pub fn new(hosts: u16) -> Self {
        let report = Self {
            hosts: f64::from(hosts),
        };
        report.line(&format!(
            "{hosts} hosts; reckoned figures are scaled from {RECKONED_HOSTS} hosts"
        ));
        report
    }

    /// Begins a part.
    pub fn part(&self, title: &str) {
        self.line(&format!("\n{title}"));
    }

    /// Tells a figure of which nothing was reckoned.
    pub fn tell(&self, what: &str, figure: f64, unit: &str) {
        self.line(&format!("  {what}: {figure:.1} {unit}"));
    }

    /// Tells a figure beside that which was reckoned for 5,000 hosts and grows with their number.
    pub fn compare(&self, what: &str, figure: f64, unit: &str, reckoned: f64) {
        let reckoned = reckoned * self.hosts / RECKONED_HOSTS;
        let ratio = figure / reckoned;
        self.line(&format!(
            "  {what}: {figure:.1} {unit} (reckoned {reckoned:.1}, {ratio:.2} times)"
        ));
    }

    pub fn seconds(&self, what: &str, took: Duration) {
        self.tell(what, took.as_secs_f64(), "s");
    }

    #[expect(clippy::unused_self, reason = "all lines go one way")]
    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
