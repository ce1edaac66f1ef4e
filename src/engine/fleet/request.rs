//! Requests to the session loop, and its counter for them.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

#[cfg(feature = "fleet")]
use super::FleetDesk;
use super::silence::{FleetSilence, Reserved};
use crate::domain::claim::Number;
use crate::domain::fleet::{FleetView, HostName, Question, Told};
use crate::domain::lease::Name;
use crate::domain::port::PortSet;

/// A request to the session loop.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "fleet"),
    expect(
        dead_code,
        reason = "the session loop reads it, and this build has none"
    )
)]
pub enum FleetRequest {
    /// Answer once.
    Ask {
        question: Question,
        reply: oneshot::Sender<Result<Told, FleetSilence>>,
    },
    /// Answer again at each change, until the receiver is dropped.
    Follow {
        question: Question,
        reply: oneshot::Sender<watch::Receiver<Option<Told>>>,
    },
    /// A follower of this question has no listener any more.
    Unfollow { question: Question },
    /// Keep what a follower has read, as the engine does not answer it any more.
    Keep {
        question: Question,
        view: Arc<FleetView>,
    },
    /// Delete the claims of a host that is gone.
    Evict {
        host: HostName,
        reply: oneshot::Sender<Result<Vec<Number>, FleetSilence>>,
    },
    /// Delete the claims on these ports whose values cannot be read.
    EvictUnreadable {
        /// `None` for all.
        ports: Option<PortSet>,
        reply: oneshot::Sender<Result<Vec<Number>, FleetSilence>>,
    },
    /// Reserve a number on every host for a name.
    Reserve {
        number: Number,
        name: Name,
        reply: oneshot::Sender<Result<Reserved, FleetSilence>>,
    },
    /// Take the reservation of a number back.
    Release {
        number: Number,
        reply: oneshot::Sender<Result<(), FleetSilence>>,
    },
    /// Withdraw the names and end the session.
    Leave {
        reply: oneshot::Sender<Result<(), FleetSilence>>,
    },
}

#[cfg(feature = "fleet")]
impl FleetDesk {
    /// Asks a question. The last known answer, with its age, if the engine is away.
    pub async fn ask(&self, question: Question) -> Result<Told, FleetSilence> {
        let (reply, answer) = oneshot::channel();
        self.send(FleetRequest::Ask { question, reply }).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    /// Returns the answer to a question, as it is and as it changes. `None` before the first answer.
    pub async fn follow(
        &self,
        question: Question,
    ) -> Result<watch::Receiver<Option<Told>>, FleetSilence> {
        let (reply, answer) = oneshot::channel();
        self.send(FleetRequest::Follow { question, reply }).await?;
        answer.await.map_err(|_| FleetSilence::Off)
    }

    /// Withdraws the names of this host, and ends its session until the next start.
    pub async fn leave(&self) -> Result<(), FleetSilence> {
        let (reply, answer) = oneshot::channel();
        self.send(FleetRequest::Leave { reply }).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    /// Deletes the claims of a host whose session has ended, and returns their numbers.
    pub async fn evict(&self, host: HostName) -> Result<Vec<Number>, FleetSilence> {
        let (reply, answer) = oneshot::channel();
        self.send(FleetRequest::Evict { host, reply }).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    /// Deletes the claims whose values cannot be read, on these ports or on all, and returns their numbers.
    pub async fn evict_unreadable(
        &self,
        ports: Option<PortSet>,
    ) -> Result<Vec<Number>, FleetSilence> {
        let (reply, answer) = oneshot::channel();
        let request = FleetRequest::EvictUnreadable { ports, reply };
        self.send(request).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    /// Reserves a number on every host for a name.
    pub async fn reserve(&self, number: Number, name: Name) -> Result<Reserved, FleetSilence> {
        let (reply, answer) = oneshot::channel();
        let request = FleetRequest::Reserve {
            number,
            name,
            reply,
        };
        self.send(request).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    /// Takes the reservation of a number back. The hosts let go of it once they hear of that.
    pub async fn release(&self, number: Number) -> Result<(), FleetSilence> {
        let (reply, answer) = oneshot::channel();
        self.send(FleetRequest::Release { number, reply }).await?;
        answer.await.unwrap_or(Err(FleetSilence::Off))
    }

    async fn send(&self, request: FleetRequest) -> Result<(), FleetSilence> {
        let requests = self.requests.with(|requests| requests.clone());
        let requests = requests.ok_or(FleetSilence::Off)?;
        requests.send(request).await.map_err(|_| FleetSilence::Off)
    }
}
