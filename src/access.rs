//! Access checks before every handler: peer, Host, Origin, token and session.
//!
//! On the Unix socket the kernel identifies the peer (`SO_PEERCRED`, `unix(7)`). To the loopback console
//! every process on the host can connect, and every web page in a user's browser can make that browser
//! connect. So the console answers only to its own names (DNS rebinding), and changes state only with
//! the token, or with a browser's session from one of its own pages.

pub mod cookie;
mod hosts;
pub mod session;
mod token;
mod viewer;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage, HttpRequest, ResponseError};
use futures_util::{StreamExt, stream};
use tokio::net::unix::UCred;

pub use self::hosts::is_foreign;
use self::hosts::is_ours;
use self::session::{Origin, Sessions, Shown};
pub use self::token::{StoredToken, Token};
pub use self::viewer::Viewer;
use crate::answers::problem::{Code, Problem};
use crate::answers::viewer::token_needed;
use crate::engine::service::Caller;
use crate::host::occupancy;
use crate::host::process::Place;

/// The other end of a connection, noted when it was accepted.
#[derive(Debug)]
pub enum Peer {
    /// A caller on the Unix socket, identified by the kernel.
    Local(Caller),
    /// A client of the loopback console.
    Console(ConsolePeer),
}

/// The other end of a connection to the console.
#[derive(Debug)]
pub struct ConsolePeer {
    client: SocketAddr,
    server: SocketAddr,
    /// Looked up once, and only if the client shows a session.
    origin: OnceLock<Origin>,
}

impl ConsolePeer {
    /// The peer at `client`, connected to `server`.
    pub const fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client,
            server,
            origin: OnceLock::new(),
        }
    }
}

impl Peer {
    /// The user of the other end, or its address if the kernel does not know the user.
    pub fn origin(&self) -> Origin {
        let guest = match self {
            Self::Local(caller) => return Origin::User(caller.uid),
            Self::Console(guest) => guest,
        };
        *guest.origin.get_or_init(|| {
            let user = occupancy::user_of_client(guest.client, guest.server);
            user.map_or(Origin::Address(guest.client.ip()), Origin::User)
        })
    }
}

/// Access rules of the console: its token, its user, its names and its sessions.
#[derive(Debug)]
pub struct ConsoleAuth {
    /// Token for changes.
    pub token: StoredToken,
    /// User id of the service; the bearer of the token acts as this user.
    pub uid: u32,
    /// Names accepted in Host beside the loopback's own.
    pub extra_hosts: Vec<String>,
    /// Sessions of browsers that have logged in.
    pub sessions: Sessions,
}

/// The caller at the other end of a Unix socket. The kernel identifies it; it cannot be forged.
pub fn peer(credentials: &UCred) -> Caller {
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Caller::peer(credentials.uid(), pid, Place::of)
}

/// Most of the body of a request that is read before it is looked at, in bytes.
const MOST_READ: usize = 64 * 1024;

/// Reads the body of a request before anything answers it. Refusals and many operations need none: the connection
/// would be closed behind the answer, and a client that sends its body after its headers would meet an error in
/// place of the answer. A long body is not read to its end.
async fn read_body(request: &mut ServiceRequest) {
    let mut body = request.take_payload().fuse();
    let (mut pieces, mut read) = (Vec::new(), 0);
    while read <= MOST_READ {
        let Some(piece) = body.next().await else {
            break;
        };
        // The stream ends with an error.
        read += piece.as_ref().map_or(usize::MAX / 2, Bytes::len);
        pieces.push(piece);
    }
    if !pieces.is_empty() {
        let payload = Box::pin(stream::iter(pieces).chain(body));
        request.set_payload(Payload::Stream { payload });
    }
}

/// Middleware that identifies the viewer, or refuses the request.
pub async fn check<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    read_body(&mut request).await;
    let mut response = match viewer_of(&request) {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.call(request).await?.map_into_left_body()
        }
        Err(problem) => {
            let mut answer = problem.error_response();
            if problem.code == Code::Unauthorized.as_str() {
                // A session that is not accepted must not stay in the way of the next page.
                cookie::forget(request.headers(), answer.headers_mut());
            }
            request.into_response(answer).map_into_right_body()
        }
    };
    secure(response.headers_mut());
    Ok(response)
}

fn viewer_of(request: &ServiceRequest) -> Result<Viewer, Problem> {
    match request.conn_data::<Peer>() {
        Some(Peer::Local(caller)) => Ok(Viewer::Known(caller.clone())),
        Some(peer @ Peer::Console(_)) => {
            let door = request.app_data::<Data<Arc<ConsoleAuth>>>();
            let door = door.ok_or_else(token_needed)?;
            at_the_console(request, peer, door)
        }
        // The kernel did not identify the peer of the Unix socket.
        None => Err(token_needed()),
    }
}

fn at_the_console(
    request: &ServiceRequest,
    peer: &Peer,
    door: &ConsoleAuth,
) -> Result<Viewer, Problem> {
    check_host(request, door)?;
    let headers = request.headers();
    let bearer = bearer(headers);
    if bearer.is_some_and(|given| !door.token.is(given)) {
        return Err(Problem::new(
            Code::Unauthorized,
            "this is not the token: `portbook token` prints it",
        ));
    }
    let session = session_of(headers, peer, door)?;
    if changes_state(request.method()) {
        let is_identified = bearer.is_some() || session.is_some();
        check_change(request, door, is_identified, bearer.is_some())?;
    }
    Ok(match (bearer, session) {
        (Some(_), _) => Viewer::Known(Caller::user(door.uid)),
        (None, Some(uid)) => Viewer::Known(Caller::user(uid)),
        (None, None) => Viewer::Reader { of: door.uid },
    })
}

/// Refuses names that are not the console's.
fn check_host(request: &ServiceRequest, door: &ConsoleAuth) -> Result<(), Problem> {
    // HTTP/1.0 may leave Host out, and an absolute-form target outranks it (RFC 9112, 3.2.2).
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|value| value.to_str().ok());
    let target = request.uri().authority().map(Authority::as_str);
    let ours = |name: &str| is_ours(name, &door.extra_hosts);
    if host.is_some_and(ours) && target.is_none_or(ours) {
        return Ok(());
    }
    let named: String = target
        .or(host)
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect();
    let detail = format!("this console is not called {named:?}");
    Err(Problem::new(Code::MisdirectedHost, detail))
}

/// Refuses changes from other sites' pages, without a token or session, or with a session but without
/// an origin.
fn check_change(
    request: &ServiceRequest,
    door: &ConsoleAuth,
    is_identified: bool,
    has_token: bool,
) -> Result<(), Problem> {
    let headers = request.headers();
    if is_foreign(headers, &door.extra_hosts) {
        return Err(Problem::new(
            Code::Forbidden,
            "another site's page sent this request: only the console's own pages may",
        ));
    }
    // Opening or ending a session cannot need one.
    let opens = matches!(request.path(), "/login" | "/logout");
    if !is_identified && !opens {
        return Err(token_needed());
    }
    // Browsers name the origin of every form and script (Fetch standard, 3.2), and a session is a
    // browser's.
    if !has_token && !headers.contains_key(header::ORIGIN) {
        return Err(Problem::new(
            Code::Forbidden,
            "a request with a session must name its origin, as browsers do",
        ));
    }
    Ok(())
}

/// Whether a page of another site led the browser here: the user may not want what its link asks for.
pub fn is_cross_site(request: &HttpRequest) -> bool {
    let door = request.app_data::<Data<Arc<ConsoleAuth>>>();
    door.is_some_and(|door| is_foreign(request.headers(), &door.extra_hosts))
}

/// The user of the session in the cookie. `None` without a living session.
fn session_of(
    headers: &HeaderMap,
    peer: &Peer,
    door: &ConsoleAuth,
) -> Result<Option<u32>, Problem> {
    let Some(session) = cookie::session(headers) else {
        return Ok(None);
    };
    match door.sessions.shown(session, || peer.origin()) {
        Shown::By(uid) => Ok(Some(uid)),
        Shown::Unknown => Ok(None),
        Shown::Elsewhere(uid) => {
            let from = peer.origin();
            tracing::warn!(
                uid,
                ?from,
                "session shown by a client that did not open it; request refused"
            );
            Err(Problem::new(
                Code::Unauthorized,
                "this session was opened by another user's program: log in yourself",
            ))
        }
    }
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or("");
    // Another scheme counts as a wrong token, not as none.
    let (scheme, token) = given.split_once(' ').unwrap_or(("", given));
    Some(if scheme.eq_ignore_ascii_case("bearer") {
        token.trim()
    } else {
        ""
    })
}

/// Adds security headers: no framing, sniffing, caching, or loading from other sites.
fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(header::HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With no-referrer browsers send "Origin: null" for the console's own forms too (Fetch standard,
        // "append a request Origin header").
        (header::REFERRER_POLICY, "same-origin"),
        (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
