//! A minimal OTLP collector: it takes all requests and accepts or refuses them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;

/// One request: its head in small letters, and its body as it came.
#[derive(Debug)]
pub struct Post {
    pub head: String,
    pub body: Vec<u8>,
}

impl Post {
    /// The spans by resource; the body must not be compressed.
    pub fn resources(&self) -> Vec<ResourceSpans> {
        let export = ExportTraceServiceRequest::decode(&*self.body).unwrap();
        export.resource_spans
    }

    pub fn spans(&self) -> Vec<Span> {
        let scopes = self.resources().into_iter();
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

/// Starts a receiver; returns its address and its requests.
pub fn receiver() -> (String, Receiver<Post>) {
    let (sender, posts) = channel();
    let url = serve(move |post| {
        drop(sender.send(post));
        ACCEPTED
    });
    (url, posts)
}

/// Starts a receiver; returns its address and its spans.
pub fn collector() -> (String, Receiver<Span>) {
    let (sender, spans) = channel();
    let url = serve(move |post| {
        for span in post.spans() {
            let _ = sender.send(span);
        }
        ACCEPTED
    });
    (url, spans)
}

/// A receiver that refuses requests (500) while the switch is off.
pub fn collector_with_a_switch() -> (String, Arc<AtomicBool>, Receiver<Span>) {
    let (sender, spans) = channel();
    let switch = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&switch);
    let url = serve(move |post| {
        let works = works.load(Ordering::Relaxed);
        let spans = post.spans().into_iter().filter(|_| works);
        spans.for_each(|span| drop(sender.send(span)));
        if works {
            ACCEPTED
        } else {
            ("500 No", Vec::new())
        }
    });
    (url, switch, spans)
}

/// Starts a receiver that accepts each batch but one span; returns its address.
pub fn collector_that_rejects_one() -> String {
    let response = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "one is enough".to_owned(),
        }),
    };
    serve(move |_| ("200 OK", response.encode_to_vec()))
}

/// Status and body of an answer.
type Response = (&'static str, Vec<u8>);

const ACCEPTED: Response = ("200 OK", Vec::new());

/// Serves each connection on a thread of its own: a client may keep one open and use another.
fn serve(take: impl Fn(Post) -> Response + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let take = take.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some(post) = posted(&mut reader) {
                    let (status, body) = take(post);
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
                    let answer = [head.as_bytes(), &body].concat();
                    if reader.get_mut().write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// The next request on this connection.
fn posted(reader: &mut impl BufRead) -> Option<Post> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(Some(0), |value| value.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Post { head, body })
}
