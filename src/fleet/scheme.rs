//! The scheme that an address of etcd seems to speak, for an address of the other one: neither end says so itself.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limit on a look.
const LIMIT: Duration = Duration::from_millis(500);

/// A record of a TLS handshake (RFC 8446 5.1) without a sense. A server of TLS answers with an alert.
const TO_TLS: &[u8] = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00";

/// The preface of HTTP/2 with an empty frame of settings (RFC 9113 3.4). A server answers with its own.
const TO_HTTP: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// First bytes of an alert of TLS: its type, and the first part of the version.
const ALERT: &[u8] = b"\x15\x03";

/// Type of the frame of settings, behind the three bytes of its length.
const SETTINGS: u8 = 4;

/// Returns what is wrong with the scheme of an address. `None` if that cannot be seen.
pub(super) async fn mismatch(address: &str) -> Option<&'static str> {
    let (scheme, place) = address.trim_end_matches('/').split_once("://")?;
    let is_https = scheme == "https";
    let question = if is_https { TO_HTTP } else { TO_TLS };
    let answer = timeout(LIMIT, answer(place, question)).await.ok()??;
    if is_https {
        let is_plain = answer.get(3) == Some(&SETTINGS);
        is_plain.then_some("the other side seems to speak no TLS: the address is one with http://")
    } else {
        let is_tls = answer.starts_with(ALERT);
        is_tls.then_some("the other side seems to speak TLS: the address is one with https://")
    }
}

/// First bytes that come back. `None` if there are none.
async fn answer(place: &str, question: &[u8]) -> Option<[u8; 4]> {
    let mut stream = TcpStream::connect(place).await.ok()?;
    stream.write_all(question).await.ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns what is told of a server that answers everything with these bytes.
    async fn told(scheme: &str, bytes: &'static [u8]) -> Option<&'static str> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            drop(stream);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            told = mismatch(&address) => told,
            () = serving => None,
        }
    }

    #[tokio::test]
    async fn only_a_server_of_the_other_scheme_is_told() {
        let (alert, settings) = (b"\x15\x03\x01\x00\x02\x02\x32", b"\x00\x00\x0c\x04\x00");
        assert!(told("http", alert).await.unwrap().contains("https://"));
        assert!(told("https", settings).await.unwrap().contains("http://"));
        assert_eq!(told("http", settings).await, None);
        assert_eq!(told("https", alert).await, None);
        assert_eq!(told("https", b"").await, None);
        assert_eq!(mismatch("https://127.0.0.1:1").await, None);
        assert_eq!(mismatch("127.0.0.1").await, None);
    }
}
