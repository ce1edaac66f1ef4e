//! Messages to a supervisor by `sd_notify(3)`, with sockets that it keeps for the next start
//! (`FDSTORE=1`, systemd's file descriptor store).
//!
//! Not by the `sd-notify` crate (0.5): it knows no abstract addresses, its socket blocks, and it
//! fails if the names of given sockets are not complete.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use super::handover;

/// The process that started this one and listens on `NOTIFY_SOCKET`.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<UnixDatagram>);

impl Supervisor {
    /// Connects to the supervisor that the environment names. `None` if there is none, or none
    /// listens.
    pub fn of_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET")?;
        match Self::connect(Path::new(&address)) {
            Ok(supervisor) => Some(supervisor),
            Err(error) => {
                tracing::warn!(%error, "could not connect to NOTIFY_SOCKET; the supervisor is told nothing");
                None
            }
        }
    }

    fn connect(address: &Path) -> io::Result<Self> {
        let bytes = address.as_os_str().as_encoded_bytes();
        // A leading @ stands for the NUL of an abstract name (`sd_notify(3)`).
        let address = match bytes.split_first() {
            Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name)?,
            _ => SocketAddrUnix::new(address)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&socket, &address)?;
        Ok(Self(Arc::new(socket.into())))
    }

    /// Sends one or several assignments, such as `READY=1`. They are lost if the supervisor has not
    /// read the earlier ones.
    pub fn tell(&self, text: &str) {
        if let Err(error) = handover::send(&*self.0, text.as_bytes(), &[]) {
            tracing::debug!(%error, "could not send {text} to the supervisor");
        }
    }

    /// Pause between two `WATCHDOG=1`: half of the supervisor's limit (`sd_watchdog_enabled(3)`).
    /// `None` if it has none.
    pub fn watchdog_interval() -> Option<Duration> {
        let variable = |name| std::env::var(name).ok();
        let mine = |pid: String| pid.parse() == Ok(std::process::id());
        if !variable("WATCHDOG_PID").is_none_or(mine) {
            return None;
        }
        let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
        (limit > 1).then(|| Duration::from_micros(limit / 2))
    }

    /// Another descriptor of this socket, which does not block.
    pub fn socket(&self) -> io::Result<UnixDatagram> {
        self.0.try_clone()
    }
}

/// Makes a pipe for a barrier: the supervisor gets the writing end and closes it once it has read
/// that message, and so all earlier ones (`sd_notify_barrier(3)`).
pub fn barrier() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}
