//! The course of the test: what happens to the crowd, one after the other, and what is checked and told of it.

mod daily;
mod sharing;
mod watching;

use std::time::Duration;

use super::Crowd;
use super::host::{NAMES, NUMBERS};
use super::report::{Meter, Report, Stretch};
use super::server::Moment;
use super::tally::Counts;
use crate::fleet::view;

/// Pause before a look at all keys is tried again.
const PAUSE: Duration = Duration::from_secs(1);

const KB: f64 = 1_000.0;
const MB: f64 = 1_000_000.0;

/// Size and times of a crowd.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub hosts: u16,
    /// Time of a session.
    pub session: Duration,
    /// Time within which hosts that do the same begin with it.
    pub spread: Duration,
    /// Time for which nothing but the daily work happens.
    pub steady: Duration,
    /// Time for which the engine is away.
    pub outage: Duration,
    /// Number of changes of a name that all hosts watch.
    pub changes: u32,
}

/// A crowd on its way.
pub struct Course {
    crowd: Crowd,
    pace: Pace,
    report: Report,
}

impl Course {
    pub fn new(crowd: Crowd, pace: Pace) -> Self {
        let report = Report::new(pace.hosts);
        Self {
            crowd,
            pace,
            report,
        }
    }

    /// Runs all parts.
    pub async fn run(mut self) {
        self.join().await;
        self.steady().await;
        self.sweep().await;
        let listeners = self.watch().await;
        self.share().await;
        self.reserve().await;
        self.weigh().await;
        self.come_back(false).await;
        self.come_back(true).await;
        drop(listeners);
    }

    fn hosts(&self) -> usize {
        usize::from(self.pace.hosts)
    }

    /// All hosts start, and each publishes its names and claims its numbers.
    async fn join(&mut self) {
        let meter = Meter::start(&self.crowd.server).await;
        for index in 0..self.pace.hosts {
            let wait = self.wait_of(index);
            self.crowd.seat(index, wait).await;
        }
        self.all_are_there("hosts join").await;
        let stretch = meter.stop(&self.crowd.server).await;
        self.report.part("Join storm");
        self.tell_storm(&stretch);
        self.check_keys().await;
    }

    /// Part of the spread after which a host begins.
    fn wait_of(&self, index: u16) -> Duration {
        self.pace
            .spread
            .mul_f64(f64::from(index) / f64::from(self.pace.hosts))
    }

    async fn all_are_there(&self, what: &str) {
        let all = self.hosts();
        let is_all = |counts: &Counts| {
            counts.present == all && counts.settled == all && counts.claimed == all
        };
        self.crowd.tally.until(what, is_all).await;
    }

    fn tell_storm(&self, stretch: &Stretch) {
        let hosts = f64::from(self.pace.hosts);
        self.report.tell("time", stretch.seconds, "s");
        self.report
            .tell("hosts", hosts / stretch.seconds, "a second");
        let changes = stretch.grown(|at| at.logged);
        self.report
            .compare("logged changes", changes, "", 4.0 * 5_000.0);
        self.report
            .tell("logged changes", changes / stretch.seconds, "a second");
        self.report
            .tell("commits a host", stretch.grown(|at| at.commits) / hosts, "");
        self.report
            .tell("reads a host", stretch.grown(|at| at.reads) / hosts, "");
        self.report.tell(
            "sent to a host",
            stretch.grown(|at| at.sent_bytes) / hosts / KB,
            "KB",
        );
        self.report
            .tell("cores of the engine", stretch.rate(|at| at.cpu_s), "");
        self.tell_failures();
        self.tell_memory(&stretch.end);
    }

    /// Tells tries that failed in all parts so far: each is done again.
    fn tell_failures(&self) {
        let failures = self.crowd.tally.counts().failures;
        let failures = u32::try_from(failures).unwrap();
        self.report
            .tell("tries that failed so far", f64::from(failures), "");
    }

    fn tell_memory(&self, at: &Moment) {
        self.report
            .tell("memory of the engine", at.resident_bytes / MB, "MB");
        self.report.tell("… objects", at.heap_bytes / MB, "MB");
        self.report.tell("… stacks", at.stack_bytes / MB, "MB");
        self.report
            .tell("memory of all hosts", at.own_bytes / MB, "MB");
        self.report.tell("watches", at.watches, "");
        self.report.tell("streams", at.streams, "");
    }

    /// The engine has every session, name and claim.
    async fn check_keys(&self) {
        let engine = &self.crowd.seats[0].engine;
        let keys = &self.crowd.keys;
        let hosts = self.hosts();
        for (prefix, count) in [
            (keys.sessions(), hosts),
            (keys.names(), hosts * usize::from(NAMES)),
            (keys.claims(), hosts * usize::from(NUMBERS)),
        ] {
            let found = loop {
                match view::keys_of(engine, &prefix).await {
                    Ok(found) => break found,
                    // Hosts that have just come back overrun the engine for a while.
                    Err(error) if error.may_pass() => tokio::time::sleep(PAUSE).await,
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(found.len(), count, "{prefix}");
        }
    }

    /// The engine is killed and started again; with an empty disk all sessions have ended.
    async fn come_back(&mut self, is_emptied: bool) {
        let Crowd { server, tally, .. } = &mut self.crowd;
        server.kill();
        tally.await_return();
        tokio::time::sleep(self.pace.outage).await;
        if is_emptied {
            server.wipe();
        }
        server.start_again().await;
        let meter = Meter::at_start(server).await;
        let all = self.hosts();
        let back = |counts: &Counts| counts.back == all;
        self.crowd.tally.until("hosts come back", back).await;
        self.all_are_there("hosts have all again").await;
        let stretch = meter.stop(&self.crowd.server).await;
        self.report.part(if is_emptied {
            "Engine back, with nothing"
        } else {
            "Engine back"
        });
        self.tell_storm(&stretch);
        self.check_keys().await;
    }
}
