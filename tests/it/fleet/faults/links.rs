//! Proxies between one host and the members of etcd, which break connections at a moment of the test's choice.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::frame::{Frame, PREFACE};
use crate::support::ports;

/// Time in which a request comes that a trap is set for.
const PATIENCE: Duration = Duration::from_secs(8);

/// Moment at which a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the request is passed on: it is not done.
    Before,
    /// After its answer came: it is done, and the answer is lost.
    Answer,
    /// In the middle of the answer.
    InAnswer,
    /// As [`Cut::Answer`], and the request is passed on after this time, which the client does not wait for.
    Late(Duration),
}

/// A trap for the next request with a text in it.
struct Trap {
    cut: Cut,
    text: &'static str,
    /// Told once the connection is cut. Dropped without that if the request gets no answer.
    sprung: Sender<()>,
}

/// A request of which the answer is waited for, by the number of its stream.
#[derive(Default)]
struct Caught {
    request: Mutex<Option<(u32, Trap)>>,
    settled: Condvar,
}

impl Caught {
    fn settle(&self) {
        *self.request.lock().unwrap() = None;
        self.settled.notify_all();
    }

    /// Waits for the end of the request.
    fn wait(&self) {
        let request = self.request.lock().unwrap();
        let is_open = |request: &mut Option<_>| request.is_some();
        drop(self.settled.wait_while(request, is_open).unwrap());
    }
}

/// The proxies of one host, one for each member.
pub struct Links {
    shared: Arc<Shared>,
    links: Vec<Link>,
}

struct Link {
    port: u16,
    member: u16,
    listening: Option<(TcpListener, JoinHandle<()>)>,
}

/// What all connections of a host share.
#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    is_stalled: Mutex<bool>,
    moves: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

impl Links {
    /// Starts a proxy for each of these ports of members.
    pub fn start(members: &[u16]) -> Self {
        let links = members.iter().zip(ports(members.len()));
        let links = links.map(|(member, port)| Link {
            port,
            member: *member,
            listening: None,
        });
        let mut links = Self {
            shared: Arc::default(),
            links: links.collect(),
        };
        links.open();
        links
    }

    /// Addresses for the host, with commas between.
    pub fn addresses(&self) -> String {
        let address = |link: &Link| format!("http://127.0.0.1:{}", link.port);
        let all: Vec<String> = self.links.iter().map(address).collect();
        all.join(",")
    }

    /// Cuts a connection at a request with this text. `false` if none came in time.
    pub fn cut_at(&self, cut: Cut, text: &'static str) -> bool {
        let (sprung, told) = channel();
        let trap = Trap { cut, text, sprung };
        *self.shared.trap.lock().unwrap() = Some(trap);
        let is_cut = told.recv_timeout(PATIENCE).is_ok();
        *self.shared.trap.lock().unwrap() = None;
        is_cut
    }

    /// Holds everything up for this time, and cuts all connections then.
    pub fn stall(&self, time: Duration) {
        *self.shared.is_stalled.lock().unwrap() = true;
        thread::sleep(time);
        self.shared.cut();
        *self.shared.is_stalled.lock().unwrap() = false;
        self.shared.moves.notify_all();
    }

    /// Cuts all connections, and refuses new ones until this has ended.
    pub fn refuse(&mut self, during: impl FnOnce()) {
        self.close();
        during();
        self.open();
    }

    fn open(&mut self) {
        for link in &mut self.links {
            let listener = TcpListener::bind(("127.0.0.1", link.port)).unwrap();
            let accepting = listener.try_clone().unwrap();
            let (member, shared) = (link.member, Arc::clone(&self.shared));
            let thread = thread::spawn(move || {
                for client in accepting.incoming().map_while(Result::ok) {
                    // A member that is down closes the connection.
                    let _ = shared.connect(client, member);
                }
            });
            link.listening = Some((listener, thread));
        }
    }

    fn close(&mut self) {
        for (listener, thread) in self.links.iter_mut().filter_map(|one| one.listening.take()) {
            // Ends the accept.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            let _ = thread.join();
        }
        self.shared.cut();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream, member: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", member))?;
        let caught = Arc::new(Caught::default());
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            self.streams.lock().unwrap().push(stream.try_clone()?);
        }
        let (ours, theirs) = (client.try_clone()?, server.try_clone()?);
        let (shared, watched) = (Arc::clone(self), Arc::clone(&caught));
        thread::spawn(move || {
            let _ = shared.pass_requests(&ours, &theirs, &watched);
            end(&ours, &theirs);
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let _ = shared.pass_answers(&client, &server, &caught);
            end(&client, &server);
            // One that still waits for its answer waits in vain.
            caught.settle();
        });
        Ok(())
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until nothing is held up.
    fn wait(&self) {
        let stalled = self.is_stalled.lock().unwrap();
        drop(self.moves.wait_while(stalled, |stalled| *stalled).unwrap());
    }

    fn pass_requests(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        caught: &Caught,
    ) -> io::Result<()> {
        let mut preface = [0; PREFACE];
        client.read_exact(&mut preface)?;
        server.write_all(&preface)?;
        loop {
            let frame = Frame::read(&mut client)?;
            self.wait();
            let Some(trap) = self.catch(&frame) else {
                server.write_all(&frame.bytes())?;
                continue;
            };
            if trap.cut == Cut::Before {
                end(client, server);
                let _ = trap.sprung.send(());
                return Ok(());
            }
            if let Cut::Late(time) = trap.cut {
                thread::sleep(time);
            }
            *caught.request.lock().unwrap() = Some((frame.stream(), trap));
            server.write_all(&frame.bytes())?;
            // The client may have given the request up: the member is not to hear of that.
            caught.wait();
        }
    }

    fn catch(&self, frame: &Frame) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        trap.take_if(|trap| frame.has(trap.text.as_bytes()))
    }

    fn pass_answers(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        caught: &Caught,
    ) -> io::Result<()> {
        loop {
            let frame = Frame::read(&mut server)?;
            self.wait();
            let is_due = |(stream, trap): &mut (u32, Trap)| {
                let is_cut = trap.cut != Cut::InAnswer || frame.is_message();
                *stream == frame.stream() && frame.is_answer() && is_cut
            };
            let due = caught.request.lock().unwrap().take_if(is_due);
            let bytes = frame.bytes();
            let Some((_, trap)) = due else {
                client.write_all(&bytes)?;
                continue;
            };
            if trap.cut == Cut::InAnswer {
                client.write_all(&bytes[..bytes.len() / 2])?;
            }
            end(client, server);
            let _ = trap.sprung.send(());
            return Ok(());
        }
    }
}

fn end(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
