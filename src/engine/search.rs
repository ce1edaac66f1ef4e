//! One search for ports.

use std::sync::Arc;

use tracing::Instrument;

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::engine::{
    allocator::Found, allocator::Search, allocator::Wish, context::RequestContext, engine::Engine,
    refusal::Refusal,
};
use crate::telemetry::span;

/// The result of one search.
pub(super) struct Searched {
    pub(super) result: Result<Vec<Option<Found>>, Refusal>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) explanation: Explanation,
}

/// Searches once for the wanted ports.
pub(super) async fn search(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
) -> Searched {
    let choosing = span::choose();
    let searched = search_within(engine, asked, wishes)
        .instrument(choosing.clone())
        .await;
    span::chosen(&choosing, searched.explanation.tried.len());
    searched
}

async fn search_within(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
) -> Searched {
    let rules = engine.rules.now();
    let mut rng = engine.rng();
    let mut search = Search::new(
        asked.plan,
        &engine.leases,
        &engine.learning,
        &engine.clock,
        &rules.kernel,
        asked.caller,
    )
    .without_claimed(engine.fleet.claims());
    if asked.request.dry_run {
        search = search.without_marks();
    }
    let result = match asked.request.block.map(|block| u16::try_from(block.get())) {
        Some(Ok(length)) => {
            let block = search.find_block(length, wishes, &mut rng).await;
            block.map(|found| found.into_iter().map(Some).collect())
        }
        _ => search.find(wishes, &mut rng).await,
    };
    Searched {
        result,
        attempts: search.attempts,
        explanation: search.explanation,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crate::domain::pool::Strategy;
    use crate::domain::port::Port;
    use crate::domain::request::Request;
    use crate::engine::caller::Caller;
    use crate::engine::keeper::tests::place;

    /// Sees all processes.
    const ROOT: Caller = Caller::user(0);

    fn free_port() -> Option<Port> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Port::new(listener.local_addr().unwrap().port())
    }

    /// While the only thread for blocking work is busy, the lookup waits, and the worker goes on with
    /// other requests.
    #[test]
    fn lookup_of_an_occupant_leaves_the_worker_free() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let place = place().await;
            let occupant = TcpListener::bind("127.0.0.1:0").unwrap();
            let busy = occupant.local_addr().unwrap().port();
            let (free_thread, wait) = std::sync::mpsc::channel::<()>();
            let blocked = tokio::task::spawn_blocking(move || wait.recv());
            let (service, request) = (
                place.service.clone(),
                Request {
                    prefer: Port::new(busy),
                    ..Request::default()
                },
            );
            let refused_first =
                tokio::spawn(async move { service.allocate(&ROOT, &request).await });
            // A port of its own: one that another test has would wait for a lookup as well.
            let other = Request {
                port: free_port(),
                ..Request::default()
            };
            let other = place.service.allocate(&ROOT, &other).await;
            assert_eq!(other.unwrap().conflicts, []);
            assert!(!refused_first.is_finished(), "its lookup did not wait");
            free_thread.send(()).unwrap();
            blocked.await.unwrap().unwrap();
            let granted = refused_first.await.unwrap().unwrap();
            let occupant = granted.conflicts[0].occupant.as_ref();
            assert_eq!(
                occupant.and_then(|found| found.pid),
                Some(std::process::id())
            );
        });
    }

    /// The port stays reserved during the lookup, and cools down afterwards.
    #[test]
    fn port_whose_occupant_is_looked_up_is_not_tried_by_another_request() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let place = place().await;
            let occupant = TcpListener::bind("127.0.0.1:0").unwrap();
            let busy = Port::new(occupant.local_addr().unwrap().port());
            let (free_thread, wait) = std::sync::mpsc::channel::<()>();
            let blocked = tokio::task::spawn_blocking(move || wait.recv());
            let ask = || {
                let service = place.service.clone();
                let request = Request {
                    port: busy,
                    ..Request::default()
                };
                tokio::spawn(async move { service.allocate(&ROOT, &request).await })
            };
            let (first, second) = (ask(), ask());
            // Both run until the first waits for its lookup.
            tokio::task::yield_now().await;
            free_thread.send(()).unwrap();
            blocked.await.unwrap().unwrap();
            assert_eq!(first.await.unwrap().unwrap_err().code(), "port_in_use");
            let second = second.await.unwrap().unwrap_err();
            assert_eq!(second.code(), "port_leased", "{second}");
        });
    }

    /// Other requests pass over a port while its occupant is looked up, and while it cools down.
    #[test]
    fn busy_port_is_tried_by_one_of_many_requests() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let place = place().await;
            let busy = 25_100..25_130;
            let listen = |port| TcpListener::bind(("127.0.82.1", port)).unwrap();
            let _occupants: Vec<TcpListener> = busy.clone().map(listen).collect();
            let request = Request {
                strategy: Some(Strategy::Ordered),
                ranges: Some("25100-25199".parse().unwrap()),
                interfaces: vec!["127.0.82.1".parse().unwrap()],
                ..Request::default()
            };
            let ask = |_| {
                let (service, request) = (place.service.clone(), request.clone());
                tokio::spawn(async move { service.allocate(&ROOT, &request).await })
            };
            let asked: Vec<_> = (0..12).map(ask).collect();
            let mut refused = Vec::new();
            for answer in asked {
                let granted = answer.await.unwrap().unwrap();
                refused.extend(granted.conflicts.iter().map(|it| it.port.get()));
            }
            refused.sort_unstable();
            assert!(
                refused.windows(2).all(|two| two[0] != two[1]),
                "{refused:?}"
            );
        });
    }
}
