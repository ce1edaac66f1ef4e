//! The part of a service that takes over from another one: its predecessor ends once this one answers.

use tokio::net::UnixStream;

use crate::protocol::succession::{Link, Step};

use super::given::Given;
use super::{Daemon, StartError, failed};

/// The running service, which waits for this one.
#[derive(Debug)]
pub(super) struct Predecessor(Link);

impl Predecessor {
    /// Returns the service that passed its sockets on. `None` if there was none, or if it has ended.
    pub(super) fn of(given: &Given) -> Result<Option<Self>, StartError> {
        let what = "the connection to the running service";
        // It stays with the sockets, which tell that the lock is among them.
        let Some(link) = &given.link else {
            return Ok(None);
        };
        let link = link.try_clone().and_then(|link| {
            link.set_nonblocking(true)?;
            UnixStream::from_std(link)
        });
        Ok(Some(Self(Link::new(link.map_err(failed(what))?))))
    }

    /// Answers in place of the predecessor, unless this process was told to stop.
    pub(super) async fn succeed(mut self, daemon: &mut Daemon) -> Result<(), StartError> {
        let what = || failed("the running service went back on the take-over");
        let agreed = async {
            self.0.say(Step::Ready).await?;
            self.0.hear(Step::Go).await
        };
        tokio::select! {
            biased;
            () = daemon.signals.stop(|| {}, || {}) => return Err(StartError::Interrupted),
            agreed = agreed => agreed.map_err(what())?,
        }
        daemon
            .entrance
            .doors
            .sign()
            .map_err(failed("the listening sockets"))?;
        daemon.lock.sign(&daemon.settings.socket);
        daemon.entrance.doors.open();
        if let Err(error) = self.0.say(Step::Answering).await {
            tracing::warn!(%error, "the last service ended before it heard that this one answers");
        }
        Ok(())
    }
}
