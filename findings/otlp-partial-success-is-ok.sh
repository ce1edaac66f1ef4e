#!/usr/bin/env bash
# opentelemetry-otlp 0.33.0 tells of a success when the collector has rejected every span.
#
# An OTLP collector may answer 200 with a body whose partial_success names the number of spans that it
# rejected and the reason (opentelemetry-proto, ExportTracePartialSuccess). The exporter does not read it
# into its result: force_flush() of a provider with a batch processor returns Ok, as if all had been taken,
# while the same call returns an error if the collector answers 400. A program that counts failed exports
# counts none, and each span is lost.
#
# Needs cargo and python3. Fails if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${collector:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

cat > collector.py <<'PYTHON'
"""Rejects every span: by a partial success, or by the status 400 below /refused."""
import http.server

# ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "no" } }
ANSWER = b"\x0a\x06\x08\x01\x12\x02no"


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(400 if self.path.startswith("/refused") else 200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)
        print(self.path, flush=True)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
mkfifo said
python3 collector.py > said & collector=$!
exec 3< said
read -r port <&3

cargo init --quiet --name sender program
cd program
cargo add --quiet opentelemetry@=0.33.0
cargo add --quiet opentelemetry_sdk@=0.33.0
cargo add --quiet opentelemetry-otlp@=0.33.0 --no-default-features \
  --features http-proto,reqwest-blocking-client,trace
cat > src/main.rs <<'RUST'
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::SdkTracerProvider;

fn main() {
    let endpoint = std::env::args().nth(1).unwrap();
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build().unwrap();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    provider.tracer("finding").start("work").end();
    println!("{}", if provider.force_flush().is_ok() { "ok" } else { "error" });
}
RUST
cargo build --quiet
partial=$(cargo run --quiet -- "http://127.0.0.1:$port/v1/traces")
read -r first <&3
refused=$(cargo run --quiet -- "http://127.0.0.1:$port/refused/v1/traces")
read -r second <&3
echo "$first rejects by a partial success: force_flush says $partial"
echo "$second rejects by the status 400: force_flush says $refused"
[ "$first $partial" = "/v1/traces ok" ] && [ "$second $refused" = "/refused/v1/traces error" ]
