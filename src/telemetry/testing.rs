//! Helpers of the tests of telemetry: a collector of a few lines, spans kept in memory, a log sink.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver as Channel};
use std::sync::{Arc, Mutex};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::uplink::Uplink;
use super::{Options, trace};

/// A request to the collector.
pub(super) struct Post {
    pub(super) request_line: String,
    pub(super) body: Vec<u8>,
}

impl Post {
    /// Whether the body contains a text: protobuf keeps texts unchanged.
    pub(super) fn has(&self, text: &str) -> bool {
        self.body
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes())
    }
}

/// A collector on a free port of loopback that accepts everything.
pub(super) struct Receiver {
    pub(super) url: String,
    pub(super) posts: Channel<Post>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, posts) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = sender.send(answer(&stream.unwrap()));
            }
        });
        Self { url, posts }
    }
}

fn answer(mut stream: &TcpStream) -> Post {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    Post {
        request_line: head.swap_remove(0),
        body,
    }
}

/// Options for exporting spans to a receiver.
pub(super) fn exporting_to(receiver: &Receiver) -> Options {
    Options {
        endpoint: Some(receiver.url.clone()),
        ..Options::default()
    }
}

/// Runs `act`, and returns the spans that ended, in order.
pub(super) fn captured(act: impl FnOnce()) -> Vec<SpanData> {
    captured_with(Sampler::AlwaysOn, act)
}

/// Captures spans with another sampler.
pub(super) fn captured_with(sampler: Sampler, act: impl FnOnce()) -> Vec<SpanData> {
    captured_over(Uplink::new(usize::MAX), sampler, act)
}

/// Captures spans over an uplink that may not work.
pub(super) fn captured_over(uplink: Uplink, sampler: Sampler, act: impl FnOnce()) -> Vec<SpanData> {
    let (memory, provider) = remembering(sampler);
    let subscriber = tracing_subscriber::registry().with(trace::layer(&provider, uplink));
    tracing::subscriber::with_default(subscriber, act);
    let mut spans = memory.0.lock().unwrap();
    std::mem::take(&mut *spans)
}

fn remembering(sampler: Sampler) -> (Memory, SdkTracerProvider) {
    let memory = Memory::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(memory.clone())
        .with_sampler(sampler)
        .build();
    (memory, provider)
}

/// Captures spans beside a layer that writes log lines.
pub(super) fn captured_beside(
    log: Box<dyn Layer<Registry> + Send + Sync>,
    act: impl FnOnce(),
) -> Vec<SpanData> {
    let (memory, provider) = remembering(Sampler::AlwaysOn);
    let subscriber = tracing_subscriber::registry().with(log);
    let subscriber = subscriber.with(trace::layer(&provider, Uplink::new(usize::MAX)));
    tracing::subscriber::with_default(subscriber, act);
    let mut spans = memory.0.lock().unwrap();
    std::mem::take(&mut *spans)
}

#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Memory {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Collects the log lines of a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
