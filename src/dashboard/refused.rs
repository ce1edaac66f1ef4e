//! What is refused before a page could answer, as a page: no login, no such address, not with this
//! method. A browser that opens a page shows JSON to nobody's use; every other client gets JSON.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest};
use askama::Template;

use super::errors::ErrorPage;
use super::frame::Frame;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};

/// Where programs ask, whatever they say that they accept.
const FOR_PROGRAMS: [&str; 4] = ["/api/", "/metrics", "/livez", "/readyz"];

/// The middleware: puts errors into the console's frame for who reads pages.
pub async fn as_page<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let answer = next.call(request).await?;
    let problem = answer.response().extensions().get::<Problem>().cloned();
    let Some(page) = problem.and_then(|problem| page(answer.request(), &problem)) else {
        return Ok(answer.map_into_left_body());
    };
    Ok(answer.map_body(|head, _| {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        head.headers.insert(header::CONTENT_TYPE, html);
        actix_web::body::EitherBody::right(page)
    }))
}

/// The page of a problem; none for who is better served by JSON.
fn page(request: &HttpRequest, problem: &Problem) -> Option<String> {
    let of_program = FOR_PROGRAMS.iter().any(|at| request.path().starts_with(at));
    if of_program || !reads_pages(request.headers()) {
        return None;
    }
    let viewer = request.extensions().get::<Viewer>().cloned();
    let mut frame = Frame::default();
    if let Some(viewer) = viewer {
        frame = Frame::of(request, &viewer);
    }
    let page = ErrorPage::of_problem(problem).framed(frame, home(request, problem));
    page.render()
        .inspect_err(|error| tracing::error!(%error, "the page of an error cannot be rendered"))
        .ok()
}

/// Where the overview is: under another name the console answers nothing.
fn home(request: &HttpRequest, problem: &Problem) -> Option<String> {
    let face = request.app_data::<Data<AppState>>();
    let lost = problem.code == Code::MisdirectedHost.as_str();
    face.and_then(|face| face.console.get().cloned())
        .filter(|_| lost)
}

/// Whether a client asks for HTML by name, as browsers do for a page and for nothing else.
fn reads_pages(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT);
    let kinds = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    kinds
        .filter_map(|kind| kind.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_html_reads_pages() {
        let reads = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            reads_pages(&headers)
        };
        assert!(reads("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"));
        assert!(reads("application/json, Text/HTML;q=0.5"));
        assert!(!reads("*/*") && !reads("application/json") && !reads("text/htmlx"));
        assert!(!reads_pages(&HeaderMap::new()));
    }
}
