//! `/api/v1/events`: a live stream of events (server-sent events, WHATWG HTML 9.2).

use std::time::Duration;

use actix_web::web::{Bytes, Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::AppState;
use crate::access::Viewer;
use crate::domain::event::{Event, EventKind, LATEST_EVENT};
use crate::engine::journal::Journal;

/// Interval of comments, so that proxies and browsers keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Begin of a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// Id of the last event that the client knows.
    after: Option<String>,
    /// Kind of the only events that are wanted.
    kind: Option<EventKind>,
}

/// The id of the latest event: a stream after it has every event from now on.
pub fn latest_id(journal: &Journal) -> String {
    id(journal.run(), journal.last())
}

/// Streams the events after the one in `Last-Event-ID` or `after`. The header wins: a browser that
/// reconnects uses the old address, but has heard more events.
pub async fn stream(
    face: Data<AppState>,
    viewer: Viewer,
    beginning: Query<Beginning>,
    request: HttpRequest,
) -> HttpResponse {
    let last = request.headers().get("last-event-id");
    let last = last.map(|value| value.to_str().unwrap_or_default());
    let last = last.or(beginning.after.as_deref());
    let run = face.service.journal().run();
    // An id of an earlier run is unknown, though its number may exist in this run too.
    let known = last.map(|id| number(id, run).unwrap_or(u64::MAX));
    let since = face.service.journal().since(known.unwrap_or(u64::MAX));
    let latest = id(run, since.last);
    // Events that are no longer kept, or an id of an earlier run: the client should reload.
    let gap = last.is_some() && since.gap;
    let missed = gap.then_some(Told::Gap).into_iter();
    let missed = stream::iter(missed.chain(since.missed.into_iter().map(Told::Event)));
    let mut closed = face.service.journal().closed();
    let end = async move { drop(closed.wait_for(|closed| *closed).await) };
    let told = missed
        .chain(following(since.live))
        .take_until(Box::pin(end));
    let wanted = beginning.kind;
    let is_wanted = move |event: &Event| wanted.is_none_or(|kind| kind == event.kind);
    let frames = told.filter_map(move |told| {
        let frame = match told {
            Told::Event(event) if !is_wanted(&event) => None,
            Told::Event(event) => event
                .shown(|uid| viewer.sees(uid))
                .and_then(|event| frame(run, &event)),
            Told::Gap => Some("event: resync\ndata: {}\n\n".to_owned()),
            Told::Heartbeat => Some(": alive\n\n".to_owned()),
        };
        std::future::ready(frame.map(|frame| Ok::<_, actix_web::Error>(Bytes::from(frame))))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((LATEST_EVENT, latest))
        .streaming(Box::pin(frames))
}

enum Told {
    Event(Event),
    /// The client was too slow; it should reload.
    Gap,
    Heartbeat,
}

fn following(live: Receiver<Event>) -> impl Stream<Item = Told> {
    // Beats beside other events too: hidden ones must not keep the connection silent.
    let beats = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    stream::unfold((live, beats), |(mut live, mut beats)| async move {
        let told = tokio::select! {
            _ = beats.tick() => Told::Heartbeat,
            heard = live.recv() => match heard {
                Ok(event) => Told::Event(event),
                Err(RecvError::Lagged(_)) => Told::Gap,
                Err(RecvError::Closed) => return None,
            },
        };
        Some((told, (live, beats)))
    })
}

/// The number in an event's id, if it is of this run.
fn number(id: &str, run: i64) -> Option<u64> {
    let (of, number) = id.split_once('-')?;
    (of == run.to_string()).then(|| number.parse().ok())?
}

/// The id of an event of a run.
fn id(run: i64, number: u64) -> String {
    format!("{run}-{number}")
}

fn frame(run: i64, event: &Event) -> Option<String> {
    let data = serde_json::to_string(event).ok()?;
    let kind = event.kind.as_str();
    let id = id(run, event.seq);
    Some(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"))
}
