//! One HTTP request, to find out whether a server answers: every status below 500 is an answer. The
//! body is not read and redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::host::occupancy::Entry;

/// Limit on one request, from connecting to the head of the answer.
const TRY: Duration = Duration::from_secs(5);

/// Maximum size of an answer's head in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// A path, such as `/health?deep=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct HttpPath(PathAndQuery);

impl FromStr for HttpPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path: PathAndQuery = text.parse().map_err(|_| wrong(text))?;
        if text.starts_with('/') {
            Ok(Self(path))
        } else {
            Err(wrong(text))
        }
    }
}

fn wrong(text: &str) -> String {
    format!("\"{text}\" is not a path: it begins with a slash, as /health does")
}

impl std::fmt::Display for HttpPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Asks at each address until one answers below 500. Returns its status, or the last failure.
pub(super) async fn ask(addresses: &[SocketAddr], path: &HttpPath) -> Result<StatusCode, String> {
    let mut last = "no address to ask at".to_owned();
    for address in addresses {
        let at = format!("GET {path} at {address}");
        last = match tokio::time::timeout(TRY, status(*address, path)).await {
            Ok(Ok(status)) if !status.is_server_error() => return Ok(status),
            Ok(Ok(status)) => format!("{at} was answered {status}"),
            Ok(Err(error)) => format!("{at} got no answer: {error}"),
            Err(_) => format!("{at} got no answer within {} s", TRY.as_secs()),
        };
    }
    Err(last)
}

async fn status(
    address: SocketAddr,
    path: &HttpPath,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let mut handshake = http1::Builder::new();
    handshake.max_buf_size(LONGEST_HEAD);
    let (mut sender, connection) = handshake.handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path.0.as_str())
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("portbook/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await;
    connection.abort();
    Ok(answer?.status())
}

/// Addresses at which listeners can be reached from this host, IPv4 first.
pub(super) fn reachable(listeners: &[Entry]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = listeners.iter().flat_map(of_listener).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn of_listener(entry: &Entry) -> Vec<SocketAddr> {
    let port = entry.port.get();
    let local = match entry.local {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, port).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, port).into(),
        IpAddr::V4(ip) => (ip, port).into(),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, entry.scope)),
    };
    let ipv4 = (Ipv4Addr::LOCALHOST, port).into();
    let both = entry.dual.then_some(ipv4).into_iter();
    both.chain([local]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::SocketState;
    use crate::domain::port::{Port, Protocol};

    #[test]
    fn only_paths_are_asked_for() {
        assert!("/".parse::<HttpPath>().is_ok());
        assert!("/a?b=c".parse::<HttpPath>().is_ok());
        for wrong in ["", "health", "http://a/", "/a b", "/a\r\nX: y", "*"] {
            assert!(wrong.parse::<HttpPath>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_wildcard_is_asked_on_loopback() {
        let entry = |local: &str, dual| Entry {
            protocol: Protocol::Tcp,
            local: local.parse().unwrap(),
            scope: 0,
            dual,
            port: Port::new(80).unwrap(),
            state: SocketState::Listening,
            uid: None,
            inode: 0,
            queue: 0,
        };
        let told = |entries: &[Entry]| {
            let addresses = reachable(entries);
            addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[entry("::", true)]), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(told(&[entry("::", false)]), ["[::1]:80"]);
        let both = [entry("10.0.0.1", false), entry("0.0.0.0", false)];
        assert_eq!(told(&both), ["10.0.0.1:80", "127.0.0.1:80"]);
    }
}
