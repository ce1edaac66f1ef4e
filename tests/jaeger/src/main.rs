//! `jaeger-pages GRPC_PORT PAGES_PORT UI_CONFIG`: takes spans over OTLP/gRPC and shows them in
//! Jaeger's pages, with this configuration of the pages.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use otlp_embedded::{Config, State, TraceServiceImpl, TraceServiceServer, ui_app};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const MOST_TRACES: u32 = 1000;
const MOST_BYTES: usize = 1 << 26;

/// What stands in the page where Jaeger's query service puts the configuration in.
const CONFIG_PLACE: &str = "JAEGER_CONFIG = DEFAULT_CONFIG";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [grpc, pages, config] = &arguments[..] else {
        return Err("usage: jaeger-pages GRPC_PORT PAGES_PORT UI_CONFIG".into());
    };
    let config = std::fs::read_to_string(config)?;
    let state = State::new(Config {
        max_length: MOST_TRACES,
        max_memory_usage: MOST_BYTES,
    });
    let app = ui_app(state.clone(), "/").layer(from_fn(move |request, next| {
        configured(config.clone(), request, next)
    }));
    let listener = TcpListener::bind(("127.0.0.1", pages.parse()?)).await?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    let service = TraceServiceServer::new(TraceServiceImpl::new(state));
    tonic::transport::Server::builder()
        .add_service(service.accept_compressed(tonic::codec::CompressionEncoding::Gzip))
        .serve(format!("127.0.0.1:{grpc}").parse()?)
        .await?;
    Ok(())
}

/// The one page of the application with its configuration; anything else as it is.
async fn configured(config: String, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let is_page = answer
        .headers()
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return answer;
    }
    let Ok(body) = axum::body::to_bytes(answer.into_body(), MOST_BYTES).await else {
        return "the page could not be read".into_response();
    };
    let page = String::from_utf8_lossy(&body);
    Html(page.replace(CONFIG_PLACE, &format!("JAEGER_CONFIG = {config}"))).into_response()
}
