//! Tests of the connections to a real etcd: watches that share a stream.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::connect::connect;
use super::crowd::server::Server;
use super::crowd::settings;
use super::engine::{Answer, Engine, News, Step, Watch};
use super::etcd::Etcd;
use super::shaky::poll_once;

const LONG: Duration = Duration::from_secs(20);

/// A session.
const TTL: Duration = Duration::from_mins(1);

async fn of(server: &Server) -> Etcd {
    let home = TempDir::new().unwrap();
    connect(&settings(server, TTL, &home)).await.unwrap()
}

async fn put(etcd: &Etcd, key: &str) {
    let put = Step::Put {
        key: key.to_owned(),
        value: "1".into(),
        session: None,
    };
    etcd.commit(Vec::new(), vec![put]).await.unwrap();
}

async fn next(watch: &mut impl Watch) -> Answer<News> {
    timeout(LONG, watch.next()).await.expect("news come")
}

async fn revision(etcd: &Etcd) -> u64 {
    etcd.list("/f/", None, 1).await.unwrap().revision
}

/// Waits until this number of streams is open.
async fn streams(server: &Server, count: f64) {
    let reached = timeout(LONG, async {
        loop {
            let open = server.read().await.unwrap().streams;
            if (open - count).abs() < f64::EPSILON {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let open = || server.read();
    assert!(reached.await.is_ok(), "{:?}", open().await);
}

#[tokio::test]
async fn watches_share_a_stream_that_ends_with_the_last_of_them() {
    let Some(server) = Server::start("watches_share_a_stream", true).await else {
        return;
    };
    let etcd = of(&server).await;
    let mut first = etcd.watch("/f/a/", 1).await.unwrap();
    let mut second = etcd.watch("/f/b/", 1).await.unwrap();
    streams(&server, 1.0).await;
    put(&etcd, "/f/a/1").await;
    let at = revision(&etcd).await;
    assert_eq!(next(&mut first).await, Ok(News::Changed { revision: at }));
    assert_eq!(poll_once(&mut Box::pin(second.next())), None);
    put(&etcd, "/f/b/1").await;
    assert_eq!(
        next(&mut second).await,
        Ok(News::Changed { revision: at + 1 })
    );
    drop(first);
    put(&etcd, "/f/b/2").await;
    assert!(matches!(next(&mut second).await, Ok(News::Changed { .. })));
    drop(second);
    streams(&server, 0.0).await;
    let mut third = etcd.watch("/f/a/", 1).await.unwrap();
    assert!(matches!(next(&mut third).await, Ok(News::Changed { .. })));
}

#[tokio::test]
async fn watch_of_what_was_compacted_is_behind_and_the_others_go_on() {
    let Some(mut server) = Server::start("watch_of_what_was_compacted", false).await else {
        return;
    };
    let etcd = of(&server).await;
    put(&etcd, "/f/a/1").await;
    put(&etcd, "/f/a/2").await;
    let now = revision(&etcd).await;
    let mut other = etcd.watch("/f/b/", now + 1).await.unwrap();
    server.compact(now);
    let mut behind = etcd.watch("/f/a/", 1).await.unwrap();
    assert_eq!(next(&mut behind).await, Ok(News::Behind));
    put(&etcd, "/f/b/1").await;
    assert!(matches!(next(&mut other).await, Ok(News::Changed { .. })));
    server.kill();
    assert!(next(&mut other).await.is_err(), "the stream ended");
    server.start_again().await;
    let mut again = loop {
        if let Ok(watch) = etcd.watch("/f/b/", now + 1).await {
            break watch;
        }
    };
    assert!(matches!(next(&mut again).await, Ok(News::Changed { .. })));
}
