//! A name that all hosts of a crowd watch.

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::super::Seat;
use super::super::host::Order;
use super::super::report::Meter;
use super::super::tally::LONGEST;
use super::{Course, KB, MB};
use crate::domain::fleet::{Question, Told};
use crate::domain::lease::Name;
use crate::fleet::etcd::Etcd;
use crate::fleet::follow::{Follower, follow};
use crate::fleet::reader::Reader;

/// Followers of one name, one a host, with their answers.
type Listeners = Vec<(Follower, watch::Receiver<Option<Told>>)>;

impl Course {
    /// A name that all hosts watch changes.
    pub(super) async fn watch(&self) -> Listeners {
        self.report.part("A name that all hosts watch");
        let meter = Meter::start(&self.crowd.server).await;
        let name: Name = format!("service-0-of-{}", self.crowd.seats[0].name)
            .parse()
            .unwrap();
        let question = Question::Names(Some(name));
        let (own, mut requests) = mpsc::channel(16);
        let starting = (0..).zip(&self.crowd.seats).map(|(index, seat)| {
            let (question, own) = (question.clone(), own.clone());
            async move {
                tokio::time::sleep(self.wait_of(index)).await;
                let mut listener = follow(self.reader(seat), question, own);
                listener.1.wait_for(Option::is_some).await.unwrap();
                listener
            }
        });
        let mut listeners: Listeners = join_all(starting).await;
        let stretch = meter.stop(&self.crowd.server).await;
        let added = stretch.grown(|at| at.watches);
        self.report
            .compare("watches", stretch.end.watches, "", 10_000.0);
        self.report.tell(
            "memory of the engine a new watch",
            stretch.grown(|at| at.resident_bytes) / added / KB,
            "KB",
        );
        self.report.compare(
            "memory of the engine",
            stretch.end.resident_bytes / MB,
            "MB",
            350.0,
        );
        for _ in 0..self.pace.changes {
            self.change_for_all(&mut listeners).await;
        }
        assert!(requests.try_recv().is_err(), "all are listened to");
        listeners
    }

    fn reader(&self, seat: &Seat) -> Reader<Etcd> {
        Reader {
            engine: seat.engine.clone(),
            keys: self.crowd.keys.clone(),
            own: seat.name.clone(),
        }
    }

    async fn change_for_all(&self, listeners: &mut Listeners) {
        let before = version(listeners[0].1.borrow().as_ref());
        let meter = Meter::start(&self.crowd.server).await;
        let changing = &self.crowd.seats[0].orders;
        changing.send(Order::Change(0)).await.unwrap();
        let seeing = listeners.iter_mut().map(|(_, told)| async move {
            told.wait_for(|told| version(told.as_ref()) > before)
                .await
                .unwrap();
        });
        let seen = timeout(LONGEST, join_all(seeing)).await;
        assert!(seen.is_ok(), "a host has not seen the change");
        let stretch = meter.stop(&self.crowd.server).await;
        self.report.tell(
            "change seen by all hosts after",
            stretch.seconds,
            "s, of which it waits for 1 s",
        );
        let hosts = f64::from(self.pace.hosts);
        self.report
            .tell("… reads a host", stretch.grown(|at| at.reads) / hosts, "");
        self.report.tell(
            "… sent to a host",
            stretch.grown(|at| at.sent_bytes) / hosts / KB,
            "KB",
        );
    }
}

/// Changes of a watched lease so far.
fn version(told: Option<&Told>) -> u32 {
    let names = told.into_iter().flat_map(|told| &told.view.names);
    let mut versions = names.filter_map(|name| name.labels.get("version")?.parse().ok());
    versions.next().unwrap_or_default()
}
