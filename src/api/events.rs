//! `/api/v1/events`: what happens, as it happens (server-sent events, WHATWG HTML 9.2).

use std::time::Duration;

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Face;
use crate::access::Viewer;
use crate::domain::event::Event;

/// A comment so often, so that proxies and browsers keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Streams events, after those that `Last-Event-ID` says were missed.
pub async fn stream(face: Data<Face>, viewer: Viewer, request: HttpRequest) -> HttpResponse {
    let last = request.headers().get("last-event-id");
    let last: Option<u64> = last.and_then(|value| value.to_str().ok()?.parse().ok());
    let (missed, live) = face.service.journal().since(last.unwrap_or(u64::MAX));
    let missed = stream::iter(missed.into_iter().map(Told::Event));
    let mut closed = face.service.journal().closed();
    let end = async move { drop(closed.wait_for(|closed| *closed).await) };
    let told = missed.chain(following(live)).take_until(Box::pin(end));
    let frames = told.filter_map(move |told| {
        let frame = match told {
            Told::Event(event) if event.uid.is_none_or(|uid| viewer.sees(uid)) => frame(&event),
            Told::Event(_) => None,
            Told::Gap => Some("event: resync\ndata: {}\n\n".to_owned()),
            Told::Heartbeat => Some(": alive\n\n".to_owned()),
        };
        std::future::ready(frame.map(|frame| Ok::<_, actix_web::Error>(Bytes::from(frame))))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(Box::pin(frames))
}

enum Told {
    Event(Event),
    /// The listener was too slow; it should load anew.
    Gap,
    Heartbeat,
}

fn following(live: Receiver<Event>) -> impl Stream<Item = Told> {
    stream::unfold(live, |mut live| async move {
        let told = match tokio::time::timeout(HEARTBEAT, live.recv()).await {
            Ok(Ok(event)) => Told::Event(event),
            Ok(Err(RecvError::Lagged(_))) => Told::Gap,
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => Told::Heartbeat,
        };
        Some((told, live))
    })
}

fn frame(event: &Event) -> Option<String> {
    let data = serde_json::to_string(event).ok()?;
    let kind = event.kind.as_str();
    Some(format!(
        "id: {}\nevent: {kind}\ndata: {data}\n\n",
        event.seq
    ))
}
