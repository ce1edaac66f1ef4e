//! Connections of both kinds as one type, for the HTTP server.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_util::either::Either;

use super::doors::{Connection, Stream};
use crate::access::{self, ConsolePeer, Peer};

/// Limit on the wait for a client that reads nothing. Its connection is closed: a browser or a command
/// opens another, and an event stream then tells what it missed.
const STALL: Duration = Duration::from_mins(1);

/// A connection that this thread's runtime watches.
pub(super) struct Socket {
    stream: Either<TcpStream, UnixStream>,
    connection: Arc<Connection>,
    /// Wait for room in the client's buffer.
    stalled: Option<Pin<Box<Sleep>>>,
    stall: Duration,
}

impl Socket {
    /// Has the runtime of this thread watch a connection.
    pub(super) fn of(stream: Stream, connection: Arc<Connection>) -> io::Result<Self> {
        let stream = match stream {
            Stream::Tcp(stream) => Either::Left(TcpStream::from_std(stream)?),
            Stream::Unix(stream) => Either::Right(UnixStream::from_std(stream)?),
        };
        Ok(Self {
            stream,
            connection,
            stalled: None,
            stall: STALL,
        })
    }

    /// Address of the client. `None` on a Unix socket.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        match &self.stream {
            Either::Left(stream) => stream.peer_addr().ok(),
            Either::Right(_) => None,
        }
    }

    /// Writes, or fails if the client has read nothing for long.
    fn write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        write: impl FnOnce(
            Pin<&mut Either<TcpStream, UnixStream>>,
            &mut Context<'_>,
        ) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = write(Pin::new(&mut this.stream), context);
        if written.is_ready() {
            this.stalled = None;
            return written;
        }
        let stall = this.stall;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        stalled
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut Either<TcpStream, UnixStream>> {
        Pin::new(&mut self.get_mut().stream)
    }
}

/// Notes the peer of a connection. The kernel names it, so it cannot be forged.
pub(super) fn note_peer(socket: &Socket, data: &mut Extensions) {
    data.insert(Arc::clone(&socket.connection));
    match &socket.stream {
        Either::Left(stream) => {
            if let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr()) {
                data.insert(Peer::Console(ConsolePeer::new(client, server)));
            }
        }
        // Without credentials the connection gets no peer, and every request is refused.
        Either::Right(stream) => {
            if let Ok(credentials) = stream.peer_cred() {
                data.insert(Peer::Local(access::peer(&credentials)));
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, room)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::daemon::doors::Traffic;

    #[tokio::test]
    async fn client_that_reads_nothing_is_cut_off() {
        let (service, _client) = std::os::unix::net::UnixStream::pair().unwrap();
        service.set_nonblocking(true).unwrap();
        let connection = Arc::<Traffic>::default().connection(None);
        let mut socket = Socket::of(Stream::Unix(service), connection).unwrap();
        socket.stall = Duration::from_millis(1);
        let error = loop {
            if let Err(error) = socket.write_all(&[0; 4096]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
