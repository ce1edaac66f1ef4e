//! `/login` and `/logout`: how a browser gets a session, with a one-time code or the token.

use std::sync::Arc;

use actix_web::web::{Data, Form};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::errors::PageError;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use crate::access::session::Origin;
use crate::access::{ConsoleAuth, Peer, cookie};
use crate::api::problem::{Code, Problem};

/// The page that asks for the token.
#[derive(Debug, Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
}

/// The page that leads on. A redirect would not do: browsers hold a SameSite=Strict cookie back
/// from the whole chain of redirects that another program's link began.
#[derive(Debug, Template)]
#[template(path = "logged_in.html")]
struct LoggedInPage {
    frame: Frame,
}

/// The form.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    token: String,
}

/// `GET /login[?code=…]`: takes a code, or asks for the token.
pub(super) async fn show(
    request: HttpRequest,
    door: Data<Arc<ConsoleAuth>>,
    frame: Frame,
    params: Params,
) -> Result<HttpResponse, PageError> {
    let Some(code) = params.get("code") else {
        return Ok(Page(LoginPage { frame }).answer());
    };
    let session = door
        .sessions
        .redeem(code, origin(&request)?)
        .map_err(|error| no_random(&error))?;
    let Some(session) = session else {
        let detail = "this code was used already or is older than a minute: `portbook dashboard` makes a new one";
        return Err(Problem::new(Code::Unauthorized, detail).into());
    };
    // The code is worth nothing now, but it need not stay in the page either.
    let frame = Frame {
        here: "/login".into(),
        ..frame
    };
    let mut answer = Page(LoggedInPage { frame }).answer();
    cookie::set(
        answer.headers_mut(),
        &cookie::of(request.headers(), session),
    );
    Ok(answer)
}

/// `POST /login`: takes the token.
pub(super) async fn enter(
    request: HttpRequest,
    door: Data<Arc<ConsoleAuth>>,
    form: Form<Shown>,
) -> Result<HttpResponse, PageError> {
    if !door.token.is(form.token.trim()) {
        let detail = "this is not the token: `portbook token` prints it";
        return Err(Problem::new(Code::Unauthorized, detail).into());
    }
    let session = door
        .sessions
        .open(door.uid, origin(&request)?)
        .map_err(|error| no_random(&error))?;
    let mut answer = see("/?said=logged-in");
    cookie::set(
        answer.headers_mut(),
        &cookie::of(request.headers(), session),
    );
    Ok(answer)
}

/// `POST /logout`: ends the session.
pub(super) async fn leave(request: HttpRequest, door: Data<Arc<ConsoleAuth>>) -> HttpResponse {
    if let Some(session) = cookie::session(request.headers()) {
        door.sessions.close(session);
    }
    let mut answer = see("/?said=logged-out");
    let gone = cookie::of(request.headers(), String::new());
    cookie::set(answer.headers_mut(), &gone);
    answer
}

/// Where the browser is, which the session is bound to.
fn origin(request: &HttpRequest) -> Result<Origin, Problem> {
    let peer = request.conn_data::<Peer>().map(Peer::origin);
    peer.ok_or_else(|| Problem::new(Code::Unauthorized, "nobody knows where you come from"))
}

fn no_random(error: &std::io::Error) -> Problem {
    tracing::error!(%error, "no random numbers are to be had");
    Problem::new(Code::HostError, "the kernel gives no random numbers")
}
