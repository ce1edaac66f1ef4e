//! The cookie that carries a browser's session (RFC 6265). Its name has the console's port in it: browsers
//! send cookies to every port of a host.

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::hosts::without_port;

/// The cookie of a session, or its removal if `session` is empty.
pub fn of(headers: &HeaderMap, session: String) -> Cookie<'static> {
    let ends = session.is_empty();
    let mut cookie = Cookie::build(name(headers), session)
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

/// Removes the session cookie if the browser sent one.
pub(super) fn forget(asked: &HeaderMap, answered: &mut HeaderMap) {
    if session(asked).is_some() {
        set(answered, &of(asked, String::new()));
    }
}

/// The cookie's name on this console.
fn name(headers: &HeaderMap) -> String {
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
    let wanted = name(headers);
    let cookies = headers.get_all(header::COOKIE);
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(key, value)| (key == wanted).then_some(value))
}
