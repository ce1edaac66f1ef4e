//! The threads that answer connections: those of the API socket and the console by HTTP, those of the port
//! server by its own protocol.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory as _, ServiceFactoryExt as _, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::{App, HttpMessage as _, middleware, web};
use futures_util::stream::{self, StreamExt};
use tokio::sync::{mpsc, watch};

use super::doors::{Connection, Stream};
use super::socket::{Socket, note_peer};
use crate::access::{self, ConsoleAuth};
use crate::api::{self, AppState};

/// Time limit for the body of a request, from the end of its head.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Data that every worker shares.
#[derive(Clone)]
struct Shared {
    state: web::Data<AppState>,
    auth: web::Data<Arc<ConsoleAuth>>,
    /// Whether idle connections are to be closed.
    ending: watch::Receiver<bool>,
}

/// Work of one connection.
enum Work {
    Http(Stream, Arc<Connection>),
    /// It ends with its connection.
    Task(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Threads with a copy of the application each.
pub(super) struct Workers {
    /// Empty once they have ended.
    queues: Mutex<Vec<mpsc::UnboundedSender<Work>>>,
    next: AtomicUsize,
    ending: watch::Sender<bool>,
}

impl Workers {
    /// Starts the threads.
    pub(super) fn start(
        count: usize,
        state: &web::Data<AppState>,
        auth: &web::Data<Arc<ConsoleAuth>>,
    ) -> io::Result<Arc<Self>> {
        let ending = watch::Sender::new(false);
        let shared = Shared {
            state: state.clone(),
            auth: auth.clone(),
            ending: ending.subscribe(),
        };
        let start = |_| {
            let (queue, accepted) = mpsc::unbounded_channel();
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("portbook-http".into());
            let run = move || actix_web::rt::System::new().block_on(work(shared, accepted));
            thread.spawn(run)?;
            Ok(queue)
        };
        let queues: io::Result<Vec<_>> = (0..count).map(start).collect();
        Ok(Arc::new(Self {
            queues: Mutex::new(queues?),
            next: AtomicUsize::new(0),
            ending,
        }))
    }

    fn queues(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<Work>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a connection by HTTP.
    pub(super) fn take(&self, stream: Stream, connection: Arc<Connection>) {
        self.give(Work::Http(stream, connection));
    }

    /// Answers a connection by another protocol.
    pub(super) fn spawn(&self, answering: impl Future<Output = ()> + Send + 'static) {
        self.give(Work::Task(Box::pin(answering)));
    }

    /// One after another, each thread gets a connection.
    fn give(&self, work: Work) {
        let queues = self.queues();
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % queues.len().max(1);
        if let Some(queue) = queues.get(turn) {
            // A worker ends with the service only.
            drop(queue.send(work));
        }
    }

    /// Closes idle connections, and each other one after its answer.
    pub(super) fn end_connections(&self) {
        self.ending.send_replace(true);
    }

    /// Ends the threads, with all connections that are still open.
    pub(super) fn stop(&self) {
        self.queues().clear();
    }
}

/// Answers the connections that come through `accepted`.
async fn work(shared: Shared, mut accepted: mpsc::UnboundedReceiver<Work>) {
    let ending = shared.ending.clone();
    let app = App::new()
        .app_data(shared.state.clone())
        .app_data(shared.auth.clone())
        .wrap(middleware::from_fn(access::check))
        .wrap(middleware::from_fn(crate::dashboard::as_page))
        .wrap(middleware::from_fn(api::trace::request))
        .wrap(middleware::from_fn(count))
        .configure(api::routes)
        .configure(crate::dashboard::routes)
        .default_service(web::to(api::not_found))
        .into_factory()
        .map_err(|error: actix_web::Error| error.error_response());
    let service = HttpService::build()
        // A client that hangs up waits for no answer, and must not keep a place in a queue.
        .h1_allow_half_closed(false)
        .graceful_shutdown_signal(move || {
            let mut ending = ending.clone();
            async move { drop(ending.wait_for(|ending| *ending).await) }
        })
        .on_connect_ext(note_peer)
        .finish(map_config(app, |()| AppConfig::default()));
    let Ok(service) = service.new_service(()).await else {
        return tracing::error!("could not build the application; a worker ends");
    };
    while let Some(work) = accepted.recv().await {
        let (stream, connection) = match work {
            Work::Http(stream, connection) => (stream, connection),
            Work::Task(answering) => {
                drop(actix_web::rt::spawn(answering));
                continue;
            }
        };
        let answering = Socket::of(stream, connection).map(|socket| {
            let client = socket.client();
            service.call((socket, Protocol::Http1, client))
        });
        match answering {
            Ok(answering) => drop(actix_web::rt::spawn(answering)),
            Err(error) => tracing::warn!(%error, "could not watch a connection; it is closed"),
        }
    }
}

/// Middleware that counts a request as under way, and closes the connection where the service leaves.
async fn count<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let request = bounded(request);
    let connection = request.conn_data::<Arc<Connection>>();
    let answer = connection.map(Connection::answer);
    let mut response = next.call(request).await?;
    if answer.is_some_and(|answer| answer.is_last()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(actix_http::ConnectionType::Close);
    }
    Ok(response)
}

/// Limits the time for the body of a request.
fn bounded(mut request: ServiceRequest) -> ServiceRequest {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return request;
    }
    let late = Box::pin(tokio::time::sleep(BODY_WITHIN));
    let pieces = stream::unfold((payload, late), |(mut payload, mut late)| async move {
        let piece = tokio::select! {
            // A body that is there makes no timer.
            biased;
            piece = payload.next() => piece?,
            () = &mut late => Err(PayloadError::Io(io::ErrorKind::TimedOut.into())),
        };
        Some((piece, (payload, late)))
    });
    request.set_payload(Payload::Stream {
        payload: Box::pin(pieces),
    });
    request
}
