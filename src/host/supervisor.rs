//! The supervisor's end of `sd_notify(3)`: what this process tells of itself, and the sockets that
//! are kept for its next start (`FDSTORE=1`, systemd's file descriptor store).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use super::handover;

/// Whoever started this process and listens on `NOTIFY_SOCKET`.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<UnixDatagram>);

impl Supervisor {
    /// The supervisor that the environment names; none where nobody listens there.
    pub fn of_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET")?;
        match Self::connect(Path::new(&address)) {
            Ok(supervisor) => Some(supervisor),
            Err(error) => {
                tracing::warn!(%error, "the supervisor's NOTIFY_SOCKET does not answer");
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

    /// Tells one or several assignments, such as `READY=1`. Lost while the supervisor has not read
    /// what it was told before.
    pub fn tell(&self, text: &str) {
        if let Err(error) = handover::send(&*self.0, text.as_bytes(), &[]) {
            tracing::debug!(%error, "the supervisor was not told {text}");
        }
    }

    /// How often to say `WATCHDOG=1`: twice as often as the supervisor looks for it
    /// (`sd_watchdog_enabled(3)`). None where it does not.
    pub fn watchdog_interval() -> Option<Duration> {
        let variable = |name| std::env::var(name).ok();
        let mine = |pid: String| pid.parse() == Ok(std::process::id());
        if !variable("WATCHDOG_PID").is_none_or(mine) {
            return None;
        }
        let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
        (limit > 1).then(|| Duration::from_micros(limit / 2))
    }

    /// Another descriptor of the same socket, which does not block.
    pub fn socket(&self) -> io::Result<UnixDatagram> {
        self.0.try_clone()
    }
}

/// A message that is read in its turn, and the end of a pipe that closes once it has been: what was
/// told before it is done by then (`sd_notify_barrier(3)`).
pub fn barrier() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}
