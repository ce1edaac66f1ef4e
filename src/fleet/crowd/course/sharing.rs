//! Reports of busy ports, and a number that an operator reserves on every host of a crowd.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::super::Seat;
use super::super::ground::History;
use super::super::host::number;
use super::super::report::{Meter, Stretch};
use super::{Course, KB, MB};
use crate::domain::everywhere::Stand;
use crate::domain::fleet::Question;
use crate::domain::port::Protocol;
use crate::domain::prior::{MOST_HOSTS, PriorSharing};
use crate::fleet::claiming::Open;
use crate::fleet::counter::Standing;
use crate::fleet::engine::{Compare, Engine, Outcome, Step};
use crate::fleet::prior::encode;
use crate::fleet::sharing::{Learner, Place, Sharing};
use crate::fleet::value::EverywhereValue;
use crate::fleet::view;
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::{Store, StoreOptions};
use crate::telemetry::Stopwatch;

/// Number of hosts that do at once what each does at a time of day of its own.
const AT_ONCE: usize = 16;

/// Maximum number of tries of what has a second.
const TRIES: usize = 8;

/// Longest pause after a failure of sharing.
const LONGEST_PAUSE: Duration = Duration::from_hours(2);

/// Pause between two looks whether all hosts have answered a reservation.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Number of such looks.
const LOOKS: usize = 240;

impl Course {
    /// Each host reads what others tell of busy ports, and tells its own, as once a day.
    pub(super) async fn share(&self) {
        let options = StoreOptions {
            boot_id: process::boot_id().unwrap(),
            machine_id: None,
            batch_max: 16,
            checkpoint_interval: None,
        };
        let file = self.crowd.folder.path().join("portbook.db");
        let (store, _) = Store::open(&file, options).await.unwrap();
        self.tell_first().await;
        let most = u32::try_from((self.hosts() - 1).min(MOST_HOSTS)).unwrap();
        let meter = Meter::start(&self.crowd.server).await;
        let rounds = (self.crowd.seats.iter()).map(|seat| self.share_one(seat, &store, most));
        at_once(rounds).await;
        self.tell_sharing(&meter.stop(&self.crowd.server).await);
    }

    /// Has one host share, and again after a failure. All hosts have one record, from which none reads.
    async fn share_one(&self, seat: &Seat, store: &Store, most: u32) {
        let (history, clock) = (History::default(), Clock::manual());
        let place = Place {
            engine: seat.engine.clone(),
            keys: self.crowd.keys.clone(),
            host: seat.name.clone(),
            learner: history.clone(),
            store: store.clone(),
            clock: clock.clone(),
        };
        let mut sharing = Sharing::new(place, PriorSharing::Commands);
        for _ in 0..TRIES {
            sharing.round(&open(seat).await).await;
            if history.hosts() > 0 {
                break;
            }
            self.crowd.tally.change(|counts| counts.failures += 1);
            clock.advance(LONGEST_PAUSE);
        }
        assert_eq!(history.hosts(), most, "{}", seat.name);
    }

    /// Has every host tell a first report, so that all find what they read.
    async fn tell_first(&self) {
        let history = History::default();
        let telling = self.crowd.seats.iter().map(|seat| {
            let put = Step::Put {
                key: self.crowd.keys.prior(&seat.name),
                value: encode(history.report(true)),
                session: None,
            };
            async move {
                for _ in 0..TRIES {
                    if seat
                        .engine
                        .commit(Vec::new(), vec![put.clone()])
                        .await
                        .is_ok()
                    {
                        return;
                    }
                }
                panic!("{} cannot tell its ports", seat.name);
            }
        });
        at_once(telling).await;
    }

    fn tell_sharing(&self, stretch: &Stretch) {
        let hosts = f64::from(self.pace.hosts);
        let sent = stretch.grown(|at| at.sent_bytes);
        let reads = stretch.grown(|at| at.reads);
        self.report.part("Reports of busy ports");
        self.report.tell("reads of a host a day", reads / hosts, "");
        self.report.compare("sent in a day", sent / MB, "MB", 350.0);
        self.report
            .compare("sent", sent / 86_400.0 / KB, "KB a second", 4.0);
        self.report
            .tell("reads", reads / stretch.seconds, "a second");
    }

    /// An operator reserves a number on every host, and asks until all have it.
    pub(super) async fn reserve(&self) {
        self.report.part("A number reserved on every host");
        let seat = &self.crowd.seats[0];
        let value = EverywhereValue {
            name: "node-exporter".parse().unwrap(),
            since_ms: 1,
        };
        let key = self.crowd.keys.everywhere_of(number(Protocol::Tcp, 9100));
        let put = Step::Put {
            key: key.clone(),
            value: serde_json::to_vec(&value).unwrap(),
            session: None,
        };
        let begun = Stopwatch::start();
        let done = seat
            .engine
            .commit(vec![Compare::absent(key)], vec![put])
            .await;
        assert!(matches!(done, Ok(Outcome::Done { .. })), "{done:?}");
        let mut held = 0;
        for _ in 0..LOOKS {
            held = self.held_everywhere(seat).await;
            if held == self.hosts() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        assert_eq!(held, self.hosts(), "hosts that hold the number");
        self.report.seconds("held by all after", begun.elapsed());
        let meter = Meter::start(&self.crowd.server).await;
        self.held_everywhere(seat).await;
        let stretch = meter.stop(&self.crowd.server).await;
        self.report.tell(
            "sent for one look at it",
            stretch.grown(|at| at.sent_bytes) / KB,
            "KB",
        );
    }

    async fn held_everywhere(&self, seat: &Seat) -> usize {
        let read = view::read(
            &seat.engine,
            &self.crowd.keys,
            &seat.name,
            &Question::Everywhere,
        );
        // A read that is late is none.
        let Ok(view) = read.await else { return 0 };
        let hosts = view.everywhere.iter().flat_map(|one| &one.hosts);
        hosts.filter(|host| host.state == Stand::Held).count()
    }
}

/// Session of a host, once it has one.
async fn open(seat: &Seat) -> Open {
    let mut standing = seat.standing.clone();
    let is_in = |standing: &Standing| matches!(standing, Standing::In(_));
    let standing = standing.wait_for(is_in).await.unwrap().clone();
    match standing {
        Standing::In(open) => open,
        Standing::Joining | Standing::Out => unreachable!(),
    }
}

/// Does what all hosts do once a day, some at a time.
async fn at_once(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut doing = stream::iter(all).buffer_unordered(AT_ONCE);
    while doing.next().await.is_some() {}
}
