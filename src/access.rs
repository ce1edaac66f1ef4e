//! Who may do what: peers, Host, Origin and the token. Checked before any handler runs.
//!
//! Two doors. On the Unix socket the kernel vouches for the peer (`SO_PEERCRED`, `unix(7)`). On the
//! loopback console anybody on the host can connect, and any web page in a user's browser can
//! make that browser connect: so the console answers only to its own names (DNS rebinding), and
//! changes state only for whoever shows the token, or a browser's session from one of its pages.

pub mod session;

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use actix_web::body::MessageBody;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};
use subtle::ConstantTimeEq;
use tokio::net::unix::UCred;

use self::session::{Origin, Sessions, Shown};
use crate::api::problem::{Code, Problem};
use crate::engine::service::Caller;
use crate::host::{occupancy, process};

/// Where a connection came from, noted when it was accepted.
#[derive(Debug)]
pub enum Peer {
    /// The Unix socket; the kernel vouches for the caller.
    Local(Caller),
    /// The loopback console.
    Console(Guest),
}

/// The other end of a connection to the console.
#[derive(Debug)]
pub struct Guest {
    client: SocketAddr,
    server: SocketAddr,
    /// Looked up once, and only for who shows a session.
    origin: OnceLock<Origin>,
}

impl Guest {
    /// The one at `client`, connected to `server`.
    pub const fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client,
            server,
            origin: OnceLock::new(),
        }
    }
}

impl Peer {
    /// Where the other end is, as far as the kernel tells.
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

/// The console's door: its token, its user, and the names it answers to.
#[derive(Debug)]
pub struct Door {
    /// What whoever changes state must show.
    pub token: Token,
    /// The user that the service runs as, in whose name the token's bearer acts.
    pub uid: u32,
    /// Names accepted in Host besides the loopback's own.
    pub extra_hosts: Vec<String>,
    /// Browsers that have logged in.
    pub sessions: Sessions,
}

/// A secret of 256 random bits, in hex.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token of a data directory, or makes it (0600) where there is none.
    pub fn open(file: &Path) -> io::Result<Self> {
        match Self::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        let text = secret()?;
        // Written whole under another name and then linked, so that of two who make one at the
        // same time both get the first, and nobody reads half of it.
        let new = file.with_extension(format!("{}.new", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let linked = io::Write::write_all(&mut written, format!("{text}\n").as_bytes())
            .and_then(|()| std::fs::hard_link(&new, file));
        std::fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::read(file),
        }
    }

    fn read(file: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let text = text.trim();
        if text.len() < 32 {
            let wrong = "it holds no token: remove it, and a new one is made";
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is it.
    pub fn is(&self, given: &str) -> bool {
        // In constant time, so that answers do not tell how much was right.
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// 256 random bits in hex.
fn secret() -> io::Result<String> {
    Ok(format!("{:032x}{:032x}", random()?, random()?))
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u128::from_ne_bytes(bytes))
}

/// Whoever asks, as far as known, and what they may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Somebody the kernel or the token vouches for.
    Known(Caller),
    /// A reader of the console without a token, with the user whose leases it shows.
    Reader {
        /// The user that the service runs as.
        of: u32,
    },
}

impl Viewer {
    /// Whether everything about a lease of `uid` may be shown.
    pub fn sees(&self, uid: u32) -> bool {
        match self {
            Self::Known(caller) => caller.may_act_for(uid),
            Self::Reader { of } => *of == uid,
        }
    }

    /// The only user whose doings may be shown; none where everybody's may.
    pub const fn only_user(&self) -> Option<u32> {
        match self {
            Self::Known(Caller { uid: 0, .. }) => None,
            Self::Known(caller) => Some(caller.uid),
            Self::Reader { of } => Some(*of),
        }
    }

    /// Whether names may be shown of which it is not known whose they are. An unprivileged service
    /// only ever learns those of its own user.
    pub fn sees_everybody(&self) -> bool {
        self.only_user()
            .is_none_or(|uid| uid != 0 && uid == rustix::process::geteuid().as_raw())
    }

    /// In whose name a question is answered that changes nothing.
    pub fn asker(&self) -> Caller {
        match self {
            Self::Known(caller) => caller.clone(),
            Self::Reader { of } => Caller::user(*of),
        }
    }

    /// Who acts. A reader cannot.
    pub fn caller(&self) -> Result<&Caller, Problem> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Reader { .. } => Err(token_needed()),
        }
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Put there by `check`; a route outside it serves nobody.
        let viewer = request.extensions().get::<Self>().cloned();
        ready(viewer.ok_or_else(token_needed))
    }
}

fn token_needed() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "changing state on the console needs a login (`portbook dashboard` opens one) or its token: \
         send \"Authorization: Bearer …\" with what `portbook token` prints",
    )
}

/// Who is at the other end of a Unix socket. The kernel tells who connected; it cannot be forged.
pub fn peer(credentials: &UCred) -> Caller {
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    // 0: a process of a pid namespace that is hidden from here.
    let pid = pid.filter(|pid| *pid != 0);
    Caller {
        uid: credentials.uid(),
        elsewhere: pid.is_some_and(|pid| !process::same_net_namespace(pid).unwrap_or(true)),
        foreign_pids: !pid.is_some_and(|pid| process::same_pid_namespace(pid).unwrap_or(true)),
        pid,
    }
}

/// The middleware: finds out who asks, or refuses.
pub async fn check<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut response = match viewer_of(&request) {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.call(request).await?.map_into_left_body()
        }
        Err(problem) => {
            let mut answer = problem.error_response();
            if problem.code == Code::Unauthorized.as_str() {
                // A session that is not accepted must not stay in the way of the next page.
                forget(request.headers(), answer.headers_mut());
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
            let door = request.app_data::<Data<Arc<Door>>>();
            let door = door.ok_or_else(token_needed)?;
            at_the_console(request, peer, door)
        }
        // The kernel named nobody on the Unix socket.
        None => Err(token_needed()),
    }
}

fn at_the_console(request: &ServiceRequest, peer: &Peer, door: &Door) -> Result<Viewer, Problem> {
    let headers = request.headers();
    // HTTP/1.0 may leave Host out, and an absolute-form target outranks it (RFC 9112, 3.2.2).
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let target = request
        .uri()
        .authority()
        .map(actix_web::http::uri::Authority::as_str);
    let ours = |name: &str| is_ours(name, &door.extra_hosts);
    if !host.is_some_and(ours) || !target.is_none_or(ours) {
        let named = target.or(host).unwrap_or_default();
        let named: String = named.chars().take(100).collect();
        let detail = format!("this console is not called {named:?}");
        return Err(Problem::new(Code::MisdirectedHost, detail));
    }
    let bearer = bearer(headers);
    if bearer.is_some_and(|given| !door.token.is(given)) {
        return Err(Problem::new(
            Code::Unauthorized,
            "this is not the token: `portbook token` prints it",
        ));
    }
    let session = session_of(headers, peer, door)?;
    if changes_state(request.method()) {
        if is_foreign(headers, &door.extra_hosts) {
            return Err(Problem::new(
                Code::Forbidden,
                "another site's page sent this request: only the console's own pages may",
            ));
        }
        // What opens a session, or ends one, cannot need one.
        let opens = matches!(request.path(), "/login" | "/logout");
        if bearer.is_none() && session.is_none() && !opens {
            return Err(token_needed());
        }
        // Every browser says where a form or script comes from (Fetch standard, 3.2); who does not
        // is none, and a session is a browser's.
        if bearer.is_none() && !headers.contains_key(header::ORIGIN) {
            return Err(Problem::new(
                Code::Forbidden,
                "a request with a session must name its origin, as browsers do",
            ));
        }
    }
    Ok(match (bearer, session) {
        (Some(_), _) => Viewer::Known(Caller::user(door.uid)),
        (None, Some(uid)) => Viewer::Known(Caller::user(uid)),
        (None, None) => Viewer::Reader { of: door.uid },
    })
}

/// Whether a browser was led here by a page that is not the console's: what a link asks for is not
/// what the reader asks for.
pub fn is_led_here(request: &HttpRequest) -> bool {
    let door = request.app_data::<Data<Arc<Door>>>();
    door.is_some_and(|door| is_foreign(request.headers(), &door.extra_hosts))
}

/// The user of the session that is shown, if one is.
fn session_of(headers: &HeaderMap, peer: &Peer, door: &Door) -> Result<Option<u32>, Problem> {
    let Some(session) = session(headers) else {
        return Ok(None);
    };
    match door.sessions.shown(session, || peer.origin()) {
        Shown::By(uid) => Ok(Some(uid)),
        Shown::Nobody => Ok(None),
        Shown::Elsewhere(uid) => {
            let from = peer.origin();
            tracing::warn!(
                uid,
                ?from,
                "a session was shown by somebody who did not open it"
            );
            Err(Problem::new(
                Code::Unauthorized,
                "this session was opened by somebody else's program: log in yourself",
            ))
        }
    }
}

/// The cookie that carries a session, or takes it back where it is empty.
pub fn cookie(headers: &HeaderMap, session: String) -> Cookie<'static> {
    let ends = session.is_empty();
    let mut cookie = Cookie::build(cookie_name(headers), session)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .finish();
    if ends {
        cookie.make_removal();
    }
    cookie
}

/// Adds a cookie to an answer.
pub fn set(headers: &mut HeaderMap, cookie: &Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn forget(asked: &HeaderMap, answered: &mut HeaderMap) {
    if session(asked).is_some() {
        set(answered, &cookie(asked, String::new()));
    }
}

/// What the session's cookie is called on this console.
pub fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let port = host.strip_prefix(without_port(host)).unwrap_or_default();
    let port = port.trim_start_matches(':');
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    format!("portbook-{}", if is_number { port } else { "80" })
}

/// The session that a browser shows, if it shows one.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE);
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or("");
    // Any other scheme is a wrong token rather than none.
    let (scheme, token) = given.split_once(' ').unwrap_or(("", given));
    Some(if scheme.eq_ignore_ascii_case("bearer") {
        token.trim()
    } else {
        ""
    })
}

/// Whether a browser says that the request came from a page that is not the console's.
fn is_foreign(headers: &HeaderMap, extra_hosts: &[String]) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign_site =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin = text("origin").is_some_and(|origin| {
        // "null" is what sandboxed and redirected pages send (RFC 6454, 7.3).
        let authority = origin.strip_prefix("http://");
        let host = text("host");
        authority.is_none() || authority != host || !is_ours(origin_host(origin), extra_hosts)
    });
    foreign_site || foreign_origin
}

fn origin_host(origin: &str) -> &str {
    origin.strip_prefix("http://").unwrap_or(origin)
}

/// Whether a Host names this console: a loopback name or address, or one that is configured.
fn is_ours(host: &str, extra_hosts: &[String]) -> bool {
    let name = without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    let loopback = match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(ip) => ip
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name
                    .parse::<std::net::Ipv4Addr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
    };
    loopback
        || extra_hosts
            .iter()
            .any(|extra| extra.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    let end_of_name = host.rfind(']').unwrap_or(0);
    match host[end_of_name..].find(':') {
        Some(colon) => &host[..end_of_name + colon],
        None => host,
    }
}

/// Headers for every answer: nothing is framed, sniffed, cached or loaded from elsewhere.
fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(header::HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With no-referrer browsers would also hide where the console's own forms come from: they
        // send "Origin: null" then (Fetch standard, "append a request Origin header").
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_configured_ones_are_ours() {
        for good in [
            "127.0.0.1:8888",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8888",
            "127.8.8.8",
            "box.test:9",
        ] {
            assert!(is_ours(good, &["box.test".into()]), "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "[::2]:1",
            "1.2.3.4",
            ":8888",
        ] {
            assert!(!is_ours(bad, &[]), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8888"));
            for (name, value) in pairs {
                let name = header::HeaderName::from_static(name);
                headers.insert(name, HeaderValue::from_static(value));
            }
            is_foreign(&headers, &[])
        };
        assert!(!foreign(&[]));
        assert!(!foreign(&[
            ("origin", "http://127.0.0.1:8888"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(foreign(&[("origin", "http://127.0.0.1:9999")]));
        assert!(foreign(&[("origin", "null")]));
        assert!(foreign(&[("origin", "https://evil.test")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_token_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let first = Token::open(&file).unwrap();
        assert_eq!(first.as_str().len(), 64);
        assert!(Token::open(&file).unwrap().is(first.as_str()));
        assert!(!first.is("") && !first.is(&first.as_str()[1..]));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
