//! `/login` and `/logout`: sessions for browsers, by a one-time code or the token.

use std::sync::Arc;

use actix_web::web::{Data, Form};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::errors::PageError;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use crate::access::session::{Origin, Redeemed};
use crate::access::{ConsoleAuth, Peer, cookie, is_foreign};
use crate::api::problem::{Code, Problem};

#[derive(Debug, Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
}

/// The page that leads on after a login. Browsers withhold a SameSite=Strict cookie from all redirects
/// that follow a link of another program, so the page cannot be a redirect.
#[derive(Debug, Template)]
#[template(path = "logged_in.html")]
struct LoggedInPage {
    frame: Frame,
}

#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    token: String,
}

/// `GET /login[?code=…]`: opens a session for a code, or shows the form for the token.
pub(super) async fn show(
    request: HttpRequest,
    door: Data<Arc<ConsoleAuth>>,
    frame: Frame,
    params: Params,
) -> Result<HttpResponse, PageError> {
    let Some(code) = params.get("code") else {
        return Ok(Page(LoginPage { frame }).answer());
    };
    let origin = origin(&request)?;
    // Another local user may lead this browser here with a code of their own, to have its user act for
    // them. Pages on disk count as foreign too, and `dashboard` opens one with a code of its own user.
    let is_led = is_foreign(request.headers(), &door.extra_hosts);
    let may_become = |uid| !is_led || [0, door.uid].contains(&uid) || origin == Origin::User(uid);
    let redeemed = door.sessions.redeem(code, origin, may_become);
    let session = match redeemed.map_err(|error| no_random(&error))? {
        Redeemed::Opened(session) => session,
        Redeemed::Denied(uid) => {
            let detail = format!(
                "a page of another site leads to a login as the user with uid {uid}, as whom this browser does not run: type the address in if you mean it"
            );
            return Err(Problem::new(Code::Forbidden, detail).into());
        }
        Redeemed::Unknown => {
            let detail = "this code was used already or is older than a minute: `portbook dashboard` makes a new one";
            return Err(Problem::new(Code::Unauthorized, detail).into());
        }
    };
    // The code is used up. It is left out of the page all the same.
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

/// `POST /login`: opens a session for the token.
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

/// Address of the browser, to which its session is bound.
fn origin(request: &HttpRequest) -> Result<Origin, Problem> {
    let peer = request.conn_data::<Peer>().map(Peer::origin);
    peer.ok_or_else(|| {
        Problem::new(
            Code::Unauthorized,
            "the address of this connection is not known",
        )
    })
}

fn no_random(error: &std::io::Error) -> Problem {
    tracing::error!(%error, "could not read random numbers; the login is refused");
    Problem::new(Code::HostError, "the kernel gives no random numbers")
}
