//! Errors from outside the pages, such as a missing login, as pages. Browsers that open a page get
//! HTML, every other client gets JSON.

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

/// Addresses for programs, which get JSON whether they accept HTML or not.
const FOR_PROGRAMS: [&str; 4] = ["/api/", "/metrics", "/livez", "/readyz"];

/// The middleware: renders the errors of browsers as pages in the reader's own frame.
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

/// The page of a problem. `None` for clients that get JSON.
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
        .inspect_err(|error| tracing::error!(%error, "could not render the page of an error; the client gets JSON"))
        .ok()
}

/// The console's own address, for a reader who came by another host name: the console answers none of
/// the pages there.
fn home(request: &HttpRequest, problem: &Problem) -> Option<String> {
    let face = request.app_data::<Data<AppState>>();
    let lost = problem.code == Code::MisdirectedHost.as_str();
    face.and_then(|face| face.console.get().cloned())
        .filter(|_| lost)
}

/// Whether a client names HTML among the types it accepts, as browsers do for pages only.
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
    fn only_clients_that_name_html_get_pages() {
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
