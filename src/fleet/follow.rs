//! Followers: one for each question that local clients wait on, with one watch for each prefix that
//! matters to it. A follower ends when its last listener has gone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::engine::{Answer, Engine, Watch};
use super::reader::Reader;
use super::view;
use crate::domain::fleet::{FleetView, Question, Told};
use crate::engine::fleet::FleetRequest;

/// Pause after a failure. No event tells of the engine's return.
const PAUSE: Duration = Duration::from_secs(1);

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
                () = keep_telling(&reader, &question, &sender) => {}
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
) {
    loop {
        let changed = match reader.read(question).await {
            Ok(view) => {
                let (prefixes, from) = (
                    view::prefixes(&reader.keys, question, &view),
                    view.revision + 1,
                );
                told.send_replace(Some(fresh(view)));
                change(&reader.engine, &prefixes, from).await
            }
            Err(error) => Err(error),
        };
        if changed.is_err() {
            told.send_modify(|told| {
                if let Some(told) = told {
                    told.is_fresh = false;
                }
            });
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn fresh(view: FleetView) -> Told {
    Told {
        view: Arc::new(view),
        is_fresh: true,
        age: Duration::ZERO,
    }
}

/// Waits for news of any of these prefixes. Being behind is news: the caller reads again.
async fn change<E: Engine>(engine: &E, prefixes: &[String], from: u64) -> Answer<()> {
    let mut watches = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        watches.push(engine.watch(prefix, from).await?);
    }
    let mut news: FuturesUnordered<_> = watches.iter_mut().map(Watch::next).collect();
    match news.next().await {
        Some(news) => news.map(drop),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;
    use crate::host::clock::Clock;

    #[tokio::test]
    async fn watch_behind_a_compaction_is_news_and_a_dead_engine_a_failure() {
        let engine = Memory::new(Clock::manual());
        engine.put("/f/a", "1");
        engine.compact();
        assert_eq!(change(&engine, &["/f/".into()], 1).await, Ok(()));
        engine.set_away(true);
        assert!(change(&engine, &["/f/".into()], 2).await.is_err());
    }
}
