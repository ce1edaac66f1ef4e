//! Watches of one connection to etcd. They share a stream: one more stream costs etcd about 90 KB of memory over TLS, one
//! more watch on it a few hundred bytes.
//!
//! A task has the stream. It opens with the first watch, and ends with the last one, or with a failure, which every
//! watch is told. etcd answers the requests of a stream for watches in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use etcd_client::{Client, Error, WatchOptions, WatchRequestSender, WatchResponse};
use etcd_client::{WatchResponseStream, WatchStream};
use tokio::sync::{Mutex, mpsc, watch};

use super::engine::{Answer, EngineError, News, Watch};
use super::etcd_error::told;

/// The watches of a connection.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<Slot>);

#[derive(Default)]
struct Slot {
    /// Way to the task that has the stream. `None` before the first watch; a closed one is that of a stream that
    /// has ended.
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    /// Number of watches so far.
    count: AtomicU64,
}

enum Order {
    Begin(Asked),
    /// The watch of this number has been dropped.
    End(u64),
}

/// A watch that etcd is asked for.
struct Asked {
    number: u64,
    prefix: String,
    options: WatchOptions,
    heard: watch::Sender<Heard>,
}

/// News of a watch that are to be told.
#[derive(Clone, Default)]
struct Heard {
    has_begun: bool,
    /// Number of news so far.
    news: u64,
    /// Revision of the last one.
    revision: u64,
    /// Last news, behind which nothing comes.
    last: Option<Answer<News>>,
}

/// A watch of etcd.
pub struct EtcdWatch {
    heard: watch::Receiver<Heard>,
    /// Number of news that were told.
    told: u64,
    /// Dropped last: tells the task.
    _end: End,
}

struct End {
    number: u64,
    orders: mpsc::UnboundedSender<Order>,
}

impl Drop for End {
    fn drop(&mut self) {
        // A task that has ended has no stream any more.
        let _ = self.orders.send(Order::End(self.number));
    }
}

impl Watches {
    /// Watches keys that begin with `prefix`, from a revision on, over the stream that is there or a new one.
    pub(super) async fn watch(
        &self,
        client: Client,
        prefix: &str,
        from: u64,
    ) -> Result<EtcdWatch, Error> {
        let (heard, mut receiver) = watch::channel(Heard::default());
        let asked = Asked {
            number: self.0.count.fetch_add(1, Ordering::Relaxed),
            prefix: prefix.to_owned(),
            options: WatchOptions::new()
                .with_prefix()
                .with_start_revision(from.cast_signed()),
            heard,
        };
        let number = asked.number;
        let orders = self.order(client, asked).await?;
        let watch = EtcdWatch {
            heard: receiver.clone(),
            told: 0,
            _end: End { number, orders },
        };
        let has_begun = |heard: &Heard| heard.has_begun || heard.last.is_some();
        match receiver.wait_for(has_begun).await {
            Ok(_) => Ok(watch),
            Err(_) => Err(ended()),
        }
    }

    /// Gives a watch to the task that is there, or to a new one.
    async fn order(
        &self,
        client: Client,
        asked: Asked,
    ) -> Result<mpsc::UnboundedSender<Order>, Error> {
        let mut slot = self.0.orders.lock().await;
        let mut asked = asked;
        if let Some(orders) = slot.as_ref() {
            match orders.send(Order::Begin(asked)) {
                Ok(()) => return Ok(orders.clone()),
                Err(mpsc::error::SendError(Order::Begin(back))) => asked = back,
                // It is the order that was sent, and that begins a watch.
                Err(mpsc::error::SendError(Order::End(_))) => return Err(ended()),
            }
        }
        let options = Some(asked.options.clone());
        let mut client = client.watch_client();
        let stream = client.watch(asked.prefix.as_str(), options).await?;
        let (sender, stream) = WatchStream::split(stream);
        let (orders, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            slot: Arc::clone(&self.0),
            orders: receiver,
            sender,
            stream,
            asked: VecDeque::from([asked]),
            watches: BTreeMap::new(),
        };
        tokio::spawn(shared.serve());
        *slot = Some(orders.clone());
        Ok(orders)
    }
}

fn ended() -> Error {
    Error::WatchError("the stream of watches ended".to_owned())
}

/// A stream with its watches.
struct Shared {
    slot: Arc<Slot>,
    orders: mpsc::UnboundedReceiver<Order>,
    sender: WatchRequestSender,
    stream: WatchResponseStream,
    /// Watches that etcd was asked for, in their order.
    asked: VecDeque<Asked>,
    /// Watches by etcd's number.
    watches: BTreeMap<i64, Asked>,
}

impl Shared {
    /// Tells news until no watch is left, or the stream fails.
    async fn serve(mut self) {
        let error = loop {
            let done = tokio::select! {
                Some(order) = self.orders.recv() => self.follow(order).await,
                message = self.stream.message() => match message {
                    Ok(Some(message)) => self.hear(&message).await,
                    Ok(None) => Err(ended()),
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) if self.is_over().await => return,
                Ok(()) => {}
                Err(error) => break told(&error),
            }
        };
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Begin(asked) = order {
                self.asked.push_back(asked);
            }
        }
        let all = self.asked.into_iter().chain(self.watches.into_values());
        all.for_each(|one| one.end(Err(error.clone())));
    }

    /// Whether no watch is left. The next one opens another stream then.
    async fn is_over(&mut self) -> bool {
        if !(self.asked.is_empty() && self.watches.is_empty()) {
            return false;
        }
        let slot = Arc::clone(&self.slot);
        // Watches are begun under this lock.
        let mut orders = slot.orders.lock().await;
        if !self.orders.is_empty() {
            return false;
        }
        *orders = None;
        true
    }

    async fn follow(&mut self, order: Order) -> Result<(), Error> {
        match order {
            Order::Begin(asked) => {
                let options = Some(asked.options.clone());
                let prefix = asked.prefix.clone();
                self.asked.push_back(asked);
                self.sender.watch(prefix, options).await
            }
            Order::End(number) => {
                let mut watches = self.watches.iter();
                let ended = watches.find(|(_, one)| one.number == number);
                match ended.map(|(id, _)| *id) {
                    Some(id) => self.cancel(id).await,
                    // One that is asked for is ended once it has begun.
                    None => Ok(()),
                }
            }
        }
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Error> {
        self.watches.remove(&id);
        self.sender.cancel(id).await
    }

    async fn hear(&mut self, message: &WatchResponse) -> Result<(), Error> {
        let id = message.watch_id();
        if message.created() {
            let Some(asked) = self.asked.pop_front() else {
                return Ok(());
            };
            if message.canceled() {
                asked.end(Ok(News::Behind));
                return Ok(());
            }
            let is_dropped = asked.heard.is_closed();
            asked.heard.send_modify(|heard| heard.has_begun = true);
            self.watches.insert(id, asked);
            return if is_dropped {
                self.cancel(id).await
            } else {
                Ok(())
            };
        }
        if message.canceled() {
            // Changes were missed, as after a compaction.
            if let Some(one) = self.watches.remove(&id) {
                one.end(Ok(News::Behind));
            }
        } else if let (false, Some(one)) = (message.events().is_empty(), self.watches.get(&id)) {
            let header = message.header();
            let revision = header.map_or(0, |header| header.revision().unsigned_abs());
            one.heard.send_modify(|heard| {
                heard.news += 1;
                heard.revision = revision;
            });
        }
        Ok(())
    }
}

impl Asked {
    fn end(self, last: Answer<News>) {
        self.heard.send_modify(|heard| heard.last = Some(last));
    }
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Answer<News> {
        loop {
            let heard = self.heard.borrow_and_update().clone();
            if let Some(last) = heard.last {
                return last;
            }
            if heard.news > self.told {
                self.told = heard.news;
                let revision = heard.revision;
                return Ok(News::Changed { revision });
            }
            if self.heard.changed().await.is_err() {
                return Err(EngineError::Away("the watch ended".into()));
            }
        }
    }
}
