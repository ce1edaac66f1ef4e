//! Protocols beside HTTP.

pub mod descriptor;
pub mod portserver;

use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Pause after a failed accept.
const BREATH: Duration = Duration::from_millis(100);

/// Passes each connection to `take`, as long as it is polled.
async fn each_connection(listener: &UnixListener, mut take: impl FnMut(UnixStream)) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream),
            Err(error) => {
                // No descriptor is left, say. The listener stays readable, and no event tells of a free
                // descriptor: pause, so that the loop does not spin.
                let address = listener.local_addr();
                tracing::warn!(%error, ?address, "could not accept a connection; trying again");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
