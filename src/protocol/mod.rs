//! What is spoken beside HTTP.

pub mod descriptor;
pub mod portserver;

use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Before the next connection, where none could be taken.
const BREATH: Duration = Duration::from_millis(100);

/// Gives each connection to `take`, for as long as it is polled.
async fn each_connection(listener: &UnixListener, mut take: impl FnMut(UnixStream)) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream),
            Err(error) => {
                // No descriptor is left, say. The listener stays readable meanwhile, and no event
                // tells when one is free: the next try waits, so that the loop does not spin.
                let address = listener.local_addr();
                tracing::warn!(%error, ?address, "no connection could be taken");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
