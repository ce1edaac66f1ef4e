//! Containers that publish ports, as their engines tell. The answers are hostile text: bounded in size and
//! time, and never more than names.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use socket2::{Domain, SockAddr, Socket, Type};

use super::clock::Clock;
use crate::domain::attempt::printable;
use crate::domain::lease::BootTime;
use crate::domain::port::{Port, Protocol};

/// Limit on an engine's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum answer in bytes: more than a thousand containers need.
const LONGEST_BYTES: usize = 8 << 20;

/// Maximum number of published ports that are kept.
const MOST: usize = 4096;

/// Maximum length of a name that is kept, in characters.
const LONGEST_NAME: usize = 128;

/// Asks for the running containers. HTTP/1.0, so that the answer ends with the connection.
const REQUEST: &[u8] = b"GET /containers/json HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// A port that a container has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub protocol: Protocol,
    pub port: Port,
    /// Name of the container, printable.
    pub container: String,
}

/// Members of `GET /containers/json` that matter here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    ports: Option<Vec<Mapping>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    public_port: Option<u16>,
    r#type: String,
}

/// Sockets of the engines: from their own variables, and the customary ones.
pub fn sockets() -> Vec<PathBuf> {
    let of_variable = |name| {
        let value = std::env::var(name).ok()?;
        value.strip_prefix("unix://").map(PathBuf::from)
    };
    let mut sockets: Vec<PathBuf> = ["DOCKER_HOST", "CONTAINER_HOST"]
        .into_iter()
        .filter_map(of_variable)
        .collect();
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.extend([
            runtime.join("docker.sock"),
            runtime.join("podman/podman.sock"),
        ]);
    }
    sockets.extend([
        "/var/run/docker.sock".into(),
        "/run/podman/podman.sock".into(),
    ]);
    let mut known = Vec::new();
    sockets.retain(|socket| {
        let real = socket.canonicalize().unwrap_or_else(|_| socket.clone());
        let new = !known.contains(&real);
        known.push(real);
        new
    });
    sockets
}

/// Asks all engines for the ports of their containers; an engine that does not answer is left out. It
/// blocks, for 2 seconds at most for each engine.
pub fn published() -> Vec<Publication> {
    let mut all = Vec::new();
    for socket in sockets() {
        match ask(&socket) {
            Ok(found) => all.extend(found),
            Err(error) => {
                let socket = socket.display();
                tracing::debug!(%error, "could not ask {socket} for containers; their ports stay without a name");
            }
        }
    }
    all.truncate(MOST);
    all
}

/// Asks one engine. It blocks, for 2 seconds at most.
///
/// # Errors
///
/// It cannot be reached, its answer is late or over 8 MiB, or it does not answer as an engine does.
pub fn ask(socket: &Path) -> io::Result<Vec<Publication>> {
    let clock = Clock::system();
    let end = clock.boot().after(PATIENCE);
    let connection = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    connection.connect_timeout(&SockAddr::unix(socket)?, PATIENCE)?;
    let mut stream = UnixStream::from(std::os::fd::OwnedFd::from(connection));
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let answer = read_until(&mut stream, &clock, end)?;
    let nonsense = || {
        io::Error::new(
            ErrorKind::InvalidData,
            "it does not answer as an engine does",
        )
    };
    parse(&answer).ok_or_else(nonsense)
}

fn late(source: io::Error) -> io::Error {
    match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(
            ErrorKind::TimedOut,
            format!("no answer within {} s", PATIENCE.as_secs()),
        ),
        _ => source,
    }
}

/// Reads to the end of the stream, which must come in time.
fn read_until(stream: &mut UnixStream, clock: &Clock, end: BootTime) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        let left = end.since(clock.boot());
        if left.is_zero() {
            return Err(late(ErrorKind::TimedOut.into()));
        }
        if answer.len() > LONGEST_BYTES {
            let long = "its answer is over the length limit";
            return Err(io::Error::new(ErrorKind::FileTooLarge, long));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part).map_err(late)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(&part[..length]),
        }
    }
}

fn parse(answer: &[u8]) -> Option<Vec<Publication>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let status = head.split(|byte| *byte == b' ').nth(1)?;
    if status != b"200" {
        return None;
    }
    let containers: Vec<Container> = serde_json::from_slice(body).ok()?;
    Some(containers.iter().flat_map(publications).collect())
}

fn publications(container: &Container) -> Vec<Publication> {
    let Some(name) = container.names.first() else {
        return Vec::new();
    };
    let name: String = name
        .trim_start_matches('/')
        .chars()
        .take(LONGEST_NAME)
        .collect();
    let name = printable(&name);
    let mappings = container.ports.iter().flatten();
    let of = |mapping: &Mapping| {
        Some(Publication {
            protocol: mapping.r#type.parse().ok()?,
            port: Port::new(mapping.public_port?)?,
            container: name.clone(),
        })
    };
    mappings.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answered(answer: &'static [u8]) -> io::Result<Vec<Publication>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let engine = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 256];
            let _ = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
        });
        let found = ask(&path);
        engine.join().unwrap();
        found
    }

    #[test]
    fn an_engine_names_the_containers_of_its_ports() {
        let found = answered(
            b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n[{\"Names\":[\"/shop\x1b\"],\"Ports\":[\
            {\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"tcp\",\"IP\":\"0.0.0.0\"},\
            {\"PrivatePort\":81,\"Type\":\"tcp\"}]},{\"Names\":[],\"Ports\":null}]",
        );
        assert!(found.is_err(), "a control character is no JSON");
        let found = answered(
            b"HTTP/1.0 200 OK\r\n\r\n[{\"Names\":[\"/shop\\u001b\"],\"Ports\":[\
            {\"PublicPort\":8080,\"Type\":\"tcp\"},{\"Type\":\"tcp\"}]}]",
        );
        let expected = Publication {
            protocol: Protocol::Tcp,
            port: Port::new(8080).unwrap(),
            container: "shop\u{fffd}".to_owned(),
        };
        assert_eq!(found.unwrap(), [expected]);
    }

    #[test]
    fn nonsense_of_an_engine_names_nothing() {
        for answer in [
            &b""[..],
            b"HTTP/1.0 500 Oops\r\n\r\n[]",
            b"HTTP/1.0 200 OK\r\n\r\n{",
        ] {
            let error = answered(answer).unwrap_err();
            assert_eq!(error.to_string(), "it does not answer as an engine does");
        }
    }

    #[test]
    fn silent_engine_is_told_with_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let _silent = UnixListener::bind(&path).unwrap();
        assert_eq!(ask(&path).unwrap_err().to_string(), "no answer within 2 s");
    }
}
