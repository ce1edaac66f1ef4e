//! Followers: one for each question that local clients wait on, with one watch for each prefix that
//! matters to it. A follower ends when its last listener has gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::engine::{Answer, Engine, News, Watch};
use super::keeping::pause_after;
use super::reader::Reader;
use super::view;
use crate::domain::fleet::{FleetView, Question, Told};
use crate::engine::fleet::FleetRequest;

/// Longest pause after several failures. No event tells of the engine's return.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A task that follows a question. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    told: watch::Sender<Option<Told>>,
    has_listener: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Returns the answer as it is and as it changes.
    pub(super) fn listen(&self) -> watch::Receiver<Option<Told>> {
        let told = self.told.subscribe();
        self.has_listener.notify_one();
        told
    }

    pub(super) fn has_no_listener(&self) -> bool {
        self.told.receiver_count() == 0
    }
}

/// Follows a question, and asks to be dropped once there is no listener.
pub(super) fn follow<E: Engine>(
    reader: Reader<E>,
    question: Question,
    own: mpsc::Sender<FleetRequest>,
) -> (Follower, watch::Receiver<Option<Told>>) {
    let (told, first) = watch::channel(None);
    let has_listener = Arc::new(Notify::new());
    let (sender, listener) = (told.clone(), Arc::clone(&has_listener));
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = keep_telling(&reader, &question, &sender, &own) => {}
                () = sender.closed() => {}
            }
            let question = question.clone();
            // Without a session loop nothing is left to be told.
            if own.send(FleetRequest::Unfollow { question }).await.is_err() {
                return;
            }
            listener.notified().await;
        }
    });
    let follower = Follower {
        told,
        has_listener,
        task,
    };
    (follower, first)
}

/// Reads, tells, and waits for a change, for as long as it is polled.
async fn keep_telling<E: Engine>(
    reader: &Reader<E>,
    question: &Question,
    told: &watch::Sender<Option<Told>>,
    own: &mpsc::Sender<FleetRequest>,
) {
    let mut watches = Watches(BTreeMap::new());
    let (mut failures, mut rng) = (0, fastrand::Rng::new());
    loop {
        let changed = match reader.read(question).await {
            Ok(view) => {
                let (prefixes, from) = (
                    view::prefixes(&reader.keys, question, &view),
                    view.revision + 1,
                );
                told.send_replace(Some(fresh(view)));
                watches.change(&reader.engine, &prefixes, from).await
            }
            Err(error) => Err(error),
        };
        if changed.is_ok() {
            failures = 0;
            continue;
        }
        let last = told.borrow().clone().filter(|told| told.is_fresh);
        if let Some(last) = last {
            let (question, view) = (question.clone(), Arc::clone(&last.view));
            // Kept first: listeners ask for it as soon as they hear that it is not fresh.
            if own
                .send(FleetRequest::Keep { question, view })
                .await
                .is_err()
            {
                return;
            }
            told.send_replace(Some(Told {
                is_fresh: false,
                ..last
            }));
        }
        // Followers of one name fail together where the engine is overrun by them, and must not return together.
        let pause = pause_after(failures, LONGEST_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
        failures += 1;
    }
}

fn fresh(view: FleetView) -> Told {
    Told {
        view: Arc::new(view),
        is_fresh: true,
        age: Duration::ZERO,
    }
}

/// Watches of a question, by prefix.
struct Watches<E: Engine>(BTreeMap<String, E::Watch>);

impl<E: Engine> Watches<E> {
    /// Waits for news of any of these prefixes from a revision on. Being behind is news: the caller reads again. A
    /// watch stays for the next time unless it is behind or fails: where many hosts follow one name, new ones cost
    /// etcd more than the reading.
    async fn change(&mut self, engine: &E, prefixes: &[String], from: u64) -> Answer<()> {
        self.0.retain(|prefix, _| prefixes.contains(prefix));
        for prefix in prefixes {
            if !self.0.contains_key(prefix) {
                let watch = engine.watch(prefix, from).await?;
                self.0.insert(prefix.clone(), watch);
            }
        }
        let watching = self
            .0
            .iter_mut()
            .map(|(prefix, watch)| async move { (prefix.clone(), later(watch, from).await) });
        let mut news: FuturesUnordered<_> = watching.collect();
        let Some((prefix, first)) = news.next().await else {
            return std::future::pending().await;
        };
        drop(news);
        if !matches!(first, Ok(News::Changed { .. })) {
            self.0.remove(&prefix);
        }
        first.map(drop)
    }
}

/// Waits for news that a reading of the revision before `from` does not have.
async fn later(watch: &mut impl Watch, from: u64) -> Answer<News> {
    loop {
        match watch.next().await {
            Ok(News::Changed { revision }) if revision < from => {}
            news => return news,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;
    use crate::fleet::shaky::poll_once;
    use crate::host::clock::Clock;

    #[tokio::test]
    async fn watch_behind_a_compaction_is_news_and_a_dead_engine_a_failure() {
        let engine = Memory::new(Clock::manual());
        engine.put("/f/a", "1");
        engine.compact();
        let mut watches = Watches(BTreeMap::new());
        let prefixes = ["/f/".to_owned()];
        assert_eq!(watches.change(&engine, &prefixes, 1).await, Ok(()));
        engine.set_away(true);
        assert!(watches.change(&engine, &prefixes, 2).await.is_err());
    }

    #[tokio::test]
    async fn watches_stay_and_tell_no_change_that_was_read() {
        let engine = Memory::new(Clock::manual());
        let mut watches = Watches(BTreeMap::new());
        let prefixes = ["/f/".to_owned()];
        let session = || engine.session(Duration::from_secs(30));
        engine.put("/f/a", "1");
        assert_eq!(watches.change(&engine, &prefixes, 1).await, Ok(()));
        engine.put("/f/a", "2");
        engine.put("/f/a", "3");
        // A new watch from here would be behind.
        engine.compact();
        session().await.unwrap();
        {
            let mut waiting = Box::pin(watches.change(&engine, &prefixes, 4));
            assert_eq!(poll_once(&mut waiting), None, "both changes were read");
            let mut waiting = Box::pin(watches_of_nothing(&engine));
            assert_eq!(poll_once(&mut waiting), None, "nothing is watched");
        }
        let mut waiting = Box::pin(watches.change(&engine, &prefixes, 3));
        assert_eq!(poll_once(&mut waiting), None, "the watch is that of before");
        engine.put("/f/a", "4");
        session().await.unwrap();
        assert_eq!(poll_once(&mut waiting), Some(Ok(())));
    }

    async fn watches_of_nothing(engine: &Memory) -> Answer<()> {
        Watches(BTreeMap::new()).change(engine, &[], 1).await
    }
}
