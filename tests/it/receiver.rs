//! An OTLP collector of one page: takes what is posted and says yes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
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

/// Its address, and the requests that come.
pub fn receiver() -> (String, Receiver<Post>) {
    let (sender, posts) = channel();
    let url = serve(move |post| drop(sender.send(post)));
    (url, posts)
}

/// Its address, and the spans that come.
pub fn collector() -> (String, Receiver<Span>) {
    let (sender, spans) = channel();
    let url = serve(move |post| {
        for span in post.spans() {
            let _ = sender.send(span);
        }
    });
    (url, spans)
}

/// Each connection on a thread of its own: a client may keep one open and use another.
fn serve(take: impl Fn(Post) + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let take = take.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some(post) = posted(&mut reader) {
                    take(post);
                    let yes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if reader.get_mut().write_all(yes.as_bytes()).is_err() {
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
