//! The port server's protocol, for test runners (the `portpicker` package for Python and its
//! relatives): one request a connection, a process id and a newline; the answer is a port and a newline,
//! or nothing.
//!
//! A grant is a lease like any other. It lives until the named process has been reaped and the port is
//! free: the protocol has no word for a release.

mod request;
mod statistics;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::domain::lease::Handover;
use crate::domain::port::{Port, Protocols};
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::Allocated;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Service};

pub use request::{Fault, parse};
pub use statistics::Statistics;

/// A port server: the engine, its pool and its counters.
#[derive(Debug, Clone)]
pub struct Portserver {
    service: Service,
    pool: String,
    statistics: Arc<Statistics>,
}

impl Portserver {
    /// A port server that grants from `pool`.
    pub fn new(service: Service, pool: &str) -> Self {
        let statistics = Statistics::new(service.portserver_metrics());
        Self {
            service,
            pool: pool.to_owned(),
            statistics: Arc::new(statistics),
        }
    }

    /// Answers one connection, which does not block.
    pub async fn serve(&self, stream: UnixStream) {
        if let Err(error) = self.answer(stream).await {
            tracing::debug!(%error, "a client of the port server disconnected early");
        }
    }

    /// The statistics as lines, in the order of the reference program.
    pub fn statistics(&self) -> Vec<String> {
        let settings = self.service.settings();
        let pool = settings.pools.get(&self.pool);
        let managed = pool.map_or(0, |pool| {
            let by_hand = self.service.exclusions().ports(pool.protocol.each());
            pool.ranges.without(&pool.exclude).without(&by_hand).len()
        });
        self.statistics.lines(managed)
    }

    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let peer = getsockopt(&stream, PeerCredentials)?;
        let caller = self
            .service
            .peer(peer.uid(), u32::try_from(peer.pid()).ok());
        let (asked, mut stream) = request::read(stream).await?;
        let granted = match parse(&asked) {
            Ok(pid) => self.grant(&caller, pid).await,
            Err(Fault::NotARequest) => {
                self.statistics.client_error();
                tracing::warn!("a request to the port server is not a process id");
                None
            }
            Err(Fault::NoProcess) => {
                self.statistics.denied(None);
                None
            }
        };
        let Some((port, allocated)) = granted else {
            // A refusal closes the connection without a byte.
            return Ok(());
        };
        // In one piece: clients take the first read for all of it. The buffer of a socket that nothing was
        // written to has room.
        let answered = stream.write_all(format!("{port}\n").as_bytes());
        if answered.is_err() {
            // The client has not heard of the port.
            self.give_back(&caller, &allocated).await;
        }
        answered
    }

    /// Grants a port to the process. `None` if it is refused.
    async fn grant(&self, caller: &Caller, pid: u32) -> Option<(Port, Allocated)> {
        match self.service.allocate(caller, &self.request(pid)).await {
            Ok(allocated) => {
                self.statistics.allocated(allocated.attempt_count);
                let port = allocated.leases.first()?.port;
                Some((port, allocated))
            }
            Err(refusal) => {
                self.statistics.denied(ports_tried(&refusal));
                tracing::info!(pid, "the port server denied a port: {refusal}");
                None
            }
        }
    }

    /// The request that keeps the protocol's promises: free for TCP and UDP, on IPv4 and IPv6, and
    /// released so that the client may bind at once and without SO_REUSEADDR.
    fn request(&self, pid: u32) -> Request {
        Request {
            pool: Some(self.pool.clone()),
            protocol: Some(Protocols::Both),
            interfaces: vec![Selector {
                negated: false,
                kind: SelectorKind::Any,
            }],
            handover: Some(Handover::Release),
            owner_pid: Some(pid),
            until_reaped: true,
            ..Request::default()
        }
    }

    async fn give_back(&self, caller: &Caller, allocated: &Allocated) {
        for lease in &allocated.leases {
            if let Err(error) = self.service.release(caller, lease.id).await {
                tracing::debug!(%error, lease = %lease.id, "could not release an undelivered lease; it ends with its process");
            }
        }
    }
}

/// Number of ports that were tried in vain. `None` if the refusal has another cause.
fn ports_tried(refusal: &Refusal) -> Option<usize> {
    let mut ports: Vec<_> = refusal.attempts().iter().map(|tried| tried.port).collect();
    ports.dedup();
    Some(ports.len()).filter(|tried| *tried > 0)
}
