//! The daily work of a crowd: renewals, changes, claims and sweeps; and what the engine keeps.

use super::super::host::{NAMES, Order, number};
use super::super::report::{Meter, Stretch};
use super::{Course, KB, MB};
use crate::domain::port::Protocol;
use crate::fleet::engine::Engine;
use crate::fleet::sweep::{Last, Sweep, Sweeper};
use crate::fleet::sweeping::{Rhythm, sweeps_of_one};
use crate::telemetry::Stopwatch;

impl Course {
    /// Renewals, some changes of names and some claims, as on any day.
    pub(super) async fn steady(&self) {
        // The first renewal of a session is sent twice, over a new stream.
        tokio::time::sleep(self.pace.session / 2).await;
        let meter = Meter::start(&self.crowd.server).await;
        let share = f64::from(self.pace.hosts) / 5_000.0;
        let (changes, claims) = (5.8 * share, 10.0 * share);
        let begun = Stopwatch::start();
        tokio::join!(
            self.give(changes, |draw| Order::Change(draw % NAMES)),
            self.give(claims, |draw| Order::Churn(number(
                Protocol::Udp,
                draw.max(1)
            ))),
        );
        tokio::time::sleep(self.pace.steady.saturating_sub(begun.elapsed())).await;
        let stretch = meter.stop(&self.crowd.server).await;
        self.all_are_there("names that changed are there").await;
        let churned = self.crowd.tally.counts().churned;
        assert!(churned > 0, "no number was claimed");
        self.tell_steady(&stretch);
    }

    fn tell_steady(&self, stretch: &Stretch) {
        self.report.part("Steady");
        let third = self.pace.session.as_secs_f64() / 3.0;
        self.report.compare(
            "renewals",
            stretch.rate(|at| at.renewals),
            "a second",
            5_000.0 / third,
        );
        self.report
            .compare("cores of the engine", stretch.rate(|at| at.cpu_s), "", 0.2);
        // A claim that is given back is two changes.
        self.report.compare(
            "logged changes",
            stretch.rate(|at| at.logged),
            "a second",
            25.8,
        );
        self.report
            .tell("reads", stretch.rate(|at| at.reads), "a second");
        self.report
            .tell("sent", stretch.rate(|at| at.sent_bytes) / KB, "KB a second");
        self.report.tell(
            "received",
            stretch.rate(|at| at.received_bytes) / KB,
            "KB a second",
        );
    }

    /// Gives orders to hosts at random, so many a second, for as long as the steady part is.
    async fn give(&self, a_second: f64, order: impl Fn(u16) -> Order) {
        let least = 4.0;
        let count = (a_second * self.pace.steady.as_secs_f64()).max(least);
        let mut left = count;
        while left >= 1.0 {
            let seat = &self.crowd.seats[fastrand::usize(..self.crowd.seats.len())];
            seat.orders.send(order(fastrand::u16(..))).await.unwrap();
            tokio::time::sleep(self.pace.steady.div_f64(count)).await;
            left -= 1.0;
        }
    }

    /// One sweep of each kind.
    pub(super) async fn sweep(&self) {
        self.report.part("Sweeps");
        let seat = &self.crowd.seats[0];
        let sweeper = Sweeper {
            engine: seat.engine.clone(),
            keys: self.crowd.keys.clone(),
            host: seat.name.clone(),
        };
        let mut last = Last::default();
        let mut sizes = Vec::new();
        for (what, kind) in [
            ("all keys", Sweep::All),
            ("one while nothing ends", Sweep::Claims),
        ] {
            let meter = Meter::start(&self.crowd.server).await;
            let swept = sweeper.sweep(kind, &mut last).await.unwrap();
            let stretch = meter.stop(&self.crowd.server).await;
            assert_eq!(
                swept.marked + swept.freed + swept.names,
                0,
                "all hosts live"
            );
            let size = stretch.grown(|at| at.sent_bytes) / KB;
            self.report.tell(what, size, "KB");
            self.report.tell("… took", stretch.seconds, "s");
            sizes.push(size);
        }
        let sweep = Rhythm::of(self.pace.session).sweep.as_secs_f64();
        let sweeps = f64::from(sweeps_of_one(last.pages));
        let rate = (sizes[0] / sweeps + sizes[1]) / sweep;
        self.report
            .compare("sent to the sweeper", rate, "KB a second", 35.0);
    }

    /// What the engine keeps.
    pub(super) async fn weigh(&self) {
        let at = self.crowd.server.read().await.unwrap();
        self.report.part("Store");
        self.report
            .compare("in use, with all history", at.live_bytes / MB, "MB", 200.0);
        let engine = &self.crowd.seats[0].engine;
        let page = engine.list(&self.crowd.keys.hold(), None, 1).await.unwrap();
        self.crowd.server.compact(page.revision);
        let at = self.crowd.server.read().await.unwrap();
        self.report
            .compare("in use after a compaction", at.live_bytes / MB, "MB", 42.0);
        self.report.tell("file", at.store_bytes / MB, "MB");
        self.tell_memory(&at);
    }
}
