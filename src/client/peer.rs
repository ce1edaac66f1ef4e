//! The process behind a Unix socket: whether it may be believed, and the reason for its silence.

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::net::UnixStream;

use super::ClientError;
use crate::domain::duration::HumanDuration;
use crate::host::{ending, process};

/// The other side of a connection, as the kernel names it (`SO_PEERCRED`): the process that began to
/// listen.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    socket: PathBuf,
    pid: Option<u32>,
}

impl Peer {
    /// Names the server of a connection. An error if it runs as another user than the caller, root, or
    /// one of `trusted_uids`: any user of the host can listen on a path that is free.
    pub(super) fn of(
        stream: &UnixStream,
        socket: &Path,
        trusted_uids: &[u32],
    ) -> Result<Self, ClientError> {
        let server = stream.peer_cred();
        let server = server.map(|server| (server.uid(), server.pid()));
        Self::judged(server, socket, trusted_uids)
    }

    /// [`of`](Self::of) for a stream that blocks. The standard library names no peers yet, and rustix
    /// 1.1 has no value for a peer of another pid namespace, whose pid is 0.
    pub(super) fn of_blocking(
        stream: &BlockingStream,
        socket: &Path,
        trusted_uids: &[u32],
    ) -> Result<Self, ClientError> {
        let server = getsockopt(stream, PeerCredentials).map_err(io::Error::from);
        let server = server.map(|server| (server.uid(), Some(server.pid())));
        Self::judged(server, socket, trusted_uids)
    }

    fn judged(
        server: io::Result<(u32, Option<i32>)>,
        socket: &Path,
        trusted_uids: &[u32],
    ) -> Result<Self, ClientError> {
        let (uid, pid) = server.map_err(|source| ClientError::Unreachable {
            socket: socket.to_owned(),
            source,
        })?;
        if !is_trusted(uid, trusted_uids) {
            return Err(ClientError::Untrusted {
                socket: socket.to_owned(),
                uid,
            });
        }
        Ok(Self {
            socket: socket.to_owned(),
            // 0 stands for a process of another pid namespace.
            pid: pid
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|pid| *pid > 0),
        })
    }

    /// Whether the server was killed, and perhaps still closes its files.
    pub(super) fn was_killed(&self) -> bool {
        self.pid.is_some_and(process::is_ending)
    }

    /// Waits for the end of a server that was killed and still closes its files, at most as long as
    /// `limit`. `false` at once if it lives.
    pub(super) async fn is_ending(&self, limit: Duration) -> bool {
        match self.pid {
            Some(pid) if process::is_ending(pid) => ending::ended(pid, limit).await,
            _ => false,
        }
    }

    /// The error for a server that has not answered for as long as `limit`.
    pub(super) fn silent(self, limit: Duration) -> ClientError {
        let limit = HumanDuration(limit);
        let pid = self.pid;
        let reason = match pid {
            Some(pid) if process::is_stopped(pid) => {
                format!("process {pid} is stopped; `kill -CONT {pid}` lets it go on")
            }
            Some(pid) => format!(
                "process {pid} hangs or has too much to do; its log may tell more, and --timeout waits longer"
            ),
            None => "its process cannot be seen from here; --timeout waits longer".to_owned(),
        };
        ClientError::Silent {
            socket: self.socket,
            pid,
            reason: format!("no answer within {limit}: {reason}"),
        }
    }
}

fn is_trusted(uid: u32, trusted_uids: &[u32]) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw() || trusted_uids.contains(&uid)
}
