//! Admission to the exporter's queue: it admits as many spans as fit, and counts those that do not.
//!
//! The SDK drops spans when its queue is full and reports their number only at its end. So this
//! admits no more than the queue takes; ending a span never blocks.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::losses::{QUEUE_FULL, lose};
use super::uplink::Uplink;

/// The way into the queue.
#[derive(Debug)]
pub(super) struct Admission<P> {
    queue: P,
    uplink: Uplink,
}

impl<P> Admission<P> {
    /// Admits spans to `queue`, whose other end is a [`Reporting`](super::report::Reporting) of the same
    /// uplink.
    pub(super) const fn new(queue: P, uplink: Uplink) -> Self {
        Self { queue, uplink }
    }
}

impl<P: SpanProcessor> SpanProcessor for Admission<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        if opentelemetry::trace::Span::span_context(span).is_sampled() {
            self.uplink.begun();
        }
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.uplink.enter() {
            self.queue.on_end(span);
        } else {
            lose(QUEUE_FULL, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::span;
    use super::super::testing::captured;
    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Queue(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Queue {
        fn on_start(&self, _: &mut Span, _: &Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn spans_beyond_the_room_are_dropped_until_some_leave() {
        let spans = captured(|| (0..4).for_each(|_| drop(span::allocate("default"))));
        let (queue, uplink) = (Queue::default(), Uplink::new(2));
        let door = Admission::new(queue.clone(), uplink.clone());
        let length = || queue.0.lock().unwrap().len();
        spans
            .iter()
            .take(3)
            .for_each(|span| door.on_end(span.clone()));
        assert_eq!(length(), 2);
        let batch = queue.0.lock().unwrap().split_off(1);
        uplink.left(batch.len());
        for span in &spans {
            door.on_end(span.clone());
        }
        assert_eq!(length(), 2);
    }
}
