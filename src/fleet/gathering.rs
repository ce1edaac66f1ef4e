//! Gathering: requests for claims that come at once share one commit.
//!
//! A commit of an engine costs nearly the same whatever is in it, since its members write and answer each one.
//! Clients that were answered together ask together again, a moment apart. The first of them would have a
//! commit of its own, and the others would wait for its end.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Maximum number of requests that are taken at once.
const MOST_AT_ONCE: usize = 64;

/// Longest wait for requests that are expected: a part of the time that a commit takes.
const LINGER: Duration = Duration::from_millis(1);

/// The queue of requests.
pub(super) struct Gathering<T> {
    requests: Receiver<T>,
    /// Number of requests that came last.
    last: usize,
}

impl<T> Gathering<T> {
    pub(super) const fn new(requests: Receiver<T>) -> Self {
        Self { requests, last: 0 }
    }

    /// Waits for a request, and then for a moment until as many have come as the last time beside those that
    /// wait already. Returns none once there are no more.
    pub(super) async fn next(&mut self) -> Vec<T> {
        self.next_within(LINGER).await
    }

    async fn next_within(&mut self, linger: Duration) -> Vec<T> {
        let mut gathered = Vec::new();
        let waiting = self.requests.len();
        if self.requests.recv_many(&mut gathered, MOST_AT_ONCE).await > 0 {
            let expected = (self.last + waiting).min(MOST_AT_ONCE);
            let gathering = self.gather(&mut gathered, expected);
            // Those that were expected in vain are expected no longer.
            drop(timeout(linger, gathering).await);
        }
        self.last = gathered.len();
        gathered
    }

    async fn gather(&mut self, gathered: &mut Vec<T>, expected: usize) {
        while gathered.len() < expected {
            match self.requests.recv().await {
                Some(request) => gathered.push(request),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Sender, channel};

    use super::*;

    /// Far longer than any test.
    const FOR_EVER: Duration = Duration::from_hours(24);

    async fn send(sender: &Sender<u8>, requests: &[u8]) {
        for request in requests {
            sender.send(*request).await.unwrap();
        }
    }

    /// Returns the next ones, of which these come while they are waited for.
    async fn next_of(
        queue: &mut Gathering<u8>,
        sender: &Sender<u8>,
        requests: &[u8],
        linger: Duration,
    ) -> Vec<u8> {
        let sending = async {
            for request in requests {
                tokio::task::yield_now().await;
                sender.send(*request).await.unwrap();
            }
        };
        tokio::join!(queue.next_within(linger), sending).0
    }

    #[tokio::test]
    async fn one_alone_waits_for_no_other() {
        let (sender, requests) = channel(100);
        let mut queue = Gathering::new(requests);
        for request in [1, 2] {
            let next = next_of(&mut queue, &sender, &[request], FOR_EVER).await;
            assert_eq!(next, [request]);
        }
        drop(sender);
        assert_eq!(queue.next().await, [0; 0]);
    }

    #[tokio::test]
    async fn as_many_as_came_last_are_waited_for_and_no_longer_than_a_moment() {
        let (sender, requests) = channel(100);
        let mut queue = Gathering::new(requests);
        send(&sender, &[1, 2]).await;
        assert_eq!(queue.next().await, [1, 2]);
        let next = next_of(&mut queue, &sender, &[3, 4], FOR_EVER).await;
        assert_eq!(next, [3, 4]);
        send(&sender, &[5]).await;
        let next = next_of(&mut queue, &sender, &[6, 7], FOR_EVER).await;
        assert_eq!(next, [5, 6, 7], "one waited already");
        let next = next_of(&mut queue, &sender, &[8], LINGER).await;
        assert_eq!(next, [8], "two more were expected in vain");
        let next = next_of(&mut queue, &sender, &[9], FOR_EVER).await;
        assert_eq!(next, [9]);
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_taken_at_once() {
        let (sender, requests) = channel(100);
        let mut queue = Gathering::new(requests);
        send(&sender, &(0..100).collect::<Vec<u8>>()).await;
        assert_eq!(queue.next().await.len(), MOST_AT_ONCE);
        assert_eq!(queue.next().await.len(), 100 - MOST_AT_ONCE);
    }
}
